import math

import pytest
import torch
from small import denoiser, finish, picture, prompt_for

from adaqual_core.errors import CheckpointError, NumericalError
from adaqual_core.networks import finish as finish_file
from adaqual_core.networks.finish import Finish, load_finish
from adaqual_core.networks.shipped import SHIPPED_DENOISER
from adaqual_core.networks.tone_grid import CHANNELS, VIEW, sliced, view_of
from adaqual_core.published.read import load_restorer
from adaqual_core.sampling.restore import restore
from adaqual_core.sampling.settings import RestoreSettings
from adaqual_core.weight_files import save_model

MODEL = denoiser()
MODEL.finish = finish()


def run(pixels, severity=1.0, model=MODEL, **settings):
    return restore(model, pixels, prompt_for(pixels, severity), RestoreSettings(**settings))


def uneven(height, width):
    return (torch.linspace(-0.6, 1.2, height)[:, None] + torch.linspace(-0.3, 0.3, width)).clamp(0, 1)


def with_only(part: str):
    """The small model, of whose finish only ``part`` does anything."""
    model = denoiser()
    model.finish = finish()
    other = model.finish.detail.ending if part == "grid" else model.finish.grid.head
    torch.nn.init.zeros_(other.weight), torch.nn.init.zeros_(other.bias)
    return model


@pytest.mark.parametrize("part", ["grid", "detail"])
def test_each_part_changes_the_picture(part):
    pixels = picture(70, 90)
    change = run(pixels, model=with_only(part)).picture - run(pixels, model=denoiser()).picture
    assert 0.01 < change.abs().mean() < 0.5


def test_an_untrained_finish_changes_nothing():
    model = denoiser()
    model.finish = Finish().eval()
    pixels = picture(70, 90)
    assert torch.equal(run(pixels, model=model).picture, run(pixels, model=denoiser()).picture)


@pytest.mark.parametrize("settings", [{"tile": 64}, {"tile": 128, "tile_batch": 5}, {"tile": 192, "overlap": 130}])
def test_tiles_equal_the_whole_picture(settings):
    pixels = picture(200, 330)
    whole, tiled = (run(pixels, uneven(200, 330), **s).picture for s in ({"tile": 4096}, settings))
    assert (tiled - whole).abs().max() <= 1e-4  # 0.03/255: random weights enlarge the last bits; the shipped ones differ by less


def test_what_is_preserved_is_not_touched():
    pixels = picture(512, 512)
    mask = torch.zeros(512, 512)
    mask[:256, :256] = 1
    kept = torch.ones(512, 512, dtype=torch.bool)
    kept[:280, :280] = False
    found = run(pixels, mask).picture
    assert torch.equal(found[..., kept], pixels[..., kept])
    assert (found - run(pixels, mask, model=denoiser()).picture)[..., :240, :240].abs().max() > 0.01


def test_batches_alpha_and_strength():
    pixels = picture(50, 70, batch=2, channels=4)
    together = run(pixels).picture
    assert torch.equal(together[1:], run(pixels[1:]).picture) and torch.equal(together[:, 3], pixels[:, 3])
    half = run(pixels, strength=0.5).picture
    assert torch.allclose(half, (pixels + together) / 2, atol=1e-6)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 40), (7, 300), (17, 33)])
def test_any_size_comes_back(height, width):
    found = run(picture(height, width)).picture
    assert found.shape[-2:] == (height, width) and found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("strength", [1.0, 0.2])
def test_progress_counts_the_finish_and_shows_it(strength):
    pixels, seen = picture(130, 200), []
    settings = RestoreSettings(tile=64, tile_batch=2, strength=strength)
    restore(MODEL, pixels, prompt_for(pixels), settings, progress=lambda done, all, preview: seen.append((done, all, preview())))
    total = seen[0][1]
    assert [done for done, _, _ in seen] == list(range(1, total + 1)) and total % 3 == 0
    assert (seen[-1][2] - seen[2 * total // 3 - 1][2]).abs().mean() > 0.001 * strength
    assert (seen[-1][2] - pixels[0]).abs().max() <= strength


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    pixels = picture(48, 64)
    model = denoiser()
    model.finish = finish()
    half = restore(model.to(dtype), pixels, prompt_for(pixels)).picture
    assert next(model.finish.parameters()).dtype == dtype
    assert 0 < (half - run(pixels).picture).abs().mean() < 0.02


@pytest.mark.parametrize("part, place", [("grid.head", "view of the whole picture"), ("detail.ending", r"tile \(0, 0\)")])
def test_nan_is_named(part, place):
    model = denoiser()
    model.finish = finish()
    model.finish.get_submodule(part).bias[0] = math.nan
    with pytest.raises(NumericalError, match=place):
        run(picture(40, 40), model=model)


def test_slices_are_the_affine_change_of_place_and_luma():
    """A grid that is linear in height and luma is sliced to exactly that, between the centres of its places and levels."""
    levels, places = 5, 8
    centres, lumas = (torch.arange(places) + 0.5) / places, torch.linspace(0, 1, levels)
    grid = torch.zeros(1, 3, 4, levels, places, places)
    grid[0, 1, 2] = centres[None, :, None].expand(levels, places, places)  # green takes blue times height
    grid[0, 0, 3] = lumas[:, None, None].expand(levels, places, places)  # red takes the luma
    colours = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    y, x = torch.linspace(0.1, 0.9, 20), torch.linspace(0.1, 0.9, 30)
    change = sliced(grid.flatten(1, 2), colours, y, x)
    luma = (colours * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    assert torch.allclose(change[:, 0], luma, atol=1e-5)
    assert torch.allclose(change[:, 1], colours[:, 2] * y[:, None], atol=1e-5)
    assert change[:, 2].abs().max() == 0


@pytest.mark.parametrize("height, width", [(1, 1), (3, 700), (128, 128), (900, 640)])
def test_the_view_of_a_flat_picture_is_the_same_at_any_size(height, width):
    def flat(h, w):
        colours = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, h, w)
        return view_of(colours, 1 - colours, torch.full((1, 1, 2, 2), 0.25))

    assert flat(height, width).shape == (1, CHANNELS, VIEW, VIEW)
    assert torch.allclose(flat(height, width), flat(256, 256), atol=1e-6)


def test_round_trip(tmp_path):
    path = tmp_path / "finish.safetensors"
    save_model(finish(), path, {})
    found = load_finish(path)
    assert found.config == finish().config
    assert all(torch.equal(a, b) for a, b in zip(finish().parameters(), found.parameters(), strict=True))
    with pytest.raises(CheckpointError, match="an AdaQual finish of the first generation, but a restorer of"):
        load_restorer(path)


def test_a_missing_finish_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(finish_file, "SHIPPED_FINISH", tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match="gone.safetensors: missing.*install ComfyUI-AdaQual again"):
        load_restorer(SHIPPED_DENOISER)
