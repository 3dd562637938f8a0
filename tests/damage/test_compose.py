"""Compositions: what can be left out, masked, batched and repeated, and what is known of the result."""

import pytest
import torch

from adaqual_core.damage import KINDS, degrade, degrade_batch
from adaqual_core.damage.draws import Draws
from adaqual_core.damage.fields import octave_noise
from adaqual_core.quality.reference import reference_quality


def scene(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A textured picture whose upper part is bright and even."""
    draws = Draws(seed, "scene")
    picture = 0.15 + 0.6 * torch.cat([octave_noise(height, width, draws, cells=3, octaves=6) for _ in range(3)])
    picture[:, : height // 3] = 0.75
    return picture


CLEAN = scene(96, 128)


def asked(*rows: dict[str, float]) -> torch.Tensor:
    """Severities [B, 8] from one dictionary of kinds per picture."""
    return torch.tensor([[row.get(kind, 0.0) for kind in KINDS] for row in rows])


def one(severities: dict[str, float], seed: int = 3, mask: torch.Tensor | None = None, camera: bool = False):
    """One picture, CLEAN, damaged."""
    return degrade_batch(CLEAN[None], asked(severities), [seed], mask, [camera])


def test_the_published_order():
    assert KINDS == ("low", "rain", "snow", "haze", "raindrops", "blur", "noise", "jpeg")


@pytest.mark.parametrize("camera", [False, True])
@pytest.mark.parametrize(
    "kinds", [{"low": 0.7, "noise": 0.5}, {"rain": 0.6, "haze": 0.5, "jpeg": 0.4}, dict.fromkeys(KINDS, 0.5)], ids=str
)
def test_the_seed_decides(kinds, camera):
    first, again, other = (one(kinds, seed, camera=camera) for seed in (3, 3, 4))
    for name in ("picture", "clean", "severity"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.picture, other.picture)


def test_a_batch_equals_its_pictures_one_by_one():
    rows = [{"haze": 0.6, "noise": 0.4}, {}, {"rain": 0.7, "jpeg": 0.6}, {"blur": 0.5, "noise": 0.9}]
    clean = torch.stack([scene(64, 80, i) for i in range(4)])
    masks, cameras = Draws(0, "masks").rand(4, 1, 64, 80), [False, True, True, False]
    batch = degrade_batch(clean, asked(*rows), [5, 6, 7, 8], masks, cameras)
    for i, row in enumerate(rows):
        single = degrade_batch(clean[i : i + 1], asked(row), [5 + i], masks[i : i + 1], cameras[i : i + 1])
        for name in ("picture", "clean", "severity"):
            assert torch.equal(getattr(batch, name)[i], getattr(single, name)[0])


@pytest.mark.parametrize("camera", [False, True])
def test_leaving_out_what_comes_last_gives_the_picture_before_it(camera):
    """Rain with noise and without it is the same rain, with the same severity; without a camera, noise laid on it gives both."""
    index = KINDS.index("rain")
    for seed in range(4):
        rain, both = one({"rain": 0.6}, seed, camera=camera), one({"rain": 0.6, "noise": 0.3}, seed, camera=camera)
        assert torch.equal(rain.clean, both.clean) and not torch.equal(rain.picture, both.picture)
        assert torch.equal(rain.severity[:, index], both.severity[:, index])
        if not camera:
            assert torch.equal(degrade_batch(rain.picture, asked({"noise": 0.3}), [seed]).picture, both.picture)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_the_same_whatever_else_there_is(kind):
    """Damage by all kinds at once equals damage by one kind after the other, each drawn alone."""
    whole = one(dict.fromkeys(KINDS, 0.4))
    others = CLEAN[None]
    for name in KINDS:
        step = degrade_batch(others, asked({name: 0.4}), [3])
        others = step.picture
        if name == kind:
            assert torch.equal(step.severity[:, KINDS.index(kind)], whole.severity[:, KINDS.index(kind)])
    assert torch.equal(others, whole.picture)


@pytest.mark.parametrize("kind", KINDS)
def test_severities_of_absent_kinds_are_zero(kind):
    found = one({kind: 0.6})
    index = KINDS.index(kind)
    assert found.severity[:, index].max() > 0.1
    assert (torch.cat((found.severity[:, :index], found.severity[:, index + 1 :]), 1) == 0).all()
    assert torch.equal(found.clean, CLEAN[None])


def test_nothing_asked_nothing_done():
    found = one({})
    assert torch.equal(found.picture, CLEAN[None]) and (found.severity == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_limits_the_damage_exactly(kind):
    mask = torch.zeros(1, 1, 96, 128)
    mask[..., :40, :50] = 1
    mask[..., 40:50, :50] = 0.5
    found, whole = one({kind: 0.8}, mask=mask), one({kind: 0.8})
    outside, inside = mask.expand(1, 3, -1, -1) == 0, mask.expand(1, 3, -1, -1) == 1
    assert torch.equal(found.picture[outside], CLEAN[None][outside])
    assert torch.equal(found.picture[inside], whole.picture[inside])
    between = mask.expand(1, 3, -1, -1) == 0.5
    assert torch.allclose(found.picture[between], (CLEAN[None][between] + whole.picture[between]) / 2, atol=1e-6)
    assert torch.allclose(found.severity, whole.severity * mask)


def test_a_mask_for_each_kind():
    masks = torch.zeros(1, 8, 96, 128)
    masks[:, KINDS.index("haze"), :, :64] = 1
    masks[:, KINDS.index("noise"), :, 64:] = 1
    found = one({"haze": 0.6, "noise": 0.6}, mask=masks)
    assert torch.equal(found.picture[..., :64], one({"haze": 0.6}).picture[..., :64])
    assert torch.equal(found.picture[..., 64:], one({"noise": 0.6}).picture[..., 64:])


def test_behind_a_camera_undamaged_pictures_stay_clean():
    """A camera's look is no damage; its file is, and is JPEG of a good quality."""
    seen = {True: 0, False: 0}
    for seed in range(12):
        found = one({}, seed, camera=True)
        compressed = bool(found.severity[:, -1].max() > 0)
        seen[compressed] += 1
        assert (found.severity[:, :-1] == 0).all() and found.severity.max() < 0.04
        assert (found.picture - found.clean).abs().mean() < (0.03 if compressed else 0.006)
        assert not torch.equal(found.clean, CLEAN[None])
    assert seen[True] >= 2 and seen[False] >= 2


def test_behind_a_camera_noise_is_measured_as_it_is_shown():
    for seed in range(12):
        found = one({"noise": 0.6}, seed, camera=True)
        if found.severity[:, -1].max() > 0:
            continue  # the file has changed the noise
        error = 255 * float((found.picture - found.clean).square().mean().sqrt())
        done = found.severity[:, KINDS.index("noise")]
        assert float((50 * done**2).square().mean().sqrt()) == pytest.approx(error, rel=0.05)


def test_behind_a_camera_damage_stays_in_its_mask():
    mask = torch.zeros(1, 1, 96, 128)
    mask[..., :64] = 1
    for seed in range(8):
        found = one({"haze": 0.6, "noise": 0.6}, seed, mask, camera=True)
        if found.severity[:, -1].max() == 0:
            assert torch.equal(found.picture[..., 72:], found.clean[..., 72:])
        assert (found.severity[:, :-1, :, 72:] == 0).all() and found.severity[:, :-1, :, :56].max() > 0.2


@pytest.mark.parametrize("height, width", [(1, 1), (1, 30), (7, 300), (17, 5)])
def test_any_size(height, width):
    for kinds in (
        {"rain": 1.0, "jpeg": 1.0},
        {"snow": 1.0, "blur": 1.0},
        {"low": 1.0, "haze": 1.0},
        {"raindrops": 1.0, "noise": 1.0},
    ):
        for camera in (False, True):
            found = degrade_batch(scene(height, width)[None], asked(kinds), [1], None, [camera])
            assert found.picture.shape == found.clean.shape == (1, 3, height, width)
            assert found.severity.shape == (1, 8, height, width)
            for part in (found.picture, found.clean, found.severity):
                assert part.isfinite().all() and 0 <= part.min() and part.max() <= 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"severities": torch.zeros(2, 7)}, "severities: shape"),
        ({"severities": torch.full((2, 8), 1.5)}, "severities"),
        ({"severities": torch.full((2, 8), float("nan"))}, "severities"),
        ({"seeds": [1]}, "seeds: 1 for 2"),
        ({"camera": [True]}, "camera: 1 for 2"),
        ({"masks": torch.ones(2, 3, 8, 8)}, "masks: shape"),
    ],
)
def test_bad_batches_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        degrade_batch(**{"clean": torch.rand(2, 3, 8, 8), "severities": torch.zeros(2, 8), "seeds": [1, 2], **change})


