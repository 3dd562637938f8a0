"""This module converts a workflow saved by ComfyUI's front end into the prompt that its server executes.

The front end saves a drawing: nodes with positions, a list of links, and the widgets' values in order. The server wants {node id:
{"class_type": ..., "inputs": {name: value or [node id, output number]}}}. The conversion is the one that the front end makes when
the user presses Run; tests/comfyui/test_browser.py compares the two.
"""

from collections.abc import Iterator

RUN, MUTED, BYPASSED = 0, 2, 4
DRAWN_ONLY = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode")
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
"""The type of a choice whose options may bring inputs of their own."""
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC)
SEED_MODES = ("fixed", "increment", "decrement", "randomize")


class WorkflowError(ValueError):
    """This error is raised for a workflow that cannot become a prompt. The message names the node."""


def to_prompt(workflow: dict, object_info: dict) -> dict[str, dict]:
    """Return the API-format prompt of a UI-format workflow. ``object_info`` is the server's /object_info."""
    if workflow.get("definitions", {}).get("subgraphs"):
        raise WorkflowError("Subgraphs are not supported: unpack them in the front end and save again.")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = dict(_origin(link) for link in workflow["links"])
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in DRAWN_ONLY or node.get("mode", RUN) in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise WorkflowError(f"Node {node['id']} is a {node['type']}, which this ComfyUI lacks.")
        inputs = _widget_values(node, object_info[node["type"]])
        for slot in node.get("inputs", []):
            if slot.get("link") is None:
                continue
            source = _source(links.get(slot["link"]), nodes, links)
            if source is not None:
                inputs[slot["name"]] = source
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _origin(link: list | dict) -> tuple[int, tuple[int, int]]:
    """Return (link id, (origin node, origin slot)) of a link in either of the two saved forms."""
    if isinstance(link, dict):
        return link["id"], (link["origin_id"], link["origin_slot"])
    return link[0], (link[1], link[2])


def _source(origin: tuple[int, int] | None, nodes: dict, links: dict) -> object:
    """Return what a link delivers: [node id, slot], a primitive's value, or None if it leads nowhere.

    Reroutes are followed, and bypassed nodes through their first input of the same type.
    """
    while origin is not None:
        node, slot = nodes[origin[0]], origin[1]
        if node["type"] == "PrimitiveNode":
            return _literal(node["widgets_values"][0])
        if node["type"] == "Reroute":
            origin = links.get(node["inputs"][0]["link"])
        elif node.get("mode", RUN) == BYPASSED:
            origin = links.get(_bypass(node, slot))
        elif node.get("mode", RUN) == MUTED:
            return None
        else:
            return [str(origin[0]), slot]
    return None


def _bypass(node: dict, slot: int) -> int | None:
    """Return the link that replaces a bypassed node's output."""
    wanted = node["outputs"][slot]["type"]
    inputs = node.get("inputs", [])
    for candidate in [*inputs[slot : slot + 1], *inputs]:
        if candidate["type"] == wanted and candidate.get("link") is not None:
            return candidate["link"]
    return None


def _widget_values(node: dict, info: dict) -> dict[str, object]:
    """Return {input name: saved value} of a node's widgets. Values that were not saved take their default."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return {name: _literal(saved.get(name, _default(spec))) for name, spec in _widgets(info)}
    values, rest = {}, list(saved)
    for name, spec in _widgets(info):
        values[name] = _literal(rest.pop(0) if rest else _default(spec))
        if spec[0] == DYNAMIC and _brings_inputs(spec, values[name]):
            raise WorkflowError(f"Node {node['id']} ({node['type']}): the choice {values[name]} of {name} brings inputs.")
        if _has_seed_mode(name, spec) and rest and rest[0] in SEED_MODES:
            rest.pop(0)  # the widget "control after generate" is the front end's own
    return values


def _widgets(info: dict) -> Iterator[tuple[str, list]]:
    """Return (name, [type, options]) of the inputs drawn as widgets, in the front end's order (required first)."""
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            spec = info["input"][group][name]
            options = spec[1] if len(spec) > 1 else {}
            kind = options.get("widgetType", spec[0])
            if (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput"):
                yield name, [spec[0], options]


def _has_seed_mode(name: str, spec: list) -> bool:
    return bool(spec[1].get("control_after_generate", spec[0] == "INT" and name in ("seed", "noise_seed")))


def _brings_inputs(spec: list, key: object) -> bool:
    """Return whether the chosen option of a dynamic choice has inputs of its own."""
    return any(option["key"] == key and any(option["inputs"].values()) for option in spec[1]["options"])


def _default(spec: list) -> object:
    """Return the value of a widget that a workflow does not mention."""
    kind, options = spec
    choices = kind if isinstance(kind, list) else options.get("options", [])
    if kind == DYNAMIC:
        return choices[0]["key"]
    fallback = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
    return options.get("default", choices[0] if choices else fallback.get(str(kind)))


def _literal(value: object) -> object:
    """Return a list wrapped, because the server would take a bare one for a link; other values as they are."""
    return {"__value__": value} if isinstance(value, list) else value
