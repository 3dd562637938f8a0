"""LoRA adapters of DeQA-Score merged into their base model, on small random weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_deqa import network, pixels, write

from adaqual_core import cli
from adaqual_core.errors import CheckpointError
from adaqual_core.quality.deqa.lora import PREFIX, merge_adapter
from adaqual_core.quality.deqa.scorer import load_deqa

RANK, ALPHA = 4, 8
CHANGED = [f"model.layers.{i}.self_attn.{name}" for i in range(3) for name in ("q_proj", "v_proj.multiway.1")]
WHOLE = "model.visual_abstractor.visual_fc.weight"


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "base", network())


@pytest.fixture
def adapter(tmp_path, request):
    """A folder as the published one: pairs for some projections, whole weights of the rest."""
    folder, state = tmp_path / "adapter", network().state_dict()
    folder.mkdir()
    pairs = {}
    for seed, name in enumerate(CHANGED):
        rows, columns = state[f"{name}.weight"].shape
        pairs[f"{PREFIX}{name}.lora_A.weight"] = noise(RANK, columns, seed=seed)
        pairs[f"{PREFIX}{name}.lora_B.weight"] = noise(rows, RANK, seed=100 + seed)
    save_file(pairs, folder / "adapter_model.safetensors")
    torch.save({f"{PREFIX}{WHOLE}": noise(*state[WHOLE].shape, seed=7)}, folder / "non_lora_trainables.bin")
    (folder / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA, "peft_type": "LORA"}))
    return folder


def score(loaded):
    pictures = pixels(2)
    return loaded.score(2, lambda i: pictures[i])


def test_the_merged_model_is_the_base_with_its_adapter(base, adapter, tmp_path):
    assert merge_adapter(base, adapter, tmp_path / "merged") == len(CHANGED) + 1
    expected = network()
    state, pairs = expected.state_dict(), load_file(adapter / "adapter_model.safetensors")
    for name in CHANGED:
        a, b = (pairs[f"{PREFIX}{name}.lora_{half}.weight"] for half in "AB")
        state[f"{name}.weight"] += ALPHA / RANK * b @ a
    state[WHOLE].copy_(noise(*state[WHOLE].shape, seed=7))
    found, wanted = load_deqa(tmp_path / "merged"), load_deqa(write(tmp_path / "wanted", expected))
    for key, value in wanted.net.state_dict().items():
        assert torch.allclose(found.net.state_dict()[key], value, atol=1e-5), key
    assert torch.allclose(score(found), score(wanted), atol=1e-4)
    assert (score(found) - score(load_deqa(base))).abs().max() > 1e-3


def test_other_ways_of_naming_and_storing_are_read_too(base, adapter, tmp_path):
    merge_adapter(base, adapter, tmp_path / "first")
    pairs = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({key.replace(".weight", ".default.weight"): value for key, value in pairs.items()}, adapter / "adapter_model.bin")
    merge_adapter(base, adapter, tmp_path / "second")
    first, second = (load_deqa(tmp_path / name) for name in ("first", "second"))
    assert first.fingerprint == second.fingerprint
    config = {"r": RANK, "lora_alpha": ALPHA / RANK**0.5, "use_rslora": True}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    merge_adapter(base, adapter, tmp_path / "third")
    assert torch.allclose(score(load_deqa(tmp_path / "third")), score(first), atol=1e-4)


def test_the_command_line_merges(base, adapter, tmp_path, capsys):
    assert cli.main(["convert", str(adapter), str(tmp_path / "merged"), "--base", str(base)]) == 0
    assert f"{len(CHANGED) + 1} weights changed" in capsys.readouterr().out
    merge_adapter(base, adapter, tmp_path / "again")
    assert load_deqa(tmp_path / "merged").fingerprint == load_deqa(tmp_path / "again").fingerprint
    assert cli.main(["convert", str(adapter), str(tmp_path / "merged"), "--base", str(base)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_half_base_stays_half(adapter, tmp_path):
    merge_adapter(write(tmp_path / "half", network().half()), adapter, tmp_path / "merged")
    types = {value.dtype for file in (tmp_path / "merged").glob("*.safetensors") for value in load_file(file).values()}
    assert types == {torch.float16}


def test_what_does_not_belong_together_is_refused_before_writing(base, adapter, tmp_path):
    def refused(message):
        with pytest.raises(CheckpointError, match=message):
            merge_adapter(base, adapter, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    good = config.read_text()
    pairs = {key: value.clone() for key, value in load_file(weights).items()}  # apart from the file, which changes below
    for change, message in (
        ({"r": 0}, "r is 0"),
        ({"use_dora": True}, "use_dora is set"),
        ({"bias": "all"}, "bias is set"),
    ):
        config.write_text(json.dumps(json.loads(good) | change))
        refused(message)
    config.write_text("{}")
    refused("not a LoRA configuration")
    config.write_text(good)
    first = f"{PREFIX}{CHANGED[0]}.lora_A.weight"
    save_file({key: value for key, value in pairs.items() if key != first}, weights)
    refused("q_proj.weight has only one half")
    save_file(pairs | {first: torch.zeros(RANK, 7)}, weights)
    refused(r"the pair \[4, 7\].* belongs to another base model")
    weights.write_bytes(weights.read_bytes()[:500])
    refused("adapter_model.safetensors: cannot be read .* truncated")
    weights.unlink()
    refused("adapter_model.safetensors: no such file, nor adapter_model.bin")
    save_file(pairs, weights)
    torch.save({f"{PREFIX}model.extra.weight": torch.zeros(2)}, adapter / "non_lora_trainables.bin")
    refused("model.extra.weight .* absent")
    torch.save({f"{PREFIX}{WHOLE}": torch.full((24, 16), float("nan"))}, adapter / "non_lora_trainables.bin")
    refused("visual_fc.weight is NaN or infinite")
    assert not list(tmp_path.glob("*.partial"))
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        merge_adapter(base, adapter, tmp_path / "out")