@pytest.mark.parametrize("kind", KINDS)
def test_error_grows_with_severity_on_average(kind):
    means = []
    for severity in (0.1, 0.4, 0.9):
        damaged = (degrade(CLEAN, [kind], severity, seed=seed).picture for seed in range(12))
        means.append(sum(float((picture - CLEAN).square().mean()) for picture in damaged))
    assert means[0] < means[1] < means[2]


def test_one_picture_with_kinds_by_name():
    """The names' order and repetition do not matter, the overall severity follows from the kinds', the input is left alone."""
    copy = CLEAN.clone()
    found, again = degrade(CLEAN, ["haze", "rain"], 0.5, seed=1), degrade(CLEAN, ["rain", "haze", "rain"], 0.5, seed=1)
    batch = one({"rain": 0.5, "haze": 0.5}, seed=1)
    assert torch.equal(CLEAN, copy)
    assert torch.equal(found.picture, again.picture) and torch.equal(found.picture, batch.picture[0])
    assert torch.equal(found.severity, 1 - (1 - batch.severity[0]).prod(0, keepdim=True))
    masked = degrade(CLEAN, ["haze"], 0.5, seed=1, mask=torch.zeros(1, 96, 128))
    assert torch.equal(masked.picture, CLEAN) and (masked.severity == 0).all()
    untouched = degrade(CLEAN, ["snow"], 0.0)
    assert torch.equal(untouched.picture, CLEAN) and untouched.picture is not CLEAN and (untouched.severity == 0).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kinds": ["fog"]}, "kinds: fog"),
        ({"kinds": []}, "kinds: none"),
        ({"severity": 1.2}, "severity"),
        ({"severity": float("nan")}, "severity"),
        ({"picture": torch.rand(1, 3, 8, 8)}, "picture: shape"),
        ({"mask": torch.rand(1, 8, 9)}, "mask: shape"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        degrade(**{"picture": torch.rand(3, 8, 8), "kinds": ["haze"], **change})


def test_reference_quality_follows_damage():
    clean, means = CLEAN[None], []
    assert (reference_quality(clean, clean) == 5).all()
    for severity in (0.2, 0.5, 0.9):
        damaged = torch.stack([degrade(CLEAN, ["noise", "haze"], severity, seed=seed).picture for seed in range(6)])
        means.append(float(reference_quality(damaged, clean.expand(6, -1, -1, -1)).mean()))
    assert 5 > means[0] > means[1] > means[2] >= 1
    mask = torch.zeros(1, 96, 128)
    mask[..., 64:] = 1
    scores = reference_quality(degrade(CLEAN, ["noise"], 1.0, seed=1, mask=mask).picture[None], clean)
    assert (scores[..., :3] == 5).all() and scores[..., 5:].max() < 4
