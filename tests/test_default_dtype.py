"""Another pack in the process may have changed torch's default dtype: no result depends on it."""

from collections.abc import Callable, Iterator
from dataclasses import astuple, is_dataclass
from pathlib import Path

import pytest
import torch
from small import official, picture, prompt_for, save_lightning, weather
from small_clip import write_clip
from small_deqa import network, write

from adaqual_core.damage import KINDS, degrade
from adaqual_core.networks.shipped import SHIPPED_RESTORER
from adaqual_core.prompt import build_prompt
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.bundled import SHIPPED_ASSESSOR
from adaqual_core.quality.edit import edit_quality
from adaqual_core.quality.estimator import cell_statistics
from adaqual_core.quality.heatmap import heatmap
from adaqual_core.quality.map import QualityMap, quality_from_severity
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for
from adaqual_core.steer.blend import best_per_region, blend
from adaqual_core.steer.latents import graded, latent_scores, merged
from adaqual_core.steer.text import band_masks

OTHERS = (torch.float64, torch.float16, torch.bfloat16)
PIXELS = picture(70, 90)
MASK, LATENT_MASK = torch.eye(70, 90)[None, None], torch.ones(1, 1, 9, 12)
MAP = QualityMap(torch.linspace(1, 5, 20).view(1, 1, 4, 5), 70, 90, "test")


@pytest.fixture(autouse=True)
def default_dtype() -> Iterator[None]:
    """Each test leaves float32 behind."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP folder, a DeQA-Score folder and a checkpoint, all small and of random weights."""
    folder = tmp_path_factory.mktemp("files")
    write_clip(folder / "clip")
    write(folder / "deqa", network())
    save_lightning(folder / "adaqual.ckpt")
    return folder


def leaves(value: object) -> list:
    """The tensors and plain values of a result, in order."""
    if is_dataclass(value):
        value = astuple(value)
    if isinstance(value, (tuple, list)):
        return [leaf for one in value for leaf in leaves(one)]
    return [value]


def same_under_every_default(work: Callable[[], object]) -> None:
    """``work`` gives float32's result, bit by bit, under every default dtype, and leaves that default as it was."""
    expected = leaves(work())
    assert any(isinstance(leaf, torch.Tensor) for leaf in expected)
    for other in OTHERS:
        torch.set_default_dtype(other)
        found = leaves(work())
        assert torch.get_default_dtype() == other
        assert len(found) == len(expected)
        for one, wanted in zip(found, expected, strict=True):
            if isinstance(wanted, torch.Tensor):
                assert one.dtype == wanted.dtype and torch.equal(one, wanted), other
            else:
                assert one == wanted, other
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["shipped", "clip", "deqa"])
def test_judging(files, name):
    path = SHIPPED_ASSESSOR if name == "shipped" else files / name
    same_under_every_default(lambda: assess(open_assessor(path), PIXELS))


def test_the_prompt():
    same_under_every_default(lambda: build_prompt(PIXELS, MAP))


@pytest.mark.parametrize("name", ["shipped", "AdaQual-Diff", "AdaQual-Diff, prompted", "WeatherDiffusion"])
def test_restoring(files, name):
    prompt, prompted, by_patches = prompt_for(PIXELS), official("prompted"), weather()
    open_model = {
        "shipped": lambda: load_restorer(SHIPPED_RESTORER),
        "AdaQual-Diff": lambda: load_restorer(files / "adaqual.ckpt"),
        "AdaQual-Diff, prompted": lambda: prompted,
        "WeatherDiffusion": lambda: by_patches,
    }[name]

    def work():
        model = open_model()
        return restore(model, PIXELS, prompt, settings_for(model, steps=2, eta=0.5))

    same_under_every_default(work)


@pytest.mark.parametrize("kind", KINDS)
def test_damaging(kind):
    same_under_every_default(lambda: degrade(PIXELS[0], [kind], 0.7, seed=3))


@pytest.mark.parametrize(
    "work",
    [
        lambda: heatmap(MAP),
        lambda: edit_quality(MAP, override=MASK[0], override_quality=2.0, gain=1.5, blur=3.0),
        lambda: quality_from_severity(MASK[0]),
        lambda: blend(PIXELS[0], PIXELS[0].flip(0), MAP.severity, 3),
        lambda: best_per_region([PIXELS[0], PIXELS[0].flip(2)], [MAP, MAP], 3),
        lambda: graded(MAP.severity, 2.0, 7.0, 1.3),
        lambda: latent_scores(MAP, (1, 4, 9, 12)),
        lambda: merged(LATENT_MASK, MASK[0]),
        lambda: band_masks(MAP, 4, 0.5),
        lambda: cell_statistics(PIXELS[..., :64, :80]),
    ],
    ids=["heatmap", "edit", "from mask", "blend", "best", "graded", "latent", "merged", "bands", "statistics"],
)
def test_maps_masks_and_blends(work):
    same_under_every_default(work)
