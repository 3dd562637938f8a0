"""CLIP-IQA through transformers' own classes, on small random weights."""

import json

import pytest
import torch
from comfy_server import comfyui_folder
from safetensors.torch import load_file, save_file
from small import picture
from small_clip import SIDE, write_clip
from transformers import CLIPModel, CLIPTokenizer

from adaqual_core.errors import CheckpointError, NumericalError
from adaqual_core.grid import cell_count
from adaqual_core.quality.assess import assess, score
from adaqual_core.quality.cache import ScoreCache
from adaqual_core.quality.clip_iqa import PROMPTS, load_clip_iqa
from adaqual_core.quality.deqa.preprocess import normalised, quantised


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


def test_the_token_ids_are_those_of_clips_tokenizer():
    """The tokenizer that ComfyUI carries for SD 1.5 is CLIP's own."""
    tokenizer = CLIPTokenizer.from_pretrained(comfyui_folder() / "comfy" / "sd1_tokenizer")
    assert tuple(tuple(tokenizer(text).input_ids) for text in ("Good photo.", "Bad photo.")) == PROMPTS


def test_scores_are_those_of_the_whole_model(folder):
    """1 + 4·softmax of the model's own logits per picture, tokens padded as the published processor does."""
    model = CLIPModel.from_pretrained(folder).eval()
    padded = torch.tensor([ids + (49407,) * (77 - len(ids)) for ids in PROMPTS])
    pictures = picture(SIDE, SIDE, batch=5)
    pixels = torch.stack([normalised(quantised(one)) for one in pictures])
    with torch.inference_mode():
        expected = 1 + 4 * model(input_ids=padded, pixel_values=pixels).logits_per_image.softmax(-1)[:, 0]
    found = score(load_clip_iqa(folder), pictures)
    assert torch.allclose(found, expected, atol=1e-4)
    assert expected.std() > 0.02


def test_the_map_is_dense_cached_and_independent_of_company(folder, tmp_path, monkeypatch):
    clip, cache, seen = load_clip_iqa(folder), ScoreCache(tmp_path), []
    pictures = picture(130, 97, batch=2, channels=4)
    quality = assess(clip, pictures, cache=cache, progress=lambda *step: seen.append(step))
    assert quality.scores.shape == (2, 1, cell_count(130), cell_count(97)) and quality.assessor == "CLIP-IQA"
    assert quality.scores[0].std() > 1e-3 and seen[-1] == (2 * 21, 2 * 21)
    assert torch.allclose(assess(clip, pictures[1:, :3]).scores, quality.scores[1:], atol=1e-5)
    monkeypatch.setattr(type(clip), "forward", lambda *args: pytest.fail("the network ran"))
    assert torch.equal(assess(clip, pictures, cache=cache).scores, quality.scores)


def test_other_weights_have_another_fingerprint(folder, tmp_path):
    other = load_clip_iqa(write_clip(tmp_path, seed=1))
    assert other.fingerprint != load_clip_iqa(folder).fingerprint == load_clip_iqa(folder).fingerprint


def test_damaged_folders_are_explained(folder, tmp_path):
    def spoiled(name, change):
        target = tmp_path / name
        target.mkdir()
        for file in folder.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        change(target)
        return target

    def reconfigure(target, **changes):
        config = json.loads((target / "config.json").read_text())
        for part, values in changes.items():
            config[part] |= values
        (target / "config.json").write_text(json.dumps(config))

    def cut(target):
        with (target / "model.safetensors").open("r+b") as file:
            file.truncate(5000)

    def without(target):
        tensors = load_file(target / "model.safetensors")
        del tensors["visual_projection.weight"]
        save_file(tensors, target / "model.safetensors")

    def nan(target):
        tensors = load_file(target / "model.safetensors")
        tensors["visual_projection.weight"][:] = float("nan")
        save_file(tensors, target / "model.safetensors")

    for name, change, message in (
        ("no_config", lambda t: (t / "config.json").unlink(), "config.json: cannot be read"),
        ("no_weights", lambda t: (t / "model.safetensors").unlink(), "model.safetensors: no such file"),
        ("cut", cut, "model.safetensors: not a readable safetensors file .* truncated"),
        ("without", without, "visual_projection.weight is absent, .* do not belong together"),
        ("sizes", lambda t: reconfigure(t, vision_config={"patch_size": 16}), "is .* by its config.json"),
        ("words", lambda t: reconfigure(t, text_config={"vocab_size": 1000}), "a vocabulary of 1000 is not CLIP's"),
        ("heads", lambda t: reconfigure(t, text_config={"num_attention_heads": 5}), "not the configuration of a CLIP"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_clip_iqa(spoiled(name, change))
    with pytest.raises(NumericalError, match="CLIP-IQA gave NaN"):
        score(load_clip_iqa(spoiled("nan", nan)), picture(SIDE, SIDE))
