"""The published files of DeQA-Score: what is written is read, and everything wrong is named before a weight is read."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_deqa import CONFIG, PROMPT, network, pixels, write

from adaqual_core.errors import CheckpointError
from adaqual_core.quality.deqa import scorer as scorer_module
from adaqual_core.quality.deqa.config import parse_config
from adaqual_core.quality.deqa.memory import free_bytes
from adaqual_core.quality.deqa.network import DeqaNet, Prompt
from adaqual_core.quality.deqa.scorer import load_deqa
from adaqual_core.quality.deqa.shards import EMBEDDINGS, HEAD, INDEX, open_shards, save_shards

NET = network()
PICTURES = pixels(3)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "model", NET)


def scores(loaded):
    return loaded.score(len(PICTURES), lambda i: PICTURES[i])


def single_file(tmp_path, **header):
    save_file(NET.state_dict(), tmp_path / "one.safetensors", header)
    return tmp_path / "one.safetensors"


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


def test_shards_come_back_as_written(folder):
    assert len(shards(folder)) >= 3
    loaded = load_deqa(folder)
    original = NET.state_dict()
    for key, tensor in loaded.net.state_dict().items():
        rows = {EMBEDDINGS: PROMPT.before + PROMPT.after, HEAD: PROMPT.levels}.get(key)
        assert torch.equal(tensor, original[key] if rows is None else original[key][list(rows)]), key
    assert loaded.net.lm_head.weight.shape == (5, 24) and not loaded.net.training
    assert not any(parameter.requires_grad for parameter in loaded.net.parameters())


def test_folder_index_and_single_file_score_alike(folder, tmp_path):
    expected = scores(load_deqa(folder))
    assert torch.equal(scores(load_deqa(folder / INDEX)), expected)
    assert torch.equal(scores(load_deqa(single_file(tmp_path, config=json.dumps(CONFIG)))), expected)
    path = single_file(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert torch.equal(scores(load_deqa(path)), expected)
    assert torch.equal(scores(load_deqa(tmp_path)), expected)


def test_offloaded_half_files_score_like_converted_ones(tmp_path):
    write(tmp_path, network().half())
    whole, streamed = load_deqa(tmp_path, offload=False), load_deqa(tmp_path, offload=True)
    assert {p.dtype for p in streamed.net.parameters()} == {torch.float16}
    assert {p.dtype for p in whole.net.parameters()} == {torch.float32}
    assert torch.allclose(scores(whole), scores(streamed), atol=1e-5)


def test_offloading_is_chosen_when_memory_is_short(tmp_path):
    write(tmp_path, network().half())
    needed = open_shards(tmp_path).read_bytes(PROMPT, torch.float32)
    assert not load_deqa(tmp_path, free=lambda device: needed).offloaded
    assert load_deqa(tmp_path, free=lambda device: needed - 1).offloaded
    assert not load_deqa(tmp_path, free=lambda device: None).offloaded


@pytest.mark.parametrize("offload", [None, False, True])
def test_lack_of_memory_is_told_before_reading(folder, monkeypatch, offload):
    monkeypatch.setattr(scorer_module, "read_network", lambda *args: pytest.fail("a weight was read"))
    needed = open_shards(folder).read_bytes(PROMPT, torch.float32)
    with pytest.raises(CheckpointError, match="not enough memory") as caught:
        load_deqa(folder, offload=offload, free=lambda device: 1000)
    assert offload or f"({needed} bytes) on cpu" in str(caught.value)
    assert "1000 bytes" in str(caught.value) and INDEX in str(caught.value)


def test_needed_bytes_are_those_of_the_network_in_memory(folder):
    held = load_deqa(folder).net.state_dict().values()
    assert open_shards(folder).read_bytes(PROMPT, torch.float32) == sum(t.numel() * 4 for t in held)
    assert open_shards(folder).read_bytes(PROMPT, torch.float16) == sum(t.numel() * 2 for t in held)


def test_free_memory_of_this_machine():
    free = free_bytes(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
    assert free_bytes(torch.device("meta")) is None


def test_missing_shard(folder):
    gone = shards(folder)[1]
    gone.unlink()
    with pytest.raises(CheckpointError, match=f"{gone.name}: missing shard"):
        load_deqa(folder)


@pytest.mark.parametrize("length", [4, 100, -1])
def test_truncated_shard(folder, length):
    short = shards(folder)[2]
    os.truncate(short, length if length > 0 else short.stat().st_size - 1)
    with pytest.raises(CheckpointError, match=f"{short.name}.*truncated"):
        load_deqa(folder)


def _set(*path, value):
    def change(config):
        for name in path[:-1]:
            config = config[name]
        config[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (_set("hidden_size", value=32), "does not fit the weights"),
        (_set("num_hidden_layers", value=2), r"model.layers.2.*absent by the configuration"),
        (_set("num_hidden_layers", value=4), "lacks model.layers.3"),
        (_set("num_attention_heads", value=5), "not a multiple of 5 heads"),
        (_set("rms_norm_eps", value=None), "rms_norm_eps is null"),
        (_set("vocab_size", value="many"), 'vocab_size is "many"'),
        (_set("visual_config", value=None), "no visual_config.visual_model"),
        (_set("visual_config", "visual_abstractor", value=3), "no visual_config.visual_abstractor"),
        (_set("visual_config", "visual_model", "patch_size", value=13), "not a multiple of patch_size"),
        (_set("visual_config", "visual_model", "image_size", value=60), "does not fit the weights"),
        (_set("visual_config", "visual_model", "num_attention_heads", value=True), "num_attention_heads is true"),
        (_set("rope_scaling", value={"type": "linear"}), "rope_scaling"),
        (_set("hidden_act", value="gelu"), "'gelu'"),
    ],
)
def test_wrong_configuration(folder, change, message):
    edit(folder / "config.json", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_deqa(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_unreadable_json(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config.json: not "):
        load_deqa(folder)
    (folder / INDEX).write_text(text)
    with pytest.raises(CheckpointError, match=f"{INDEX}: not "):
        load_deqa(folder)


def test_missing_pieces(folder, tmp_path):
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json: missing"):
        load_deqa(folder)
    (folder / INDEX).unlink()
    with pytest.raises(CheckpointError, match=f"{INDEX}: missing, but there are"):
        load_deqa(folder)
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_deqa(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="config.json: missing"):
        load_deqa(single_file(tmp_path))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="pickles"):
        load_deqa(tmp_path / "empty")


def test_an_index_that_lies(folder):
    index = folder / INDEX
    good = index.read_text()
    for name in ("../x.safetensors", "/etc/passwd", "model.bin", 3):
        edit(index, lambda found, name=name: found["weight_map"].update({"model.norm.weight": name}))
        with pytest.raises(CheckpointError, match="no safetensors file beside it"):
            load_deqa(folder)
    index.write_text(good)
    wrong = next(file for file in shards(folder) if "model.norm.weight" not in load_file(file))
    edit(index, lambda found: found["weight_map"].update({"model.norm.weight": wrong.name}))
    with pytest.raises(CheckpointError, match=f"{wrong.name}: holds no model.norm.weight"):
        load_deqa(folder)
    index.write_text(good)
    edit(index, lambda found: found["weight_map"].pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match="lacks model.norm.weight"):
        load_deqa(folder)
    edit(index, lambda found: found.pop("weight_map"))
    with pytest.raises(CheckpointError, match="no weight_map"):
        load_deqa(folder)


def test_other_models_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not a DeQA-Score model .it begins with conv.weight"):
        load_deqa(path)
    save_file({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="LoRA adapter"):
        load_deqa(path)
    state = NET.state_dict()
    save_file({**state, "model.norm.weight": state["model.norm.weight"].to(torch.int8)}, path)
    with pytest.raises(CheckpointError, match="model.norm.weight is I8"):
        load_deqa(path)
    save_file(state, path)
    with pytest.raises(CheckpointError, match="no token 32000"):
        load_deqa(path, prompt=Prompt((1,), (32000,), PROMPT.levels))


def test_computed_tables_of_old_files_are_ignored(folder):
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(3)}
    save_file(extra, folder / "extra.safetensors")
    edit(folder / INDEX, lambda found: found["weight_map"].update({key: "extra.safetensors" for key in extra}))
    assert scores(load_deqa(folder)).shape == (3,)


def test_the_fingerprint_is_of_the_weights_not_of_the_place(folder, tmp_path):
    first = load_deqa(folder).fingerprint
    assert load_deqa(write(tmp_path / "elsewhere", NET, limit=10**9)).fingerprint == first
    tuned = network()
    tuned.model.layers[1].self_attn.q_proj.weight.mul_(1.001)
    assert load_deqa(write(tmp_path / "tuned", tuned)).fingerprint != first
    assert load_deqa(write(tmp_path / "half", network().half())).fingerprint != first


PEAK = """
import sys, torch
from adaqual_core.quality.deqa.scorer import load_deqa
def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024
load_deqa(sys.argv[2])
for offload in (True, False):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = status("VmRSS")
    loaded = load_deqa(sys.argv[1], offload=offload)
    weights = loaded.net.state_dict().values()
    assert sum(float(weight.sum()) for weight in weights) == 0  # each page is touched
    print(sum(weight.nbytes for weight in weights), status("VmHWM") - before)
    del loaded, weights
print("transformers" in sys.modules)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_stays_near_the_weights(tmp_path, folder):
    """Half files of 96 MB, mapped when offloaded and converted to float32 when resident, in a process of its own."""
    config = CONFIG | {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 6}
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in DeqaNet(parse_config(config, "test")).state_dict().items()}
    large = ((key, torch.zeros(shape, dtype=torch.float16)) for key, shape in shapes.items())
    save_shards(tmp_path / "large", config, large, 10**7)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "large"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *sizes, imported = done.stdout.split()
    for held, growth in zip(sizes[::2], sizes[1::2], strict=True):
        assert int(held) > 8 * 10**7 and int(growth) <= 1.15 * int(held)
    assert imported == "False"
