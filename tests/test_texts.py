"""The script that writes locales/en and the tables of the help pages from the nodes' schemas."""

import copy
import json

import pytest
from comfy_server import REPOSITORY
from make_texts import WORDS, english, help_page, lacking, outline

INFO = {
    "display_name": "Sharpen | Blur",
    "description": "Does one or the other.",
    "input": {
        "required": {"image": ["IMAGE", {"tooltip": "The picture."}], "how_much": ["FLOAT", {"tooltip": "From -1 | to 1."}]},
        "optional": {"mask": ["MASK", {"tooltip": "Where."}]},
    },
    "input_order": {"required": ["image", "how_much"], "optional": ["mask"]},
    "output": ["IMAGE"],
    "output_name": ["image"],
    "output_tooltips": ["The result."],
}
TEXTS = english({"X": INFO}, {})["X"]
GERMAN = {
    "display_name": "Schärfen | Weichzeichnen",
    "description": "Tut das eine oder das andere.",
    "inputs": {name: {"name": name.title(), "tooltip": "Ein Satz."} for name in ("image", "how_much", "mask")},
    "outputs": {"0": {"name": "Bild", "tooltip": "Das Ergebnis."}},
}


def test_a_new_node_gets_a_page_and_running_again_changes_nothing():
    page = help_page(INFO, "", TEXTS)
    assert page.startswith("# Sharpen | Blur\n\nDoes one or the other.\n\n## Inputs\n\n| Name | Type | Meaning |\n")
    assert "| `how_much` | FLOAT | From -1 \\| to 1. |" in page and "| `mask` (optional) | MASK | Where. |" in page
    assert page.endswith("## Outputs\n\n| Name | Type | Meaning |\n| --- | --- | --- |\n| `image` | IMAGE | The result. |\n")
    assert help_page(INFO, page, TEXTS) == page


def test_what_people_wrote_stays():
    page = help_page(INFO, "", TEXTS)
    written = page.replace("other.\n", "other.\n\nA second paragraph.\n").replace(
        "## Outputs", "Masks are enlarged.\n\n## Outputs"
    )
    written += "\n## Tips\n\n- One.\n\n### More\n\n| a | table |\n"
    old = (
        written.replace("Does one", "Did one").replace("| `mask` (optional) | MASK | Where. |\n", "").replace("Sharpen", "Soften")
    )
    assert old.count("\n") == written.count("\n") - 1
    assert help_page(INFO, old, TEXTS) == written


def test_english_is_the_schema_with_labels_chosen_by_people():
    (node,) = english({"X": INFO}, {}).values()
    assert node["inputs"]["how_much"] == {"name": "how much", "tooltip": "From -1 | to 1."}
    assert node["outputs"] == {"0": {"name": "image", "tooltip": "The result."}}
    written = {
        "X": {"description": "Old.", "inputs": {"mask": {"name": "where to", "tooltip": "Old."}, "gone": {"name": "gone"}}}
    }
    (node,) = english({"X": INFO}, written).values()
    assert node["inputs"]["mask"] == {"name": "where to", "tooltip": "Where."} and "gone" not in node["inputs"]
    assert node["description"] == INFO["description"]


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda t: t.pop("outputs"), "X.outputs: missing"),
        (lambda t: t["inputs"].pop("mask"), "X.inputs.mask: missing"),
        (lambda t: t["inputs"].update(old={}), "X.inputs.old: no longer there"),
        (lambda t: t["inputs"]["mask"].update(tooltip=""), "X.inputs.mask.tooltip: not translated"),
        (lambda t: t.update(description="Does one or the other."), "X.description: not translated"),
    ],
)
def test_gaps_of_a_translation_are_named(change, said):
    german = copy.deepcopy(GERMAN)
    assert not lacking(english({"X": INFO}, {}), {"X": german})
    change(german)
    assert lacking(english({"X": INFO}, {}), {"X": german}) == [said]


def test_a_page_in_another_language_has_its_labels_and_words():
    page = help_page(INFO, "", GERMAN, "de")
    assert page.startswith(
        "# Schärfen | Weichzeichnen\n\nTut das eine oder das andere.\n\n## Eingänge\n\n| Name | Typ | Bedeutung |\n"
    )
    assert "| Mask (`mask`) (wahlweise) | MASK | Ein Satz. |" in page and "| Bild (`image`) | IMAGE | Das Ergebnis. |" in page
    assert help_page(INFO, page, GERMAN, "de") == page
    assert outline(page) == outline(help_page(INFO, "", TEXTS)) != outline(page + "\n## Hinweise\n")


def test_every_translation_is_complete():
    locales = {path.parent.name: json.loads(path.read_text("utf-8")) for path in REPOSITORY.glob("locales/*/nodeDefs.json")}
    assert set(locales) == set(WORDS)
    source = locales.pop("en")
    for language, texts in locales.items():
        assert not lacking(source, texts), language
        for node in source:
            assert (REPOSITORY / "web" / "docs" / node / f"{language}.md").is_file(), (
                "run scripts/make_texts.py, then add its tips"
            )
