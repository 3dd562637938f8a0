import pytest
import torch
from small import RESTORER

from adaqual_core.errors import CheckpointError
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.networks.restorer import Restorer
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
from adaqual_core.published.detect import detect


def shapes_of(network):
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def official(**changes):
    with torch.device("meta"):
        return shapes_of(OfficialNet(OfficialConfig(**{"width": 8, "encoder": (1, 2), "decoder": (1, 1), **changes})))


def weather():
    with torch.device("meta"):
        return shapes_of(WeatherNet(WeatherConfig(32, (32, 64), 1, (False, True), 64, 16)))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module."])
@pytest.mark.parametrize(
    "shapes, family",
    [
        (official(), "adaqual_official"),
        (official(projections=(32,), prompt_width=6, pools=3), "adaqual_official"),
        (weather(), "weatherdiffusion"),
    ],
)
def test_families_are_known_by_keys_and_shapes(shapes, family, prefix):
    found = detect({prefix + key: shape for key, shape in shapes.items()})
    assert found.family == family and found.ignored == ()
    assert found.keys == {key: prefix + key for key in shapes}


def test_our_own_presets_and_deqa_are_told_apart():
    assert detect(shapes_of(Restorer(RESTORER))).family == "restorer"
    keys = (
        "lm_head.weight",
        "model.visual_abstractor.query_embeds",
        "model.vision_model.embeddings.cls_token",
        "model.layers.0.input_layernorm.multiway.0.weight",
        "model.norm.weight",
    )
    found = detect({key: (1,) for key in keys})
    assert found.family == "deqa" and found.keys["model.norm.weight"] == "model.norm.weight"


def test_what_lightning_files_hold_besides_is_ignored():
    extra = {"condition_fusion.a": (1,), "lpips_fn.net.0.weight": (2, 3), "deqa_scorer.x": (), "model.lpips_fn.y": (4,)}
    found = detect({**{f"model.{key}": shape for key, shape in official().items()}, **extra})
    assert set(found.ignored) == set(extra) and set(found.keys) == set(official())


def without(shapes, key):
    return {name: shape for name, shape in shapes.items() if name != key}


@pytest.mark.parametrize(
    "shapes, said",
    [
        ({}, ["no tensors"]),
        (without(official(), "decoders.1.0.beta"), ["AdaQual-Diff", "missing: decoders.1.0.beta"]),
        (without(official(), "intro.weight"), ["AdaQual-Diff", "missing: intro.weight"]),
        (without(official(), "encoders.1.0.beta"), ["AdaQual-Diff", "missing: encoders.1.0.beta"]),
        (without(official(), "prompt_pool.global_quality_prompt"), ["missing: prompt_pool.global_quality_prompt"]),
        ({**official(), "lora_a": (1,), "lora_b": (1,)}, ["AdaQual-Diff", "unexpected: lora_a, lora_b"]),
        ({**official(), "intro.bias": (9,)}, [r"wrong shape: intro.bias \[9\] instead of \[8\]"]),
        ({**official(), "prompt_pool.local_prompt_pool": (9,)}, ["impossible sizes"]),
        ({**official(), "intro.weight": ()}, ["impossible sizes"]),
        ({**official(), "intro.weight": (3, 6, 3, 3)}, ["impossible sizes.*heads"]),
        (without(weather(), "mid.block_2.conv1.weight"), ["WeatherDiffusion", "missing: mid.block_2.conv1.weight"]),
        (without(weather(), "temb.dense.0.weight"), ["WeatherDiffusion", "missing: temb.dense.0.weight"]),
        ({**weather(), "conv_in.weight": (33, 6, 3, 3)}, ["WeatherDiffusion", "impossible sizes.*multiples of 32"]),
        ({**weather(), "conv_in.weight": (32, 3, 3, 3)}, [r"wrong shape: conv_in.weight \[32, 3, 3, 3\] instead"]),
        ({f"module.{k}": v for k, v in without(weather(), "conv_in.weight").items()}, ["missing: conv_in.weight"]),
        ({"lm_head.weight": (1,), "model.layers.0.mlp.w": (1,)}, ["DeQA-Score", "missing: model.visual_abstractor"]),
        (without(shapes_of(Restorer(RESTORER)), "denoiser.intro.weight"), ["our presets", "missing: denoiser.intro.weight"]),
        ({"diffusion_model.input_blocks.0": (1,)}, ["nearest layout", "missing", "unexpected: diffusion_model.input"]),
    ],
)
def test_unknown_files_are_told_the_nearest_layout_and_what_differs(shapes, said):
    for words in said:
        with pytest.raises(CheckpointError, match=words):
            detect(shapes)
