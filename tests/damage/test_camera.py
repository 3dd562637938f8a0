"""Noise, blur, compression and the camera: what every generator promises, and what the numbers of each kind mean."""

import io
import math
from importlib import import_module

import numpy as np
import pytest
import torch
from generators import picture_and_map
from PIL import Image

from adaqual_core.damage.blur import blur, worst_sigma
from adaqual_core.damage.camera import denoised, enlarged, random_camera, shown
from adaqual_core.damage.compression import compress, encoded_as, quality_of, severity_of_quality
from adaqual_core.damage.draws import Draws
from adaqual_core.damage.fields import octave_noise
from adaqual_core.damage.noise import (
    bayer_mosaic,
    demosaic_bilinear,
    demosaic_gradient_corrected,
    noise,
    rms_of,
    severity_map,
)

FUNCTIONS = {"noise": noise, "blur": blur, "jpeg": compress}
MODULES = {kind: import_module(function.__module__) for kind, function in FUNCTIONS.items()}
EVERY = [(kind, name) for kind, module in MODULES.items() for name in module.GENERATORS]


def scene(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A textured picture with dark and bright parts, hardly any of it near black or white."""
    draws = Draws(seed, "scene")
    picture = 0.2 + 0.6 * torch.cat([octave_noise(height, width, draws, cells=3, octaves=6) for _ in range(3)])
    picture[:, height // 4 : height // 2, width // 3 : width // 2] *= 0.6
    return picture


def rms(first: torch.Tensor, second: torch.Tensor) -> float:
    """The root mean square difference in 1/255."""
    return 255 * float((first - second).square().mean().sqrt())


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_generator_gives_a_picture_and_a_map_whatever_the_size(kind, name):
    generator = MODULES[kind].GENERATORS[name]
    for seed, (height, width) in enumerate(((37, 91), (17, 5), (1, 30), (1, 1))):
        for severity in (0.1, 0.6, 1.0):
            picture_and_map(generator, scene(height, width, seed), severity, Draws(seed, kind))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_same_seed_same_damage(kind, name):
    generator, picture = MODULES[kind].GENERATORS[name], scene(64, 96)
    first, again = (generator(picture, 0.6, Draws(5, kind)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    others = [generator(picture, 0.6, Draws(seed, kind))[0] for seed in range(6, 18)]
    alike = (kind, name) == ("blur", "gaussian")  # nothing about it is random
    assert all(torch.equal(first[0], other) for other in others) == alike


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_delivered_severity_is_near_the_one_asked_for_and_grows_with_the_error(kind, name):
    generator, errors = MODULES[kind].GENERATORS[name], []
    for severity in (0.3, 0.5, 0.8, 1.0):
        found = [(scene(128, 128, seed), generator(scene(128, 128, seed), severity, Draws(seed, kind))) for seed in range(5)]
        assert all(abs(float(done.mean()) - severity) <= 0.2 for _, (_, done) in found), severity
        errors.append(sum(rms(picture, damaged) for picture, (damaged, _) in found))
    assert errors == sorted(errors) and len(set(errors)) == 4


@pytest.mark.parametrize("kind", MODULES)
def test_every_generator_is_reached(kind):
    picture, names = scene(24, 24), MODULES[kind].GENERATORS
    weighted = {"noise": ("gaussian",) * 3, "jpeg": ("jpeg",) * 3, "blur": ()}[kind]
    left = set(names)
    for seed in range(60):
        draws = Draws(seed, kind)
        name = draws.choose(*weighted, *names)
        damaged, _ = FUNCTIONS[kind](picture, 0.6, Draws(seed, kind))
        assert torch.equal(damaged, names[name](picture, 0.6, draws)[0])
        left.discard(name)
    assert not left


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_gaussian_noise_has_the_sigma_that_its_severity_says(sigma):
    picture = torch.full((3, 128, 128), 0.5)
    noisy, done = MODULES["noise"].GENERATORS["gaussian"](picture, math.sqrt(sigma / 50), Draws(1, "noise"))
    assert 0.85 * sigma <= rms(picture, noisy) <= 1.22 * sigma
    assert float(done.mean()) == pytest.approx(min(1, math.sqrt(rms(picture, noisy) / 50)), abs=0.02)
    assert rms_of(math.sqrt(sigma / 50)) * 255 == pytest.approx(sigma)


def test_gaussian_noise_is_mostly_truncated_to_eight_bits():
    whole = 0
    for seed in range(20):
        noisy, _ = MODULES["noise"].GENERATORS["gaussian"](scene(16, 16), 0.5, Draws(seed, "noise"))
        whole += torch.allclose(noisy * 255, (noisy * 255).round(), atol=1e-3)
    assert 8 <= whole < 20


def test_sensor_noise_is_strongest_in_the_dark():
    picture = torch.full((3, 64, 128), 0.12)
    picture[:, :, 64:] = 0.8
    for seed in range(8):
        noisy, done = MODULES["noise"].GENERATORS["sensor"](picture, 0.5, Draws(seed, "noise"))
        assert rms(picture[:, :, :64], noisy[:, :, :64]) > 1.3 * rms(picture[:, :, 64:], noisy[:, :, 64:])
        assert done[:, :, :32].mean() > done[:, :, 96:].mean()


def neighbours(name: str, severity: float = 0.5) -> float:
    """Mean correlation of horizontally neighbouring pixels of a generator's noise on even grey."""
    found = []
    for seed in range(8):
        picture = torch.full((3, 64, 64), 0.5)
        grain = MODULES["noise"].GENERATORS[name](picture, severity, Draws(seed, "noise"))[0] - picture
        grain = grain - grain.mean()
        found.append(float((grain[:, :, 1:] * grain[:, :, :-1]).mean() / grain.square().mean()))
    return sum(found) / len(found)


def test_some_noise_is_correlated_and_some_is_not():
    for name in ("gaussian", "photons", "impulse", "one colour"):
        assert abs(neighbours(name)) < 0.05, name
    for name in ("mosaic", "film", "resampled"):
        assert neighbours(name) > 0.2, name


def test_demosaicing():
    """Even and evenly rising pictures come back; a site keeps its own colour; gradient correction keeps more of grey detail."""
    y, x = torch.arange(20.0).view(-1, 1), torch.arange(24.0).view(1, -1)
    rising = torch.stack([0.1 * i + 0.01 * x + 0.02 * y for i in range(3)])
    grey = scene(40, 40)[:1].expand(3, -1, -1)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    for demosaic in (demosaic_bilinear, demosaic_gradient_corrected):
        found = demosaic(bayer_mosaic(rising))
        assert torch.allclose(found[inner], rising[inner], atol=1e-5)
        assert torch.allclose(bayer_mosaic(found), bayer_mosaic(rising), atol=1e-6)
    lost = [
        rms(demosaic(bayer_mosaic(grey))[inner], grey[inner]) for demosaic in (demosaic_bilinear, demosaic_gradient_corrected)
    ]
    assert lost[1] < 0.8 * lost[0]


def test_noise_severity_is_local():
    clean = torch.full((3, 64, 256), 0.5)
    noisy = clean.clone()
    noisy[:, :, :64] += 25 / 255
    done = severity_map(clean, noisy)
    assert done[:, :, :32].mean() == pytest.approx(math.sqrt(0.5), abs=0.01) and (done[:, :, 128:] == 0).all()


@pytest.mark.parametrize("name", ["gaussian", "anisotropic", "defocus", "motion", "shake"])
def test_blur_severity_is_the_width_of_what_a_point_becomes(name):
    point = torch.zeros(3, 65, 65)
    point[:, 32, 32] = 1
    for seed, severity in enumerate((0.15, 0.35, 0.6, 0.9)):
        spread, done = MODULES["blur"].GENERATORS[name](point, severity, Draws(seed, "blur"))
        assert spread[0].sum() == pytest.approx(1, abs=1e-4)
        assert float(done.mean()) == pytest.approx(math.sqrt(worst_sigma(spread[0]) / 4), abs=1e-3)
        assert done.min() == done.max() and abs(float(done.mean()) - severity) < 0.2


def test_worst_sigma_against_known_kernels():
    line = torch.zeros(21, 21)
    line[10, 4:17] = 1 / 13
    assert worst_sigma(line) == pytest.approx(math.sqrt((13**2 - 1) / 12), rel=1e-4)
    diagonal = torch.eye(9) / 9
    assert worst_sigma(diagonal) == pytest.approx(math.sqrt(2 * (9**2 - 1) / 12), rel=1e-4)
    y, x = torch.arange(-20.0, 21).view(-1, 1), torch.arange(-20.0, 21).view(1, -1)
    disc = ((y**2 + x**2).sqrt() <= 15).float()
    assert worst_sigma(disc / disc.sum()) == pytest.approx(7.5, rel=0.02)


def test_blur_leaves_even_pictures_even():
    for name, generator in MODULES["blur"].GENERATORS.items():
        even = torch.full((3, 40, 56), 0.3)
        assert torch.allclose(generator(even, 0.9, Draws(2, "blur"))[0], even, atol=1e-5), name


@pytest.mark.parametrize("quality", [10, 20, 40, 80])
def test_jpeg_of_a_quality_is_truly_pillows(quality):
    picture = scene(45, 67)
    damaged, done = MODULES["jpeg"].GENERATORS["jpeg"](picture, severity_of_quality(quality), Draws(0, "jpeg"))
    pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    files = []
    for subsampling in (0, 1, 2):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        files.append(torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1) / 255)
    assert sum(torch.equal(damaged, file) for file in files) == 1
    assert float(done.mean()) == pytest.approx(severity_of_quality(quality)) and done.min() == done.max()


