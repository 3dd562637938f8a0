import pytest
import torch
from small import picture

from adaqual_core.degrade import KINDS, degrade
from adaqual_core.fields import convolve, gaussian_blur, line_kernel, octave_noise, region_mask
from adaqual_core.reference import reference_quality
from adaqual_core.weather import fog_banks

CLEAN = picture(96, 128)[0]


def error(kinds, severity, seed):
    return float((degrade(CLEAN, kinds, severity, seed=seed).picture - CLEAN).square().mean())


def test_the_published_order():
    assert KINDS == ("low", "rain", "snow", "haze", "raindrops", "blur", "noise", "jpeg")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_picture_and_stays_in_range(kind):
    for seed in range(12):
        found = degrade(CLEAN, [kind], 0.6, seed=seed)
        assert found.picture.shape == CLEAN.shape and found.picture.dtype == torch.float32
        assert torch.isfinite(found.picture).all() and found.picture.min() >= 0 and found.picture.max() <= 1
        assert not torch.equal(found.picture, CLEAN)
        assert torch.allclose(found.severity, torch.tensor(0.6))


@pytest.mark.parametrize("kind", KINDS)
def test_error_grows_with_severity_on_average(kind):
    means = [sum(error([kind], severity, seed) for seed in range(24)) / 24 for severity in (0.1, 0.4, 0.9)]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize("kinds", [["low"], ["rain", "haze"], list(KINDS)])
def test_the_seed_decides(kinds):
    first, again, other = (degrade(CLEAN, kinds, 0.5, seed=seed).picture for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_order_of_the_names_does_not_matter():
    one, two = (degrade(CLEAN, kinds, 0.5, seed=1).picture for kinds in (["haze", "rain"], ["rain", "haze"]))
    assert torch.equal(one, two)


def test_a_mask_limits_the_damage_exactly():
    mask = torch.zeros(1, 96, 128)
    mask[:, :40, :50] = 1
    mask[:, 40:50, :50] = 0.5
    found = degrade(CLEAN, ["haze", "noise"], 0.8, seed=2, mask=mask)
    outside = (mask == 0).expand_as(CLEAN)
    assert torch.equal(found.picture[outside], CLEAN[outside])
    assert (found.picture != CLEAN)[:, :40, :50].float().mean() > 0.9
    for value in (0.0, 0.5, 1.0):
        expected = 1 - (1 - 0.8 * value) ** 2  # exactly untouched by neither of the two kinds
        assert torch.allclose(found.severity[mask == value], torch.tensor(expected), atol=1e-6)


def test_a_soft_mask_mixes():
    whole, half = (degrade(CLEAN, ["haze", "snow"], 0.8, seed=2, mask=torch.full((1, 96, 128), m)) for m in (1.0, 0.5))
    assert torch.allclose(half.picture, (CLEAN + whole.picture) / 2, atol=1e-6)
    assert torch.equal(whole.picture, degrade(CLEAN, ["haze", "snow"], 0.8, seed=2).picture)


def test_severity_zero_is_the_picture():
    found = degrade(CLEAN, ["snow"], 0.0)
    assert torch.equal(found.picture, CLEAN) and (found.severity == 0).all()


def test_the_input_is_left_alone():
    copy = CLEAN.clone()
    degrade(CLEAN, KINDS, 1.0, seed=1)
    assert torch.equal(CLEAN, copy)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 30), (7, 300), (17, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size(kind, height, width):
    for seed in range(4):
        found = degrade(picture(height, width)[0], [kind], 1.0, seed=seed).picture
        assert found.shape == (3, height, width) and torch.isfinite(found).all()


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


def test_region_masks_are_soft_regions():
    shares = []
    for seed in range(20):
        mask = region_mask(40, 60, torch.Generator().manual_seed(seed))
        assert mask.shape == (1, 40, 60) and mask.min() >= 0 and mask.max() <= 1
        shares.append(float(mask.mean()))
    assert min(shares) < 0.4 and max(shares) > 0.6


def test_octave_noise_spans_its_range():
    noise = octave_noise(30, 50, torch.Generator().manual_seed(0))
    assert noise.min() == 0 and noise.max() == 1


def test_convolution_against_the_direct_sum():
    field = torch.rand(1, 9, 12)
    kernel = line_kernel(5, 0.4)
    kernel = kernel + torch.rand(kernel.shape)
    radius = kernel.shape[0] // 2
    wrapped = torch.nn.functional.pad(field[None], (radius,) * 4, mode="circular")
    direct = torch.nn.functional.conv2d(wrapped, kernel.flip(0, 1)[None, None])[0]
    assert torch.allclose(convolve(field, kernel), direct, atol=1e-5)


def test_blur_keeps_the_mean_and_flat_fields():
    flat = torch.full((3, 10, 12), 0.3)
    assert torch.allclose(gaussian_blur(flat, 2.0), flat, atol=1e-6)
    spike = torch.zeros(1, 41, 41)
    spike[0, 20, 20] = 1
    blurred = gaussian_blur(spike, 2.0)
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    x = torch.arange(41.0) - 20
    assert (blurred[0].sum(0) * x**2).sum().sqrt() == pytest.approx(2.0, rel=0.03)


def test_reference_quality_follows_damage():
    clean = CLEAN[None]
    assert (reference_quality(clean, clean) == 5).all()
    means = []
    for severity in (0.2, 0.5, 0.9):
        damaged = torch.stack([degrade(CLEAN, ["noise", "haze"], severity, seed=seed).picture for seed in range(6)])
        means.append(float(reference_quality(damaged, clean.expand(6, -1, -1, -1)).mean()))
    assert 5 > means[0] > means[1] > means[2] >= 1
    mask = torch.zeros(1, 96, 128)
    mask[..., 64:] = 1
    half = degrade(CLEAN, ["noise"], 1.0, seed=1, mask=mask).picture[None]
    scores = reference_quality(half, clean)
    assert (scores[..., :3] == 5).all() and scores[..., 5:].max() < 4


def test_fog_banks_are_uneven_opacities():
    for seed in range(20):
        field = fog_banks(48, 64, torch.Generator().manual_seed(seed))
        assert field.shape == (1, 48, 64) and field.min() >= 0 and field.max() <= 1 + 1e-6
        assert field.max() - field.min() > 0.1
