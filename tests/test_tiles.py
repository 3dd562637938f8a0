import pytest
import torch

from adaqual_core.grid import mirrored
from adaqual_core.sampling.tiles import TILE, active_tiles, batches, plan, window_limit


def covered(layout, height, width):
    """How often every pixel lies in a block."""
    count = torch.zeros(height, width, dtype=torch.int)
    for w in layout.windows:
        count[w.top : w.bottom, w.left : w.right] += 1
    return count


@pytest.mark.parametrize("height, width", [(16, 16), (64, 64), (80, 304), (1024, 528)])
@pytest.mark.parametrize("tile", [64, 256, 512, 10**6 // 64 * 64])
def test_an_active_picture_is_covered_once(height, width, tile):
    active = torch.ones(-(-height // TILE), -(-width // TILE), dtype=torch.bool)
    layout = plan(active, height, width, window_limit(tile, 96, 1), 96)
    assert (covered(layout, height, width) == 1).all()
    assert layout.tiles_run == layout.tiles_total == active.numel()


def test_random_damage_is_covered_and_context_is_kept():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        active = torch.rand((7, 9), generator=generator) < 0.15
        height, width, context = 7 * TILE - 16, 9 * TILE - 48, 96
        limit = window_limit(256, context, 1)
        layout = plan(active, height, width, limit, context)
        count = covered(layout, height, width)
        assert count.max() <= 1
        needed = active.repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)[:height, :width]
        assert (count[needed] == 1).all()
        assert active.sum() <= layout.tiles_run <= layout.tiles_total == 63
        for w in layout.windows:
            assert w.window_top == max(0, w.top - context) and w.window_bottom == min(height, w.bottom + context)
            assert w.window_left == max(0, w.left - context) and w.window_right == min(width, w.right + context)
            assert w.shape[0] * w.shape[1] <= limit


def test_nothing_active_is_nothing_to_run():
    layout = plan(torch.zeros(3, 3, dtype=torch.bool), 192, 192, window_limit(512, 96, 1), 96)
    assert layout.windows == () and layout.tiles_run == 0 and layout.tiles_total == 9


def test_active_tiles_reach_as_far_as_the_interpolated_mask():
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., 3, 5] = 0.1  # at the lower border of the first row of tiles
    active = active_tiles(mask)
    assert active.tolist() == [[False, True, False], [False, True, False], [False, False, False]]
    fine = torch.nn.functional.interpolate(mask, scale_factor=16, mode="bilinear")[0, 0] > 0
    for y in range(3):
        for x in range(3):
            touched = bool(fine[64 * y : 64 * y + 64, 64 * x : 64 * x + 64].any())
            assert touched <= bool(active[y, x])


def test_batches_hold_equal_shapes_and_every_window_once():
    layout = plan(torch.ones(12, 12, dtype=torch.bool), 768, 768, window_limit(128, 32, 1), 32)
    limit = window_limit(128, 32, 3)
    groups = batches(layout, limit)
    assert max(len(group) for group in groups) >= 3
    for group in groups:
        height, width = group[0].shape
        assert {w.shape for w in group} == {(height, width)} and len(group) * height * width <= limit
    assert sorted((w.top, w.left) for group in groups for w in group) == sorted((w.top, w.left) for w in layout.windows)


def test_mirrored_indices_continue_by_reflection():
    assert mirrored(4, 0, 9).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert mirrored(1, 0, 4).tolist() == [0, 0, 0, 0]
    assert mirrored(2, 0, 5).tolist() == [0, 1, 0, 1, 0]


def test_blocks_are_cut_where_that_is_cheaper():
    active = torch.zeros(8, 8, dtype=torch.bool)
    active[:, 0], active[7] = True, True  # an L
    limit = window_limit(512, 512, 1)
    layout = plan(active, 512, 512, limit, 32)
    assert layout.tiles_run == 15 and len(layout.windows) == 2
    assert len(plan(active, 512, 512, limit, 512).windows) == 1  # with so much context one window is cheaper


def test_windows_are_as_large_as_there_is_memory_for():
    """What is run at once holds as much as before, but in one large window there is less context than in two small ones."""
    context, active = 128, torch.ones(63, 94, dtype=torch.bool)
    limit = window_limit(512, context, 2)
    sizes = [w.shape[0] * w.shape[1] for w in plan(active, 4000, 6000, limit, context).windows]
    assert max(sizes) <= limit and sum(sizes) < 1.8 * 4000 * 6000
    assert [w.shape for w in plan(torch.ones(16, 16, dtype=torch.bool), 1024, 1024, limit, context).windows] == [(1024, 1024)]
