"""Workflows of the front end as prompts of the server."""

import pytest
from comfy_workflow import WorkflowError, to_prompt

IMAGE = ["IMAGE", {}]
MODE = ["COMBO", {"options": ["x", "y"]}]
CODECS = [{"key": "auto", "inputs": {"required": {}}}, {"key": "h264", "inputs": {"required": {"crf": ["FLOAT", {}]}}}]
INFO = {
    "Load": {"input": {"required": {"image": [["a.png", "b.png"], {"image_upload": True}]}}},
    "Work": {
        "input": {
            "required": {"image": IMAGE, "seed": ["INT", {"default": 3}], "mode": MODE},
            "optional": {"gain": ["FLOAT", {"default": 1.5}], "socket": ["FLOAT", {"forceInput": True}]},
        }
    },
    "Save": {"input": {"required": {"images": IMAGE, "prefix": ["STRING", {}]}}},
    "Film": {"input": {"required": {"images": IMAGE, "codec": ["COMFY_DYNAMICCOMBO_V3", {"options": CODECS}]}}},
}
for info in INFO.values():
    info["input_order"] = {group: list(inputs) for group, inputs in info["input"].items()}


def node(number, kind, *, values=(), inputs=(), mode=0, outputs=("IMAGE",)):
    """A node of a workflow; inputs are (name, type, link)."""
    return {
        "id": number,
        "type": kind,
        "mode": mode,
        "widgets_values": list(values),
        "inputs": [{"name": n, "type": t, "link": link} for n, t, link in inputs],
        "outputs": [{"name": t, "type": t} for t in outputs],
    }


def chain(*middle, links):
    """Load (1) … middle … Save (9)."""
    first, last = node(1, "Load", values=["b.png", "image"]), node(9, "Save", inputs=[("images", "IMAGE", 9)])
    return {"nodes": [first, *middle, last], "links": links}


def work(number=2, link=1, **changes):
    usual = {"values": [7, "randomize", "y", 0.5], "inputs": [("image", "IMAGE", link)]}
    return node(number, "Work", **(usual | changes))


STRAIGHT = [[1, 1, 0, 2, 0, "IMAGE"], [9, 2, 0, 9, 0, "IMAGE"]]


def test_widgets_take_saved_values_in_order_and_links_their_origin():
    prompt = to_prompt(chain(work(), links=STRAIGHT), INFO)
    assert prompt["1"]["inputs"] == {"image": "b.png"}
    assert prompt["2"]["inputs"] == {"seed": 7, "mode": "y", "gain": 0.5, "image": ["1", 0]}
    assert prompt["9"] == {"class_type": "Save", "inputs": {"prefix": "", "images": ["2", 0]}}


def test_values_that_an_older_workflow_lacks_take_their_default():
    assert to_prompt(chain(work(values=[]), links=STRAIGHT), INFO)["2"]["inputs"] == {
        "seed": 3,
        "mode": "x",
        "gain": 1.5,
        "image": ["1", 0],
    }


def test_a_seed_without_its_control_value_shifts_nothing():
    assert to_prompt(chain(work(values=[7, "y", 0.5]), links=STRAIGHT), INFO)["2"]["inputs"]["mode"] == "y"


def test_values_may_be_saved_by_name():
    by_name = work() | {"widgets_values": {"mode": "y"}}
    assert to_prompt(chain(by_name, links=STRAIGHT), INFO)["2"]["inputs"]["mode"] == "y"


def test_a_linked_widget_follows_its_link_and_a_primitive_gives_its_value():
    seed = node(4, "PrimitiveNode", values=[11, "fixed"], outputs=["INT"])
    linked = work(inputs=[("image", "IMAGE", 1), ("seed", "INT", 2)])
    workflow = chain(linked, seed, links=[*STRAIGHT, [2, 4, 0, 2, 1, "INT"]])
    prompt = to_prompt(workflow, INFO)
    assert prompt["2"]["inputs"]["seed"] == 11 and "4" not in prompt


def test_reroutes_are_followed_and_notes_left_out():
    reroutes = [node(5, "Reroute", inputs=[("", "*", 1)]), node(6, "Reroute", inputs=[("", "*", 2)])]
    links = [[1, 1, 0, 5, 0, "*"], [2, 5, 0, 6, 0, "*"], [9, 6, 0, 9, 0, "IMAGE"]]
    prompt = to_prompt(chain(*reroutes, node(7, "MarkdownNote"), links=links), INFO)
    assert prompt["9"]["inputs"]["images"] == ["1", 0] and set(prompt) == {"1", "9"}


def test_a_bypassed_node_passes_its_input_on():
    prompt = to_prompt(chain(work(mode=4), links=STRAIGHT), INFO)
    assert prompt["9"]["inputs"]["images"] == ["1", 0] and "2" not in prompt


def test_a_muted_node_passes_nothing_on():
    prompt = to_prompt(chain(work(mode=2), links=STRAIGHT), INFO)
    assert "images" not in prompt["9"]["inputs"] and "2" not in prompt


def test_links_may_be_saved_as_objects():
    named = [dict(zip(("id", "origin_id", "origin_slot"), link, strict=False)) for link in STRAIGHT]
    assert to_prompt(chain(work(), links=named), INFO) == to_prompt(chain(work(), links=STRAIGHT), INFO)


def test_unknown_nodes_and_subgraphs_are_refused_by_name():
    with pytest.raises(WorkflowError, match="Node 2 is a Nothing"):
        to_prompt(chain(work() | {"type": "Nothing"}, links=STRAIGHT), INFO)
    with pytest.raises(WorkflowError, match="Subgraphs"):
        to_prompt({"nodes": [], "links": [], "definitions": {"subgraphs": [{}]}}, INFO)


def test_a_choice_whose_options_bring_inputs():
    """Newer versions of ComfyUI have such choices; a chosen option with inputs of its own is refused."""

    def film(*values):
        last = node(9, "Film", values=values, inputs=[("images", "IMAGE", 9)])
        return to_prompt({"nodes": [node(1, "Load", values=["b.png"]), last], "links": [[9, 1, 0, 9, 0, "IMAGE"]]}, INFO)

    assert film()["9"]["inputs"] == film("auto")["9"]["inputs"] == {"codec": "auto", "images": ["1", 0]}
    with pytest.raises(WorkflowError, match="Node 9 .Film.: the choice h264 of codec brings inputs"):
        film("h264")