def test_qualities_and_severities_invert_each_other():
    assert [quality_of(severity_of_quality(quality)) for quality in range(5, 96)] == list(range(5, 96))
    known = {5: 1.0, 10: 0.92, 20: 0.76, 40: 0.48, 80: 0.07, 95: 0.0, 100: 0.0}
    assert all(severity_of_quality(q) == pytest.approx(s, abs=0.006) for q, s in known.items())


def test_webp_leaves_about_the_error_of_the_jpeg_that_it_counts_as():
    picture = scene(128, 128, 3)
    for severity in (0.4, 0.7, 0.9):
        damaged, done = MODULES["jpeg"].GENERATORS["webp"](picture, severity, Draws(1, "jpeg"))
        like = encoded_as(picture, "JPEG", quality=quality_of(float(done.mean())), subsampling=2)
        assert 0.5 < rms(picture, damaged) / rms(picture, like) < 2


def test_second_jpeg_has_a_grid_of_its_own():
    """A picture compressed twice differs from both single compressions, and no picture wraps around its borders."""
    picture = torch.zeros(3, 64, 64)
    picture[:, :, 32:] = 1
    for seed in range(12):
        damaged, _ = MODULES["jpeg"].GENERATORS["twice"](picture, 0.8, Draws(seed, "jpeg"))
        assert (damaged[:, :, :8] < 0.05).all() and (damaged[:, :, -8:] > 0.95).all()


def test_cameras_are_mild_and_keep_the_size():
    for seed in range(30):
        camera, picture = random_camera(Draws(seed, "camera")), scene(41, 53, seed)
        found = shown(enlarged(picture, camera), camera, 41, 53)
        assert found.shape == picture.shape and 0 <= found.min() and found.max() <= 1
        assert rms(found, picture) < 40
        assert camera.quality is None or 85 <= camera.quality <= 97


def test_noise_reduction_reduces_noise_and_leaves_even_pictures():
    helped = 0
    for seed in range(12):
        camera = random_camera(Draws(seed, "camera"))
        even = torch.full((3, 48, 48), 0.4)
        noisy = even + 0.05 * Draws(seed, "noise").normal(3, 48, 48)
        assert torch.allclose(denoised(even, camera), even, atol=1e-5)
        helped += rms(denoised(noisy, camera), even) < 0.95 * rms(noisy, even)
    assert helped >= 4
