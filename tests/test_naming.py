"""Kinds of damage for maps that name none: what the bundled assessor supplies, and what stays as it was."""

import small
import torch
from painted import HEIGHT, WIDTH, check_exact, stroke

from adaqual_core.kinds import KINDS
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.edit import edit_quality
from adaqual_core.quality.map import QualityMap, quality_from_severity
from adaqual_core.quality.naming import lacks_kinds, open_namer, with_kinds
from adaqual_core.quality.set_damage import set_damage

HAZE, RAIN = KINDS.index("haze"), KINDS.index("rain")


def clean_map() -> QualityMap:
    """A map of an assessor that saw nothing and names no kinds."""
    return QualityMap(torch.full((1, 1, 10, 14), 5.0), HEIGHT, WIDTH, "test")


def named_map() -> QualityMap:
    """A map of an assessor that names kinds."""
    return QualityMap(torch.full((1, 1, 10, 14), 3.0), HEIGHT, WIDTH, "test", torch.full((1, len(KINDS), 10, 14), 0.5))


def test_kinds_are_supplied_to_maps_that_name_none():
    """Scores and what is painted stay, kinds are what the namer sees, and what was said is never lowered."""
    picture, namer, mask = small.picture(HEIGHT, WIDTH, batch=2), small.assessor(), stroke()
    seen = estimate_quality(namer, picture).kinds
    for nameless in (quality_from_severity(mask), clean_map(), edit_quality(clean_map(), override=mask)):
        named = with_kinds(nameless, picture, namer)
        assert torch.equal(named.kinds, seen) and torch.equal(named.cells()[0], nameless.cells()[0])
        assert not lacks_kinds(named) and with_kinds(nameless, picture, None) is nameless
        said = with_kinds(set_damage(set_damage(nameless, "haze", 0.9, mask), "rain", 0.4), picture, namer)
        assert torch.equal(said.kinds[:, HAZE], seen[:, HAZE]) and torch.equal(said.painted["haze"][1], 0.9 * mask)
        assert torch.allclose(said.kinds[:, RAIN], seen[:, RAIN].clamp_min(0.4), atol=1e-6)
    assert with_kinds(named_map(), picture, namer).kinds.max() == 0.5 and not lacks_kinds(set_damage(named_map(), "haze", 0.5))
    assert open_namer(namer) is None


def test_a_painted_mask_with_supplied_kinds_acts_to_the_pixel():
    """A mask alone restores what is painted, with the kinds that the namer sees; a kind that is struck out is asked for less."""
    model, picture, mask = small.restorer(), small.picture(HEIGHT, WIDTH), stroke()
    quality = with_kinds(quality_from_severity(mask), picture, small.assessor())
    check_exact(model, quality, mask)
    kept = build_prompt(picture, quality, PromptSettings(factors=(0.0,) * len(KINDS)))
    assert float(kept.pixel_mask(0).max()) == 0 and float(kept.kinds.max()) == 0


def test_painted_damage_that_the_namer_does_not_see_keeps_its_severity():
    blind = small.assessor()
    with torch.no_grad():
        blind.head.weight.zero_()
        blind.head.bias.fill_(-30)
    picture = small.picture(HEIGHT, WIDTH)
    prompt = build_prompt(
        picture,
        with_kinds(quality_from_severity(stroke()), picture, blind),
        PromptSettings(factors=tuple(float(kind != "rain") for kind in KINDS)),
    )
    assert torch.equal(prompt.pixel_mask(0), stroke()[0]) and float(prompt.severity.max()) == 1
    assert float(prompt.kinds.max()) < 1e-6
