"""Run inside ComfyUI's Python (see tests/inside_items.py): numbers and connections that no widget would let through.

ComfyUI compares a typed number with the range of its input, but lets NaN pass, and does not look at what comes through a link.
"""

import math

import pytest
import torch
from inside import refused
from pack.nodes import NODES
from pack.nodes.video import AdaQualRestoreVideo
from test_inside_environment import IMAGE, MASK, inputs_of

NUMBERS = ("FLOAT", "INT")


def cases(kinds: tuple[str, ...]) -> list:
    """Every node with each of its inputs of these kinds, except for those that need a file."""
    found = []
    for node in NODES:
        wanted = node.GET_SCHEMA()
        if not any(one.get_io_type() == "VIDEO" for one in wanted.inputs):
            found += [(node, one) for one in wanted.inputs if one.get_io_type() in kinds]
    return [pytest.param(node, one, id=f"{node.__name__}-{one.id}") for node, one in found]


def run(node: type, name: str, value: object) -> None:
    """Run a node with this value for one of its inputs, as ComfyUI runs it."""
    given = inputs_of(node)
    with torch.inference_mode():
        node.execute(**given | {name: [value] if node.GET_SCHEMA().is_input_list else value})


@pytest.mark.parametrize("node, one", cases(NUMBERS))
def test_a_linked_number_outside_the_range_is_refused_by_name(node, one):
    wrong = [one.min - 1] + ([math.nan, math.inf, -math.inf] if one.get_io_type() == "FLOAT" else [])
    if (node.__name__, one.id) == ("AdaQualDegrade", "seed"):
        return  # any whole number is a seed there
    for value in wrong:
        refused(one.id, lambda value=value: run(node, one.id, value))


@pytest.mark.parametrize("node, one", cases(("IMAGE",)))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_wrong_value_in_the_last_picture_is_found_before_work_starts(node, one, value, monkeypatch):
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda *_: pytest.fail("a network ran"))
    images = IMAGE.repeat(3, 1, 1, 1)
    images[2, 5, 7, 1] = value
    refused(f"{one.id}: picture 3 of 3 holds NaN or infinity", lambda: run(node, one.id, images))


@pytest.mark.parametrize("node, one", cases(("IMAGE", "MASK")))
@pytest.mark.parametrize("value", [[IMAGE], IMAGE.numpy(), "a.png", IMAGE.to_sparse(), MASK.to("meta")])
def test_what_is_no_picture_is_refused_by_name(node, one, value):
    refused(f"{one.id}: ", lambda: run(node, one.id, value))


WIRES = {"IMAGE", "MASK", "LATENT", "MODEL", "CLIP", "CONDITIONING", "ADAQUAL_MODEL", "ADAQUAL_QUALITY", "ADAQUAL_PROMPT"}


@pytest.mark.parametrize("node, one", [case for case in cases(tuple(WIRES)) if not case.values[1].optional])
def test_a_switch_that_passes_on_nothing_is_refused_by_name(node, one):
    refused(f"{one.id}: ", lambda: run(node, one.id, None))


def test_a_video_that_is_none_is_refused_by_name():
    refused("video: NoneType came through the connection", lambda: AdaQualRestoreVideo.execute(None, 1.0, 4.5, 0, 1))
