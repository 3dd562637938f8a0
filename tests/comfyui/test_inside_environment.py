"""Run inside ComfyUI's Python (see tests/inside_items.py): what other packs and the user's options do to the nodes."""

import sys
from collections.abc import Iterator
from dataclasses import astuple, is_dataclass, replace

import pytest
import torch

# inside starts ComfyUI, so it comes first
# isort: off
from inside import Clip, comfy, sd15
from comfy.cli_args import args, parser
from comfy.model_patcher import ModelPatcher
from pack.nodes import NODES
from pack.nodes.common import reporter
from pack.nodes.loaders import AdaQualLoadAssessor, AdaQualLoadModel
from pack.nodes.models import _remembered, ASSESSORS, MODELS, open_network
from pack.nodes.prompting import AdaQualBuildPrompt

CASE = sd15()
IMAGE = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.eye(64)[None]
KINDS = torch.linspace(0, 1, 512).view(1, 8, 8, 8)
NOISE = torch.randn(CASE.latent.shape, generator=torch.Generator().manual_seed(1))
SIGMAS = torch.linspace(2.0, 0, 3)
CONNECTED = {
    "IMAGE": lambda: IMAGE,
    "MASK": lambda: MASK,
    "LATENT": lambda: {"samples": CASE.latent[:1]},
    "CONDITIONING": lambda: CASE.positive,
    "MODEL": lambda: CASE.model,
    "CLIP": Clip,
    "ADAQUAL_MODEL": lambda: open_network(MODELS),
    "ADAQUAL_ASSESSOR": lambda: open_network(ASSESSORS),
    "ADAQUAL_QUALITY": lambda: replace(CASE.halves(), kinds=KINDS),
    "ADAQUAL_PROMPT": lambda: AdaQualBuildPrompt.execute(IMAGE, CASE.halves(), 1.0, 1.0, 16.0, 5.0).args[0],
}
"""A value for every type of connection that our nodes take."""


@pytest.fixture
def restored_default() -> Iterator[None]:
    """The test leaves float32 behind as the default dtype."""
    yield
    torch.set_default_dtype(torch.float32)


def inputs_of(node: type) -> dict:
    """A value for every input of a node: the default of a widget, and for a connection what CONNECTED holds."""
    found = {}
    wanted = node.GET_SCHEMA()
    for one in wanted.inputs:
        kind = one.get_io_type()
        if kind in CONNECTED:
            found[one.id] = CONNECTED[kind]()
        elif getattr(one, "default", None) is not None:
            found[one.id] = one.default
        elif kind == "COMBO":
            found[one.id] = one.options[0]
        elif not one.optional:
            pytest.skip(f"{node.__name__} needs a {kind}")
    return {name: [value] for name, value in found.items()} if wanted.is_input_list else found


def leaves(value: object) -> list:
    """The tensors and plain values of a node's result, in order; a guider stands for what it samples."""
    if isinstance(value, ModelPatcher):
        return list(value.model.state_dict().values())
    if isinstance(value, comfy.samplers.CFGGuider):
        with torch.inference_mode():
            euler = comfy.samplers.sampler_object("euler")
            return [value.sample(NOISE, CASE.latent, euler, SIGMAS, disable_pbar=True, seed=0)]
    if is_dataclass(value):
        value = astuple(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for one in value for leaf in leaves(one)]
    return [value] if isinstance(value, (torch.Tensor, str, float, int)) else []


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_another_packs_default_dtype_changes_no_result(node, restored_default):
    given = inputs_of(node)

    def work() -> list:
        _remembered.cache_clear()  # each run reads the files again
        torch.manual_seed(0)
        return leaves(node.execute(**given).args)

    expected = work()
    assert expected
    for other in (torch.float64, torch.float16):
        torch.set_default_dtype(other)
        found = work()
        assert torch.get_default_dtype() == other
        torch.set_default_dtype(torch.float32)
        assert len(found) == len(expected)
        for one, wanted in zip(found, expected, strict=True):
            if isinstance(wanted, torch.Tensor):
                assert one.dtype == wanted.dtype and torch.equal(one, wanted), other
            else:
                assert one == wanted, other


@pytest.mark.parametrize(
    "words, shown",
    [
        ([], True),
        (["--preview-method", "none"], False),
        (["--preview-method=none"], False),
        (["--preview-method", "auto"], True),
        (["--preview-method", "latent2rgb"], True),
    ],
    ids=["not given", "none", "=none", "auto", "latent2rgb"],
)
def test_previews_stop_where_the_user_said_none(monkeypatch, words, shown):
    monkeypatch.setattr(sys, "argv", ["main.py", "--cpu", *words])
    monkeypatch.setattr(args, "preview_method", parser.parse_args(words).preview_method)
    sent = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: sent.append(preview))
    report = reporter(1)
    report(0, 1, 2, lambda: torch.zeros(3, 8, 8))
    report(0, 2, 2, lambda: torch.zeros(3, 8, 8))
    assert len(sent) == 2 and [preview is not None for preview in sent] == [shown] * 2


def test_a_shipped_network_is_held_once_however_it_is_asked_for():
    assert AdaQualLoadModel.execute(MODELS.shipped).args[0] is open_network(MODELS)
    assert AdaQualLoadAssessor.execute(ASSESSORS.shipped).args[0] is open_network(ASSESSORS)
