"""DeQA-Score with its language model's weights in 8 and 4 bits, and what happens without the package for it."""

import sys

import pytest
import torch
from small import assessor
from small_clip import write_clip
from small_deqa import PROMPT, network, pixels, write

from adaqual_core import cli
from adaqual_core.errors import CheckpointError
from adaqual_core.imageio import write_picture
from adaqual_core.quality.assess import open_assessor
from adaqual_core.quality.deqa import scorer as scorer_module
from adaqual_core.quality.deqa.lowbit import LowBitLinear
from adaqual_core.quality.deqa.scorer import load_deqa
from adaqual_core.quality.deqa.shards import open_shards
from adaqual_core.weight_files import save_model

PICTURES = pixels(4)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "deqa", network())


@pytest.fixture
def package():
    return pytest.importorskip("bitsandbytes")


def scores(loaded):
    return loaded.score(len(PICTURES), lambda i: PICTURES[i])


@pytest.mark.parametrize("bits, weights, far", [(8, 0.02, 0.2), (4, 0.15, 1.2)])
def test_scores_stay_close(folder, package, bits, weights, far):
    """Every packed weight is near its own, and scores are those of a full network with the unpacked weights.

    A random network as narrow as this one makes much of small errors; how much is in the last number.
    """
    full, short = load_deqa(folder), load_deqa(folder, bits=bits)
    changed, exact = (scores(short) - scores(full)).abs(), full.net.state_dict()
    assert 0 < changed.max() < far
    layers = {name: module for name, module in short.net.named_modules() if isinstance(module, LowBitLinear)}
    assert len(layers) == 3 * 9
    for name, layer in layers.items():
        own = exact[f"{name}.weight"]
        assert 0 < (layer.weight_as(own) - own).norm() < weights * own.norm()
        own.copy_(layer.weight_as(own))
    full.prefix = None
    assert torch.allclose(scores(full), scores(short), atol=1e-5)
    assert short.fingerprint != full.fingerprint
    held = sum(tensor.nbytes for tensor in short.net.state_dict().values())
    assert held == open_shards(folder).read_bytes(PROMPT, torch.float32, bits) < sum(t.nbytes for t in exact.values())


@pytest.mark.parametrize("bits", [8, 4])
def test_offloaded_packed_weights_score_alike(folder, package, bits):
    found = scores(load_deqa(folder, bits=bits, offload=True))
    assert torch.allclose(found, scores(load_deqa(folder, bits=bits, offload=False)), atol=1e-5)


def test_without_the_package_it_is_named_before_loading(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr(scorer_module, "open_shards", lambda *args: pytest.fail("a file was opened"))
    with pytest.raises(CheckpointError, match="pip install bitsandbytes"):
        load_deqa(folder, bits=4)
    write_picture(torch.rand(1, 3, 20, 20), tmp_path / "a.png")
    assert cli.main(["quality", str(tmp_path / "a.png"), "--assessor", str(folder), "--assessor-bits", "4"]) == 1
    assert "bitsandbytes" in capsys.readouterr().err


def test_other_bits_and_other_assessors_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="bits: 3; give 8 or 4"):
        load_deqa(folder, bits=3)
    save_model(assessor(), tmp_path / "own.safetensors", {})
    write_clip(tmp_path / "clip")
    for name in ("own.safetensors", "clip"):
        with pytest.raises(CheckpointError, match="only DeQA-Score can have its weights in 8 bits"):
            open_assessor(tmp_path / name, bits=8)
