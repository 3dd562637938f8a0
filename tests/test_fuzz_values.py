"""Malformed settings and maps, drawn from seeds: each is refused with a ValueError that says what is wrong, or it works."""

import math
import random
from dataclasses import fields

import pytest
import torch
from small import picture, prompt_for, restorer

from adaqual_core.kinds import KINDS
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality.edit import edit_quality
from adaqual_core.quality.map import QualityMap, quality_from_severity
from adaqual_core.quality.set_damage import set_damage
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings

MODEL = restorer()
PIXELS = picture(20, 35)
ODD = (
    None,
    "",
    "two",
    b"2",
    True,
    [],
    (),
    (1.0,),
    {},
    1j,
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -0.5,
    0,
    0.0,
    0.5,
    1,
    1.5,
    2.0,
    3,
    64,
    4096,
    2**31,
    2**64,
    10**400,
    1e308,
    torch.tensor(1.0),
    torch.ones(3),
)
"""Values that a program or another node may hand over in place of a setting."""


def odd_settings(rng: random.Random, kind: type) -> dict:
    """One to three fields of a settings class with odd values; the rest keeps its defaults."""
    names = rng.sample([field.name for field in fields(kind)], rng.randint(1, 3))
    return {name: rng.choice(ODD) for name in names}


@pytest.mark.parametrize("seed", range(100))
def test_restore_settings_are_refused_by_name_or_work(seed):
    given = odd_settings(random.Random(seed), RestoreSettings)
    try:
        settings = RestoreSettings(**given)
    except ValueError as problem:
        assert any(name in str(problem) for name in given), problem
        return
    if settings.steps <= 3:
        found = restore(MODEL, PIXELS, prompt_for(PIXELS), settings).picture
        assert found.shape == PIXELS.shape and bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("seed", range(100))
def test_prompt_settings_are_refused_by_name_or_work(seed):
    rng = random.Random(seed)
    given = odd_settings(rng, PromptSettings)
    if rng.random() < 0.5:
        given["factors"] = tuple(rng.choice(ODD) if rng.random() < 0.2 else rng.random() for _ in range(rng.choice((8, 8, 7))))
    try:
        settings = PromptSettings(**given)
    except ValueError as problem:
        assert any(name in str(problem) for name in given), problem
        return
    quality = QualityMap(torch.full((1, 1, 2, 3), 2.0), 20, 35, "test", torch.rand(1, len(KINDS), 2, 3))
    prompt = build_prompt(PIXELS, quality, settings)
    for field in (prompt.severity, prompt.restore_mask, prompt.kinds):
        assert bool(((field >= 0) & (field <= 1)).all())
    assert bool(((prompt.length >= 0) & (prompt.length <= 16)).all())


def odd_tensor(rng: random.Random, *shape: int):
    """A tensor of this shape, or of another, of any type, in the range or not, or no tensor at all."""
    if rng.random() < 0.1:
        return rng.choice(ODD)
    if rng.random() < 0.3:
        shape = tuple(rng.choice((0, 1, 2, 3, 8, 33)) for _ in range(rng.choice((0, 1, 2, 3, 4, 4, 4, 5))))
    values = torch.rand(shape, generator=torch.Generator().manual_seed(rng.randrange(99)))
    values = rng.choice((1.0, 1.0, 5.0, -1.0, 1e30)) * values + rng.choice((0.0, 0.0, 1.0))
    if values.numel() and rng.random() < 0.2:
        values.view(-1)[0] = rng.choice((math.nan, math.inf, -math.inf))
    kinds = (torch.float32,) * 8 + (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int64,
        torch.bool,
        torch.complex64,
    )
    values = values.to(rng.choice(kinds))
    return rng.choice((values, values, values, values.to("meta"), values.to_sparse()))


def check_map(quality: QualityMap) -> None:
    """What every map must be good for: cells in range, and a prompt for a picture of its size."""
    cells = quality.cells()
    assert bool(((cells >= 1) & (cells <= 5)).all()) and bool(((quality.mean >= 1) & (quality.mean <= 5)).all())
    assert bool(((quality.severity >= 0) & (quality.severity <= 1)).all())
    assert cells.shape == (quality.batch, 1, math.ceil(quality.height / 16), math.ceil(quality.width / 16))
    kinds = quality.kind_cells()
    assert kinds is None or bool(((kinds >= 0) & (kinds <= 1)).all())
    if quality.height * quality.width <= 10_000:
        prompt = build_prompt(torch.rand(quality.batch, 3, quality.height, quality.width), quality)
        assert bool(((prompt.restore_mask >= 0) & (prompt.restore_mask <= 1)).all())


@pytest.mark.parametrize("seed", range(100))
def test_maps_are_refused_or_good(seed):
    rng = random.Random(seed)
    height, width = (rng.choice(ODD) if rng.random() < 0.15 else rng.randint(1, 80) for _ in range(2))
    size = (height if isinstance(height, int) else 9, width if isinstance(width, int) else 9)
    size = tuple(min(abs(side), 80) for side in size)
    given = {"scores": odd_tensor(rng, 1, 1, 2, 3), "height": height, "width": width, "assessor": "test"}
    if rng.random() < 0.7:
        given["kinds"] = odd_tensor(rng, 1, len(KINDS), 2, 3)
    if rng.random() < 0.2:
        given["pixels"] = odd_tensor(rng, 1, 1, *size)
    if rng.random() < 0.4:
        given["painted"] = rng.choice((*ODD, *9 * ({rng.choice((*KINDS, "fog", None)): odd_tensor(rng, 1, 1, *size)},)))
    if rng.random() < 0.2:
        given["drawn"] = odd_tensor(rng, 1, 1, *size)
    try:
        quality = QualityMap(**given)
    except ValueError as problem:
        assert any(word in str(problem) for word in (*given, "picture size")), problem
        return
    check_map(quality)


@pytest.mark.parametrize("seed", range(100))
def test_masks_and_edits_are_refused_or_give_a_good_map(seed):
    rng = random.Random(seed)
    try:
        quality = quality_from_severity(odd_tensor(rng, 1, 20, 35))
        names = ("override_quality", "minimum", "maximum", "gain", "blur")
        edits = {name: rng.choice((*ODD, 2.0, 3.0)) for name in rng.sample(names, rng.randint(0, 2))}
        if rng.random() < 0.5:
            edits["override"] = odd_tensor(rng, 1, 9, 9)
        edited = edit_quality(quality, **edits)
        check_map(edited)
        mask = odd_tensor(rng, 1, 9, 9) if rng.random() < 0.5 else None
        check_map(set_damage(edited, rng.choice((*KINDS, *KINDS, "fog", None)), rng.choice((*ODD, 0.2, 0.8)), mask))
    except ValueError as problem:
        assert str(problem)
