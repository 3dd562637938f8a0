"""Choice of what is restored: damage that is said, and kinds of damage that are struck out."""

from dataclasses import replace

import pytest
import small
import torch
from painted import HEIGHT, WIDTH, check_exact, stroke

from adaqual_core.kinds import KINDS
from adaqual_core.prompt import PromptSettings, build_prompt
from adaqual_core.quality.bundled import estimate_quality
from adaqual_core.quality.edit import edit_quality
from adaqual_core.quality.map import QualityMap, quality_from_severity
from adaqual_core.quality.set_damage import assume, set_damage
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import settings_for
from adaqual_core.video.clip import Chain, Shot, look

HAZE, RAIN = KINDS.index("haze"), KINDS.index("rain")


def clean_map(batch: int = 1, named: bool = True, height: int = HEIGHT, width: int = WIDTH) -> QualityMap:
    """A map of an assessor that saw nothing."""
    grid = (-(-height // 16), -(-width // 16))
    return QualityMap(
        torch.full((batch, 1, *grid), 5.0), height, width, "test", torch.zeros(batch, len(KINDS), *grid) if named else None
    )


def seen_map(seed: int = 0) -> QualityMap:
    """A map of an assessor that saw damage of every kind everywhere."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.rand((2, len(KINDS), 10, 14), generator=generator)
    return QualityMap(5 - 4 * torch.rand((2, 1, 10, 14), generator=generator), HEIGHT, WIDTH, "test", kinds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_damage_becomes_the_larger_of_seen_and_said(kind, masked):
    quality, index, mask = seen_map(), KINDS.index(kind), stroke() if masked else None
    said = set_damage(quality, kind, 0.6, mask)
    region = torch.ones(2, 10, 14, dtype=torch.bool)
    if masked:
        region = torch.nn.functional.max_pool2d(mask, 16, ceil_mode=True)[0].expand(2, -1, -1) > 0
    for found, before in ((said.kind_cells()[:, index], quality.kinds[:, index]), (said.severity[:, 0], quality.severity[:, 0])):
        assert torch.allclose(found[region], before[region].clamp_min(0.6)) and torch.equal(found[~region], before[~region])
    others = [i for i in range(len(KINDS)) if i != index]
    assert torch.equal(said.kind_cells()[:, others], quality.kinds[:, others])
    if masked:
        assert torch.equal(said.kind_pixels(kind), torch.maximum(quality.kind_pixels(kind), 0.6 * mask))
    assert torch.equal(said.mean, said.cells().mean((1, 2, 3)))


def test_saying_nothing_changes_no_severity():
    for quality in (seen_map(), clean_map(), clean_map(named=False)):
        for said in (set_damage(quality, "haze", 0.0), set_damage(quality, "haze", 0.7, torch.zeros(1, 64, 64))):
            assert torch.equal(said.cells(), quality.cells()) and torch.equal(said.resized(31, 17), quality.resized(31, 17))
            before = torch.zeros_like(said.kinds) if quality.kinds is None else quality.kinds
            assert torch.equal(said.kind_cells(), before)


def test_statements_add_up_in_any_order_and_are_made_per_picture():
    quality, left, right = clean_map(2), torch.zeros(2, HEIGHT, WIDTH), torch.zeros(1, HEIGHT, WIDTH)
    left[0, :, :50], right[:, :, 120:] = 1, 0.5
    one = set_damage(set_damage(set_damage(quality, "haze", 0.7, left), "rain", 0.4, right), "low", 0.2)
    other = set_damage(set_damage(set_damage(quality, "low", 0.2), "rain", 0.4, right), "haze", 0.7, left)
    for a, b in ((one.kinds, other.kinds), (one.painted_severity, other.painted_severity), (one.scores, other.scores)):
        assert torch.equal(a, b)
    assert torch.allclose(one.painted_severity[0, 0, 70, [10, 80, 150]], torch.tensor([0.7, 0.0, 0.2]))
    assert torch.equal(one.painted_severity[1, 0, :, :50], torch.zeros(HEIGHT, 50))
    assert torch.equal(one.index(1).cells(), one.cells()[1:]) and torch.equal(one.index(1).kind_cells(), one.kind_cells()[1:])
    assert torch.allclose(one.resized(HEIGHT, WIDTH), torch.minimum(5 - 4 * one.painted_severity, torch.tensor(4.2)))


def test_an_edited_statement_stays_exact():
    said = set_damage(clean_map(), "haze", 0.5, stroke())
    halved = edit_quality(said, gain=0.5)
    assert torch.allclose(halved.painted_severity, 0.25 * stroke()[None], atol=1e-6)
    assert torch.allclose(halved.kind_cells(), said.kind_cells() / 2)
    protected = torch.zeros(1, HEIGHT, WIDTH)
    protected[:, :, 100:] = 1
    kept = edit_quality(said, override=protected, override_quality=5.0)
    assert torch.equal(kept.painted_severity[..., 100:], torch.zeros(1, 1, HEIGHT, WIDTH - 100))
    assert torch.allclose(kept.painted_severity[..., :100], said.painted_severity[..., :100], atol=1e-6)


@pytest.mark.parametrize(
    "values, message",
    [
        (("fog", 0.5), "kind: 'fog'; choose from low, rain"),
        (("haze", 1.1), "severity: 1.1"),
        (("haze", -0.1), "severity: -0.1"),
        (("haze", float("nan")), "severity: nan"),
        (("haze", 0.5, torch.ones(3, 8, 8)), "mask: 3 masks for 2 maps"),
        (("haze", 0.5, torch.ones(8, 8)), "mask: shape"),
        (("haze", 0.5, torch.ones(1, 0, 8)), "mask: shape"),
        (("haze", 0.5, torch.full((1, 8, 8), float("nan"))), "mask: holds NaN"),
    ],
)
def test_impossible_statements_name_themselves(values, message):
    with pytest.raises(ValueError, match=message):
        set_damage(seen_map(), *values)


@pytest.mark.parametrize(
    "painted, message",
    [
        (torch.zeros(1, 1, 20, 30), "painted: 'haze' "),
        (torch.full((2, 1, HEIGHT, WIDTH), 1.1), "painted: values outside"),
        (torch.zeros(2, 1, HEIGHT, WIDTH).half(), "painted: torch.float16"),
    ],
)
def test_a_painted_field_that_is_none_is_refused(painted, message):
    quality = seen_map()
    with pytest.raises(ValueError, match=message):
        QualityMap(quality.scores, HEIGHT, WIDTH, "test", quality.kinds, painted={"haze": painted})


MODELS = {"own": small.restorer, "official": small.official, "weather": small.weather}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tile", [64, 512])
def test_a_painted_mask_acts_to_the_pixel(name, tile):
    """Where nothing is painted on a clean picture it comes back bit for bit; all that is painted is restored in full."""
    model, picture, mask = MODELS[name](), small.picture(HEIGHT, WIDTH, channels=4), stroke()
    settings = settings_for(model, tile=tile, steps=1)
    prompt = build_prompt(picture, set_damage(clean_map(), "haze", 0.7, mask))
    assert torch.equal(prompt.pixel_mask(0), mask[0])
    found = restore(model, picture, prompt, settings).picture
    outside = mask[0] == 0
    assert torch.equal(found[..., outside], picture[..., outside])
    changed = (found - picture)[0, :3].abs().amax(0)
    border = torch.zeros_like(outside)
    border[37, 53:140] = border[90, 53:140] = border[37:91, 53] = border[37:91, 139] = True
    assert changed[mask[0] > 0].mean() > 0.01
    assert changed[border].mean() > 0.4 * changed[mask[0] > 0].mean()  # not faded out at the border


def masked(mask: torch.Tensor) -> QualityMap:
    return quality_from_severity(mask)


def painted_over(mask: torch.Tensor) -> QualityMap:
    return edit_quality(clean_map(), override=mask, override_quality=1.0)


def protected(mask: torch.Tensor) -> QualityMap:
    damaged = QualityMap(torch.full((1, 1, 10, 14), 2.0), HEIGHT, WIDTH, "test", torch.ones(1, len(KINDS), 10, 14))
    return edit_quality(damaged, override=1 - mask, override_quality=5.0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("paint", [masked, painted_over, protected])
def test_every_painted_map_acts_to_the_pixel(name, paint):
    """What Mask to Quality Map and Edit Quality Map paint is restored, or protected, exactly where it is painted."""
    model, picture, mask = MODELS[name](), small.picture(HEIGHT, WIDTH), stroke()
    quality = paint(mask)
    if name == "own":
        quality = set_damage(quality, "haze", 0.5, mask)
    check_exact(model, quality, mask)
    again = edit_quality(quality, gain=0.9)
    assert torch.equal(build_prompt(picture, again).pixel_mask(0) > 0, mask[0] > 0)
    assert torch.equal(quality.resized(HEIGHT, WIDTH) < 5, mask[None] > 0)


def tone_only(model):
    """Return a restorer that changes nothing but the tone, and that evenly."""
    with torch.no_grad():
        for layer, bias in ((model.grid.head, 0.05), (model.denoiser.ending, 0.0)):
            layer.weight.zero_()
            layer.bias.fill_(bias)
    return model


def half_dark() -> QualityMap:
    """What an assessor might say of a picture whose left half is dark."""
    kinds = torch.zeros(1, len(KINDS), 10, 14)
    kinds[:, KINDS.index("low"), :, :7] = 0.8
    return QualityMap(5 - 4 * kinds.amax(1, keepdim=True), HEIGHT, WIDTH, "test", kinds)


@pytest.mark.parametrize("nothing", [{}, {"override": torch.zeros(1, HEIGHT, WIDTH)}])
def test_an_edit_that_changes_nothing_restores_the_same(nothing):
    model, picture = small.restorer(), small.picture(HEIGHT, WIDTH)
    expected = restore(model, picture, build_prompt(picture, half_dark())).picture
    assert torch.equal(restore(model, picture, build_prompt(picture, edit_quality(half_dark(), **nothing))).picture, expected)
    assert not torch.equal(expected, picture)


@pytest.mark.parametrize("score", [1.5, 5.0])
def test_tone_beside_paint_hardly_changes(score):
    """Paint changes the tone where it lies. Beside it, at the soft edge of a dark region, it changes by less than a tenth."""
    model, picture = tone_only(small.restorer()), small.picture(HEIGHT, WIDTH)
    paint = torch.zeros(1, HEIGHT, WIDTH)
    paint[:, :48] = 1
    quality = edit_quality(half_dark(), override=paint, override_quality=score)
    before, after = (build_prompt(picture, one) for one in (half_dark(), quality))
    after = replace(after, severity=before.severity, kinds=before.kinds)  # the same grid for both
    expected, found = (restore(model, picture, prompt).picture for prompt in (before, after))
    change = (found - expected).abs()
    strongest = float((expected - picture).abs().max())
    assert float(change[:, :, 48:].max()) < 0.1 * strongest < 0.2 * float(change[:, :, :48].max())
    if score == 5:
        assert torch.equal(found[:, :, :48], picture[:, :, :48])


def test_what_is_painted_clean_keeps_no_kind():
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[..., :56] = 1  # three and a half cells
    kinds = edit_quality(half_dark(), override=mask, override_quality=5.0).kinds
    assert torch.allclose(kinds[0, KINDS.index("low"), 0, :7], torch.tensor([0, 0, 0, 0.4, 0.8, 0.8, 0.8]), atol=1e-6)
    assert torch.equal(edit_quality(half_dark(), override=mask, override_quality=2.0).kinds, half_dark().kinds)


def test_a_factor_reaches_painted_pixels():
    mask = stroke()
    quality = edit_quality(set_damage(clean_map(), "haze", 0.6), override=1 - mask, override_quality=5.0)
    picture = small.picture(HEIGHT, WIDTH)
    assert torch.equal(build_prompt(picture, quality).pixel_mask(0), mask[0])
    assert float(build_prompt(picture, quality, factors(haze=0)).pixel_mask(0).max()) == 0


def test_what_was_seen_is_restored_beside_what_is_painted():
    """A statement changes nothing of what the assessor's map asks for farther away than the network sees."""
    model, picture = small.restorer(), small.picture(HEIGHT, 2 * WIDTH)
    kinds = torch.zeros(1, len(KINDS), 10, 27)
    kinds[:, RAIN, :, 20:] = 0.8
    quality = QualityMap(5 - 4 * kinds[:, RAIN : RAIN + 1], HEIGHT, 2 * WIDTH, "test", kinds)
    mask = torch.zeros(1, HEIGHT, 2 * WIDTH)
    mask[:, :, :37] = 1
    said = set_damage(quality, "haze", 0.7, mask)
    prompt, alone = build_prompt(picture, said), build_prompt(picture, quality)
    assert torch.equal(prompt.restore_mask, alone.restore_mask)
    found = restore(model, picture, prompt).picture
    assert (found[..., :37] - picture[..., :37]).abs().mean() > 0.01
    assert torch.equal(found[..., 60:190], picture[..., 60:190]) and not torch.equal(found[..., 330:], picture[..., 330:])


@pytest.mark.parametrize("named", [True, False])
def test_what_is_said_of_a_clean_picture_runs_the_network(named):
    picture = small.picture(HEIGHT, WIDTH)
    said = set_damage(clean_map(named=named), "haze", 0.7)
    model = small.restorer()
    result = restore(model, picture, build_prompt(picture, said))
    assert result.tiles_run == result.tiles_total > 0
    assert (result.picture - picture).abs().mean() > 0.005
    assert restore(model, picture, build_prompt(picture, set_damage(said, "haze", 0))).tiles_run > 0


def factors(**given: float) -> PromptSettings:
    return PromptSettings(factors=tuple(given.get(kind, 1.0) for kind in KINDS))


def test_a_kind_that_is_struck_out_is_neither_asked_for_nor_restored():
    picture, mask = small.picture(HEIGHT, WIDTH), stroke()
    said = set_damage(set_damage(clean_map(), "rain", 0.6), "haze", 0.7, mask)
    both, dry, hazy = (build_prompt(picture, said, f) for f in (factors(), factors(rain=0), factors(rain=0, haze=0)))
    assert torch.equal(both.kinds, said.kind_cells())
    assert float(dry.kinds[:, RAIN].max()) == 0 and torch.equal(dry.kinds[:, HAZE], said.kind_cells()[:, HAZE])
    assert torch.equal(dry.pixel_mask(0), mask[0]) and float(hazy.pixel_mask(0).max()) == 0
    assert float(both.pixel_mask(0).min()) == 1
    result = restore(small.restorer(), picture, hazy)
    assert torch.equal(result.picture, picture) and result.tiles_run == 0
    half = build_prompt(picture, said, factors(rain=0.5))
    assert torch.allclose(half.kinds[:, RAIN], torch.full_like(half.kinds[:, RAIN], 0.3))


def test_factors_need_a_map_that_names_kinds():
    picture = small.picture(HEIGHT, WIDTH)
    for quality in (clean_map(named=False), quality_from_severity(torch.ones(1, HEIGHT, WIDTH))):
        with pytest.raises(ValueError, match="names no kinds of damage"):
            build_prompt(picture, quality, factors(rain=0))
        assert build_prompt(picture, set_damage(quality, "haze", 0.7), factors(rain=0)).kinds is not None


def test_one_map_with_a_painted_region_serves_a_batch():
    pictures = small.picture(HEIGHT, WIDTH, batch=3)
    prompt = build_prompt(pictures, set_damage(clean_map(), "haze", 0.7, stroke()))
    found = restore(small.restorer(), pictures, prompt).picture
    outside = stroke()[0] == 0
    assert torch.equal(found[..., outside], pictures[..., outside]) and not torch.equal(found, pictures)


def test_an_estimated_map_takes_statements():
    picture = small.picture(HEIGHT, WIDTH)
    seen = estimate_quality(small.assessor(), picture)
    said = set_damage(seen, "blur", 0.9, stroke())
    assert bool((said.kind_cells() >= seen.kinds).all()) and bool((said.cells() <= seen.cells()).all())


def test_tone_follows_what_is_painted_also_where_something_was_seen():
    """Set Damage moves a painted region's tone as far as damage everywhere does, whatever the assessor's cells say there."""
    model, picture, mask = small.restorer(), small.picture(HEIGHT, WIDTH), stroke()
    with torch.no_grad():  # the tone alone
        model.denoiser.ending.weight.zero_()
        model.denoiser.ending.bias.zero_()
    kinds = torch.zeros(1, len(KINDS), 10, 14)
    kinds[:, RAIN, 3:5, 4:7] = 0.9  # a few cells in the painted region
    quality = QualityMap(5 - 4 * kinds[:, RAIN : RAIN + 1], HEIGHT, WIDTH, "test", kinds)
    said = build_prompt(picture, set_damage(quality, "haze", 0.9, mask))
    everywhere = replace(said, said=torch.ones_like(said.said))
    found, expected = (restore(model, picture, prompt).picture for prompt in (said, everywhere))
    inside = mask[0] > 0
    assert torch.allclose(found[..., inside], expected[..., inside], atol=1e-6)
    assert (expected - picture)[..., inside].abs().mean() > 0.002


def test_tone_stays_where_another_kind_is_said():
    """Grain that is set through a mask does not pull the tone of darkness elsewhere into its region; haze does."""
    model, picture, mask = tone_only(small.restorer()), small.picture(HEIGHT, WIDTH), stroke()
    for quality in (half_dark(), edit_quality(half_dark(), override=1 - mask, override_quality=3.0)):
        before, grainy, hazy = (
            restore(model, picture, build_prompt(picture, one)).picture
            for one in (quality, set_damage(quality, "noise", 0.6, mask), set_damage(quality, "haze", 0.6, mask))
        )
        assert torch.allclose(grainy, before, atol=1e-6) and (hazy - before).abs().max() > 0.01


def test_what_is_assumed_of_a_region_lies_on_the_picture():
    mask = stroke()
    said = assume(clean_map(), {"haze": 0.7, "rain": 0.2}, mask)
    assert torch.equal(said.painted["haze"][0], 0.7 * mask) and torch.equal(said.painted["rain"][0], 0.2 * mask)
    crop = assume(clean_map(), {"haze": 0.7}, mask[:, 3:147, 1:209])  # as VAE Encode crops it
    assert torch.equal(crop.painted["haze"], said.painted["haze"])
    assert torch.equal(assume(clean_map(), {"haze": 0.7}).scores, set_damage(clean_map(), "haze", 0.7).scores)


def test_a_clip_takes_what_is_assumed_of_a_region():
    model, picture = small.restorer(), small.picture(HEIGHT, WIDTH)
    chain = Chain(model, lambda _: clean_map(), PromptSettings(), settings_for(model), 0, {"haze": 0.7}, stroke())
    _, prompt, _ = look(chain, Shot(), picture)
    assert torch.equal(prompt.pixel_mask(0), stroke()[0])


def test_the_tone_of_an_estimated_map_reaches_no_farther_than_a_quarter_of_the_sides():
    """Tone may pass the border of the restore mask, so that no edge shows; farther away, and without low light and haze, kept
    regions are the same bits."""
    model, picture = small.restorer(), small.picture(HEIGHT, 2 * WIDTH)
    for kind in ("low", "rain"):
        kinds = torch.zeros(1, len(KINDS), 10, 27)
        kinds[:, KINDS.index(kind), :, :6] = 0.8
        quality = QualityMap(5 - 4 * kinds.amax(1, keepdim=True), HEIGHT, 2 * WIDTH, "test", kinds)
        prompt = build_prompt(picture, quality)
        changed = (restore(model, picture, prompt).picture != picture).any(1)[0]
        kept = prompt.pixel_mask(0) == 0
        assert bool(changed[~kept].any()) and bool((changed & kept).any()) == (kind == "low")
        assert not changed[:, 6 * 16 + 8 + 2 * WIDTH // 4 + 16 :].any()
