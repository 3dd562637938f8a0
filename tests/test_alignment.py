"""Versions of a picture that were cropped, padded, scaled or stretched lie where their content does."""

import pytest
import torch
import torch.nn.functional as F
from comfy_server import REPOSITORY

from adaqual_core.alignment import Region, mask_on_picture, possible_regions, region_shown, whole
from adaqual_core.imageio import read_picture
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.placement import fitted
from adaqual_core.steer.blend import best_per_region, blend
from adaqual_core.steer.latents import latent_scores

PHOTO = read_picture(REPOSITORY / "pictures" / "example_clean.png")[0, :3]
SIZES = [(125, 199), (181, 257)]
MULTIPLES = [8, 16, 32, 64]


def photo(height: int, width: int) -> torch.Tensor:
    return F.interpolate(PHOTO[None], (height, width), mode="area")[0]


def encoded(picture: torch.Tensor, multiple: int) -> torch.Tensor:
    """Cropped as ComfyUI's VAE.vae_encode_crop_pixels does."""
    for axis in (1, 2):
        side = picture.shape[axis]
        picture = picture.narrow(axis, side % multiple // 2, side // multiple * multiple)
    return picture


def scaled(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(picture[None], (height, width), mode="bicubic", antialias=True)[0].clamp(0, 1)


def place(region: Region) -> tuple[int, ...]:
    return tuple(round(side) for side in vars(region).values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("multiple", MULTIPLES)
@pytest.mark.parametrize("factor", [1, 2])
def test_what_an_autoencoder_crops_is_put_back_in_its_place(size, multiple, factor):
    original = photo(*size)
    crop = encoded(original, multiple)
    rest = [side % multiple // 2 for side in size]
    version = scaled(crop, crop.shape[1] * factor, crop.shape[2] * factor)
    assert place(region_shown(original, version)) == (*rest, *crop.shape[1:])
    expected = scaled(original, size[0] * factor, size[1] * factor)
    for part in (0.0, 0.5, 1.0) if factor == 1 else (0.5,):
        result = blend(original, version, torch.full((1, 1, 3, 4), part), 4)
        assert result.shape == expected.shape
        assert (result - expected).abs().mean() <= (1e-5 if factor == 1 else 2 / 255)


@pytest.mark.parametrize("size", SIZES)
def test_a_margin_is_cut_off_and_a_stretch_is_told_from_a_crop(size):
    original = photo(*size)
    up = [-(-side // 32) * 32 for side in size]
    bottom, right = up[0] - size[0], up[1] - size[1]
    centred = F.pad(original[None], (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2), mode="reflect")[0]
    corner = F.pad(original[None], (0, right, 0, bottom), mode="reflect")[0]
    assert place(region_shown(original, centred)) == (-(bottom // 2), -(right // 2), *up)
    assert place(region_shown(original, corner)) == (0, 0, *up)
    for version in (centred, corner):
        assert (blend(original, version, torch.ones(1, 1, 2, 2), 3) - original).abs().max() <= 1e-5
    for stretched in (scaled(original, *up), scaled(original, *(side // 16 * 16 for side in size))):
        assert region_shown(original, stretched) == whole(size)
        kept = blend(original, stretched, torch.zeros(1, 1, 2, 2), 0)
        assert kept.shape == stretched.shape or torch.equal(kept, original)  # about as large means as large
    assert region_shown(original, scaled(original, 3 * size[0], 3 * size[1])) == whole(size)
    other_way = region_shown(centred, original)
    assert place(other_way) == (bottom // 2, right // 2, *size)


@pytest.mark.parametrize("factor", [1.0667, 1.37, 0.83])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_scaled_before_it_was_encoded_lies_where_it_was(size, factor):
    original = photo(*size)
    version = scaled(original, *(round(factor * side) for side in size))
    crop = encoded(version, 8)
    found = region_shown(original, crop)
    factors = [side / of for side, of in zip(version.shape[1:], size, strict=True)]
    true = [part / by for part, by in zip([side % 8 // 2 for side in version.shape[1:]], factors, strict=True)]
    true += [part / by for part, by in zip(crop.shape[1:], factors, strict=True)]
    assert max(abs(a - b) for a, b in zip(vars(found).values(), true, strict=True)) <= 1.01


@pytest.mark.parametrize("cut", [(0, 1), (1, 0), (1, 1), (3, 5)])
def test_sizes_off_by_a_pixel_or_few(cut):
    original = photo(201, 303)
    top, left = cut[0] // 2, cut[1] // 2
    version = original[:, top : 201 - cut[0] + top, left : 303 - cut[1] + left]
    assert place(region_shown(original, version)) == (top, left, 201 - cut[0], 303 - cut[1])
    assert region_shown(original, scaled(original, 201 - cut[0], 303 - cut[1])) == whole((201, 303))


def test_a_crop_is_found_though_the_version_was_restored():
    original = photo(250, 375)
    noisy = (original + 0.1 * torch.randn(original.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    version = (0.2 + 0.7 * encoded(original, 8)).clamp(0, 1)  # clean, and of another tone
    assert place(region_shown(noisy, version)) == (1, 3, 248, 368)
    flat = torch.full((3, 250, 375), 0.5)
    assert place(region_shown(flat, encoded(flat, 8))) == (1, 3, 248, 368)  # contents say nothing: as VAE Encode crops


def test_what_is_no_version_is_refused():
    noise = torch.rand(3, 64, 100, generator=torch.Generator().manual_seed(0))
    for size, other in (((64, 64), (64, 130)), ((100, 100), (300, 400)), ((64, 64), (128, 256))):
        assert possible_regions(size, other) == [] and region_shown(photo(*size), photo(*other)) is None
    assert region_shown(photo(64, 64), noise) is None  # a crop of 36 px would be possible, but they have nothing in common
    with pytest.raises(ValueError, match="processed: 400×300 px beside 100×100 px of original is not the same picture"):
        blend(photo(100, 100), photo(300, 400), torch.ones(1, 1, 3, 4), 4)


@pytest.mark.parametrize("levels", [0, 4])
def test_the_border_of_a_crop_is_the_originals_and_the_rest_the_maps_choice(levels):
    original = photo(250, 375)
    crop = 1 - encoded(original, 32)
    result = blend(original, crop, torch.ones(1, 1, 3, 4), levels)
    inner = torch.zeros(250, 375, dtype=torch.bool)
    inner[13 : 13 + 224, 11 : 11 + 352] = True
    assert torch.allclose(result[:, inner], crop.flatten(1), atol=1e-5)
    assert torch.equal(result[:, ~inner], original[:, ~inner])
    assert torch.allclose(blend(original, crop, torch.zeros(1, 1, 3, 4), levels), original, atol=1e-5)


def test_best_per_region_shows_what_any_version_shows():
    original = photo(250, 375)
    noisy = (original + 0.2 * torch.randn(original.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    crop = encoded(original, 16)
    for versions, clean in (((noisy, crop), 1), ((crop, noisy), 0)):
        maps = [
            QualityMap(torch.full((1, 1, 4, 6), 5.0 if i == clean else 1.0), *one.shape[1:], "test")
            for i, one in enumerate(versions)
        ]
        best, chosen = best_per_region(versions, maps, 0)
        assert best.shape == original.shape
        assert torch.allclose(best[:, 5:-5, 3:-4], crop) and (chosen[5:-5, 3:-4] == clean).all()
        assert torch.allclose(best[:, :5], noisy[:, :5]) and (chosen[:5] == 1 - clean).all()
    larger = scaled(crop, 480, 736)
    maps = [QualityMap(torch.full((1, 1, 1, 1), 3.0), *one.shape[1:], "test") for one in (original, larger)]
    best, _ = best_per_region((original, larger), maps, 3)
    assert best.shape == (3, 500, 750) and (best - scaled(original, 500, 750)).abs().mean() < 2 / 255


# ---- maps and masks


def ramp(height: int, width: int, cells: int = 1) -> QualityMap:
    """Quality rises from left to right and from top to bottom, with a score for each ``cells`` px."""
    y, x = torch.linspace(0, 2, height // cells)[:, None], torch.linspace(1, 3, width // cells)
    return QualityMap((y + x)[None, None], height, width, "test", (y + x)[None, None].expand(1, 8, -1, -1) / 5)


@pytest.mark.parametrize("multiple", MULTIPLES)
def test_a_map_fits_a_crop_of_its_picture(multiple):
    quality = ramp(250, 375)
    crop = encoded(quality.scores[0], multiple)
    found = fitted(quality, *crop.shape[1:], "image")
    assert (found.height, found.width) == tuple(crop.shape[1:])
    assert torch.allclose(found.scores[0], crop, atol=1e-4) and torch.allclose(found.kinds[0, :1], crop / 5, atol=1e-4)
    back = fitted(replaced(quality, crop), 250, 375, "image")
    top, left = 250 % multiple // 2, 375 % multiple // 2
    assert torch.allclose(encoded(back.scores[0], multiple), crop, atol=1e-4)
    assert torch.allclose(back.scores[0, 0, 0, left], crop[0, 0, 0], atol=1e-4)
    assert top == 0 or torch.allclose(back.scores[0, 0, top - 1], back.scores[0, 0, top], atol=1e-4)


def replaced(quality: QualityMap, crop: torch.Tensor) -> QualityMap:
    return QualityMap(crop[None].contiguous(), *crop.shape[1:], quality.assessor)


def test_a_map_fits_scaled_copies_and_no_other_picture():
    quality = ramp(240, 360, cells=16)
    assert fitted(quality, 240, 360, "image") is quality
    assert torch.equal(fitted(quality, 480, 720, "image").scores, quality.scores)
    with pytest.raises(
        ValueError, match="the map of a 360×240 picture, but the original is 240×240; connect the map of the original"
    ):
        fitted(quality, 240, 240, "the original")


@pytest.mark.parametrize("cell", [4, 8, 16, 32])
def test_a_map_lies_on_a_latent_where_the_picture_was_encoded(cell):
    quality = ramp(250, 375)
    crop = encoded(quality.scores[0], cell)
    wanted = F.avg_pool2d(crop[None], cell)
    assert torch.allclose(latent_scores(quality, (1, 4, 250 // cell, 375 // cell)), wanted, atol=0.01)
    assert torch.allclose(latent_scores(quality, (1, 4, 1, 250 // cell, 375 // cell))[:, :, 0], wanted, atol=0.01)


@pytest.mark.parametrize("multiple", MULTIPLES[:3])
def test_a_mask_of_a_crop_covers_the_crop_alone(multiple):
    crop = encoded(torch.ones(1, 250, 375), multiple)
    found = mask_on_picture(crop, 250, 375)
    assert found.shape == (1, 250, 375) and torch.equal(encoded(found, multiple), crop)
    assert found.sum() == crop.sum()
    padded = F.pad(torch.ones(1, 250, 375), (0, 9, 0, 22))
    assert mask_on_picture(padded, 250, 375).shape == (1, 250, 375)
    for size in ((64, 64), (125, 188), (500, 750), (250, 375), (1, 1)):
        mask = torch.rand(2, *size)
        assert mask_on_picture(mask, 250, 375) is mask
