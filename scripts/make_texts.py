"""This script writes what is said of the nodes from their schemas: ``.venv/bin/python scripts/make_texts.py [--check]``.

A node's schema is the one source of its name, description and tooltips. From it come ``locales/en/nodeDefs.json`` and, on each
page of ``web/docs``, the title, the first paragraph and the tables of inputs and outputs; all other text of a page stays as it
is. A node without a page gets one. Translations are written by hand: ``locales/LANGUAGE`` gives the tables of the pages
``web/docs/NODE/LANGUAGE.md``, and the script lists what a translation lacks or has too much of.

``--check`` writes nothing. The exit status is 1 if a file was out of date or a translation is incomplete.
"""

import argparse
import importlib.util
import json
import re
import sys

from comfy_server import REPOSITORY, comfyui_folder

LOCALES, PAGES = REPOSITORY / "locales", REPOSITORY / "web" / "docs"
GROUPS = ("required", "optional")
WORDS = {
    "en": ("Inputs", "Outputs", "| Name | Type | Meaning |", "optional"),
    "de": ("Eingänge", "Ausgänge", "| Name | Typ | Bedeutung |", "wahlweise"),
}
"""By language: the headings of the two tables, their first row, and the word beside optional inputs."""


def schemas() -> dict[str, dict]:
    """Return what ComfyUI tells its front end of each node of the pack, by node id. ComfyUI is imported into this process."""
    sys.path.insert(0, str(comfyui_folder()))
    sys.argv[1:] = ["--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    pack = importlib.util.spec_from_file_location(
        "pack", REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    sys.modules["pack"] = importlib.util.module_from_spec(pack)
    pack.loader.exec_module(sys.modules["pack"])
    from pack.nodes import NODES

    return {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in NODES}


def inputs(info: dict) -> list[tuple[str, str, str, bool]]:
    """Return name, type and tooltip of each input in order, and whether it is optional."""
    found = []
    for group in GROUPS:
        for name in info["input_order"].get(group, []):
            kind, options = info["input"][group][name][:2]
            found.append((name, kind, options["tooltip"], group == "optional"))
    return found


def outputs(info: dict) -> list[tuple[str, str, str]]:
    """Return name, type and tooltip of each output in order."""
    return list(zip(info["output_name"], info["output"], info["output_tooltips"], strict=True))


def english(nodes: dict[str, dict], written: dict[str, dict]) -> dict[str, dict]:
    """Return the content of ``locales/en/nodeDefs.json``.

    A schema gives no label for an input or output, only its identifier. So the labels that are ``written`` there stay, and new
    ones are the identifiers with blanks.
    """

    def entry(node: str, group: str, key: str, name: str, tooltip: str) -> dict[str, str]:
        kept = written.get(node, {}).get(group, {}).get(key, {})
        return {"name": kept.get("name") or name.replace("_", " "), "tooltip": tooltip}

    return {
        node: {
            "display_name": info["display_name"],
            "description": info["description"],
            "inputs": {name: entry(node, "inputs", name, name, tooltip) for name, _, tooltip, _ in inputs(info)},
            "outputs": {
                str(index): entry(node, "outputs", str(index), name, tooltip)
                for index, (name, _, tooltip) in enumerate(outputs(info))
            },
        }
        for node, info in nodes.items()
    }


def _table(head: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [head, "| --- | --- | --- |"]
    return "\n".join([*lines, *("| {} | {} | {} |".format(*(cell.replace("|", "\\|") for cell in row)) for row in rows)])


def help_page(info: dict, page: str, texts: dict, language: str = "en") -> str:
    """Return a node's help page: ``page`` with title, first paragraph and tables from ``texts``; all other text is kept.

    ``texts`` is the node's entry in the language's nodeDefs.json. Beside English, the tables show labels and identifiers.
    """
    taken, given, head, optional = WORDS[language]
    before, *rest = re.split(r"(?m)^## ", page)
    sections = {title: text.strip() for title, _, text in (part.partition("\n") for part in rest)}

    def name(identifier: str, label: str) -> str:
        return f"`{identifier}`" if language == "en" else f"{label} (`{identifier}`)"

    tables = {taken: [], given: []}
    for identifier, kind, _, may_miss in inputs(info):
        entry = texts["inputs"][identifier]
        shown = name(identifier, entry["name"]) + (f" ({optional})" if may_miss else "")
        tables[taken].append((shown, kind, entry["tooltip"]))
    for index, (identifier, kind, _) in enumerate(outputs(info)):
        entry = texts["outputs"][str(index)]
        tables[given].append((name(identifier, entry["name"]), kind, entry["tooltip"]))
    for title, rows in tables.items():
        below = re.sub(r"\A(\|.*\n?)*", "", sections.get(title, "")).strip()
        sections[title] = "\n\n".join(filter(None, [_table(head, rows), below]))
    paragraphs = [f"# {texts['display_name']}", texts["description"], *before.strip().split("\n\n")[2:]]
    return "\n\n".join([*paragraphs, *(f"## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


def outline(page: str) -> list[str]:
    """Return the marks with which the lines of a page begin: headings, points, numbers and rows. Translations have the same."""
    return re.findall(r"(?m)^(?: *- | *\d+\. |#+ |\|)", page)


def lacking(source: dict, translation: dict, where: str = "") -> list[str]:
    """Return a line for every text that a translation lacks, has too much of, leaves empty, or has in English."""
    found = [f"{where}{key}: missing" for key in source.keys() - translation.keys()]
    found += [f"{where}{key}: no longer there" for key in translation.keys() - source.keys()]
    for key in source.keys() & translation.keys():
        text, translated = source[key], translation[key]
        if isinstance(text, dict):
            found += lacking(text, translated, f"{where}{key}.")
        elif not translated or (translated == text and " " in text and key != "name"):
            found.append(f"{where}{key}: not translated")
    return sorted(found)


def main() -> int:
    """Write or check all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say which files are out of date")
    check = parser.parse_args().check
    nodes = schemas()
    ours = LOCALES / "en" / "nodeDefs.json"
    locales = {path.parent.name: json.loads(path.read_text("utf-8")) for path in LOCALES.glob("*/nodeDefs.json")}
    source = locales["en"] = english(nodes, locales["en"])
    wanted = {ours: json.dumps(source, indent=2, ensure_ascii=False) + "\n"}
    gaps = []
    for language, texts in sorted(locales.items(), key=lambda item: item[0] != "en"):
        gaps += [f"locales/{language}/nodeDefs.json: {gap}" for gap in lacking(source, texts)] if language != "en" else []
        for node, info in nodes.items():
            path = PAGES / f"{node}.md" if language == "en" else PAGES / node / f"{language}.md"
            if language != "en" and lacking(source[node], texts.get(node, {})):
                continue  # its table would have holes
            wanted[path] = help_page(info, path.read_text("utf-8") if path.is_file() else "", texts[node], language)
            if outline(wanted[path]) != outline(wanted[PAGES / f"{node}.md"]):
                gaps.append(f"{path.relative_to(REPOSITORY)}: has other headings, points or rows than the English page")
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(REPOSITORY)}: {'out of date' if check else 'written'}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
    print("".join(f"{gap}\n" for gap in gaps), end="")
    return int(bool(gaps or (check and stale)))


if __name__ == "__main__":
    sys.exit(main())
