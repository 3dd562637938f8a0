"""DeQA-Score on pictures: preprocessing, the constant prompt, the dense map and the score cache."""

import json

import pytest
import torch
import transformers
from small import picture
from small_deqa import network, scorer, write

from adaqual_core.grid import cell_count
from adaqual_core.quality.cache import ScoreCache, cache_key
from adaqual_core.quality.deqa.preprocess import MEAN, PAD, PUBLISHED_PROMPT, normalised, quantised, whole_picture
from adaqual_core.quality.deqa.scorer import load_deqa
from adaqual_core.quality.tiled import estimate_quality_by_tiles, score_pictures, tile_starts, tile_weights


@pytest.fixture(scope="module")
def small_scorer(tmp_path_factory):
    return scorer(tmp_path_factory.mktemp("deqa"))


class Brightness:
    """Stands in for a scorer: the score is 1 + 4 · the mean brightness of what it is given."""

    name, size, fingerprint, dtype, layer_count = "brightness", 48, "brightness", torch.float32, 7

    def __init__(self):
        self.scored = 0

    def score(self, count, prepare, batch=8, tick=lambda n: None):
        self.scored += count
        zero, one = (normalised(torch.full((3, 1, 1), value, dtype=torch.uint8)).mean() for value in (0, 255))
        return torch.stack([1 + 4 * (prepare(i).mean() - zero) / (one - zero) for i in range(count)])


# ---- preprocessing and prompt


def test_the_prompt_is_the_published_one():
    """Pinned. Verified once, on 2026-11-23, outside this test: a LLaMA tokenizer with the full published vocabulary
    and merges (llama-tokenizer-js 1.2.2, not shipped) gives exactly these ids for "USER: How would you rate the quality
    of this image?\\n", "\\nASSISTANT: The quality of the image is" (its BOS dropped), and each of the five words. No
    tokenizer file is in this repository, so this test alone cannot verify them.
    """
    assert PUBLISHED_PROMPT.before == (
        1,
        3148,
        1001,
        29901,
        1128,
        723,
        366,
        6554,
        278,
        11029,
        310,
        445,
        1967,
        29973,
        13,
    )
    assert PUBLISHED_PROMPT.after == (29871, 13, 22933, 9047, 13566, 29901, 450, 11029, 310, 278, 1967, 338)
    assert PUBLISHED_PROMPT.levels == (15129, 1781, 6534, 6460, 4319)


@pytest.mark.parametrize("height, width", [(448, 448), (300, 500), (501, 300), (20, 31), (1, 9), (900, 700)])
def test_preprocessing_equals_clips_image_processor(height, width):
    """Against transformers' own CLIPImageProcessor with the published settings, after padding to a square.

    The settings were read once, on 2026-11-23, from the preprocessor_config.json that is published with the base model
    (in the repository Q-Future/Q-Align): resize and crop to 448, resample 3, these means and deviations. DeQA-Score's own
    scorer pads with int(255 · mean) before it.
    """
    assert PAD == tuple(int(255 * mean) for mean in MEAN)
    # before version 5 the only processor was the one that computes with Pillow
    by_pillow = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    processor = by_pillow(
        size={"shortest_edge": 448},
        crop_size={"height": 448, "width": 448},
        resample=3,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    pixels = quantised(picture(height, width)[0])
    side = max(height, width)
    square = torch.tensor(PAD, dtype=torch.uint8).view(3, 1, 1).repeat(1, side, side)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = pixels
    expected = processor(square.numpy(), return_tensors="pt", input_data_format="channels_first")["pixel_values"][0]
    found = whole_picture(pixels, 448)
    assert found.shape == (3, 448, 448) and torch.allclose(found, expected, atol=1e-5)
    if side == 448:
        assert torch.allclose(normalised(pixels), expected, atol=1e-5)


def test_pixels_are_rounded_as_a_file_would_hold_them():
    values = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0]).view(1, 1, 6).expand(3, 1, 6)
    assert quantised(values)[0, 0].tolist() == [0, 0, 0, 1, 255, 255]


# ---- dense map


@pytest.mark.parametrize("length", [1, 17, 47, 48, 49, 72, 100, 331])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_tiles_cover_a_side_and_their_weights_sum_to_one(length, overlap):
    starts = tile_starts(length, 48, overlap)
    assert starts[0] <= 0 and starts[-1] + 48 >= length
    if length >= 48:
        assert starts[0] == 0 and starts[-1] == length - 48
    steps = [after - before for before, after in zip(starts[:-1], starts[1:], strict=True)]
    assert all(0 < step <= max(1, int(48 * (1 - overlap))) + 1 for step in steps)
    weights = tile_weights(length, starts, 48)
    assert weights.shape == (cell_count(length), len(starts)) and weights.min() >= 0
    assert torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-6)


def test_a_tile_counts_most_in_its_middle_and_not_outside():
    weights = tile_weights(480, tile_starts(480, 96, 0.5), 96)
    assert int(weights[:, 3].argmax()) in (11, 12)  # the tile at 144 … 240 px
    assert weights[:9, 3].max() == 0 and weights[15:, 3].max() == 0


@pytest.mark.parametrize("height, width", [(48, 48), (30, 100), (130, 97), (5, 5)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_constant_picture_has_a_constant_map(small_scorer, height, width, overlap):
    scores = estimate_quality_by_tiles(small_scorer, torch.full((1, 3, height, width), 0.4), overlap=overlap).scores
    assert scores.shape == (1, 1, cell_count(height), cell_count(width))
    assert scores.max() - scores.min() < 1e-5


def test_a_constant_map_does_not_depend_on_the_tiles(small_scorer):
    pixels = torch.full((1, 3, 100, 150), 0.4)
    maps = [estimate_quality_by_tiles(small_scorer, pixels, overlap=o, blend=0).scores for o in (0.0, 0.3, 0.7)]
    assert torch.allclose(maps[0], maps[1], atol=1e-5) and torch.allclose(maps[0], maps[2], atol=1e-5)


def test_the_map_follows_the_picture():
    pixels = torch.zeros(1, 3, 200, 300)
    pixels[..., 150:] = 1
    scores = estimate_quality_by_tiles(Brightness(), pixels, blend=0).scores[0, 0]
    assert scores[:, 0].max() < 1.01 and scores[:, -1].min() > 4.99
    assert (scores.diff(dim=1) > -1e-5).all() and scores.diff(dim=0).abs().max() < 1e-5


def test_blending_moves_to_the_score_of_the_whole():
    pixels = picture(100, 120)
    maps = {b: estimate_quality_by_tiles(Brightness(), pixels, blend=b).scores for b in (0.0, 0.25, 1.0)}
    whole = score_pictures(Brightness(), pixels)
    assert torch.allclose(maps[1.0], whole.expand_as(maps[1.0]), atol=1e-5) and maps[0.0].std() > 0.01
    assert torch.allclose(maps[0.25], 0.75 * maps[0.0] + 0.25 * maps[1.0], atol=1e-5)


def test_tiles_reach_the_network_unscaled(small_scorer):
    pixels = picture(48, 48)
    whole = score_pictures(small_scorer, pixels)
    scores = estimate_quality_by_tiles(small_scorer, pixels, blend=0).scores
    assert torch.allclose(scores, whole.expand_as(scores), atol=1e-5)


def test_batch_size_and_company_do_not_matter(small_scorer):
    pixels = picture(90, 110, batch=2, channels=4)
    scores = estimate_quality_by_tiles(small_scorer, pixels).scores
    assert scores[0].std() > 1e-3
    for batch in (1, 3):
        assert torch.allclose(estimate_quality_by_tiles(small_scorer, pixels, batch=batch).scores, scores, atol=1e-5)
    assert torch.allclose(estimate_quality_by_tiles(small_scorer, pixels[1:, :3]).scores, scores[1:], atol=1e-5)
    assert torch.allclose(score_pictures(small_scorer, pixels)[1:], score_pictures(small_scorer, pixels[1:]), atol=1e-5)


def test_an_offloaded_map_equals_the_resident_one(tmp_path, small_scorer):
    offloaded = load_deqa(write(tmp_path, network()), offload=True)
    pixels = picture(250, 300)  # more tiles than pass a layer together
    assert offloaded.offloaded and not small_scorer.offloaded
    expected = estimate_quality_by_tiles(small_scorer, pixels).scores
    assert torch.allclose(estimate_quality_by_tiles(offloaded, pixels).scores, expected, atol=1e-5)


def test_progress_counts_tiles_in_layers_and_cancels(small_scorer):
    seen = []
    estimate_quality_by_tiles(small_scorer, picture(96, 48, batch=2), batch=3, progress=lambda *step: seen.append(step))
    total = 2 * (1 + 3) * small_scorer.net.layer_count
    assert seen[-1] == (total, total) and [done for done, _ in seen] == sorted({done for done, _ in seen})

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimate_quality_by_tiles(small_scorer, picture(48, 48), progress=cancel)


def test_cancelling_the_first_run_leaves_no_half_prefix(tmp_path):
    fresh = scorer(tmp_path)

    def cancel(done, total):
        if done > total - 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_pictures(fresh, picture(48, 48), progress=cancel)
    assert fresh.prefix is None and score_pictures(fresh, picture(48, 48)).isfinite().all()
    assert len(fresh.prefix) == 3


@pytest.mark.parametrize(
    "pixels, options, message",
    [
        (torch.rand(3, 48, 48), {}, "picture: shape"),
        (torch.full((1, 3, 48, 48), float("nan")), {}, "NaN"),
        (torch.rand(1, 3, 48, 48), {"overlap": 0.95}, "overlap: 0.95"),
        (torch.rand(1, 3, 48, 48), {"blend": -0.1}, "blend: -0.1"),
        (torch.rand(1, 3, 48, 48), {"batch": 0}, "batch: 0"),
    ],
)
def test_bad_input_is_named(pixels, options, message):
    with pytest.raises(ValueError, match=message):
        estimate_quality_by_tiles(Brightness(), pixels, **options)


# ---- cache


def test_a_second_run_costs_nothing(tmp_path, small_scorer, monkeypatch):
    cache = ScoreCache(tmp_path / "cache")
    pixels = picture(90, 110, batch=2)
    first = estimate_quality_by_tiles(small_scorer, pixels, cache=cache).scores
    monkeypatch.setattr(small_scorer.net, "level_logits", lambda *args: pytest.fail("the network ran"))
    steps = []
    again = estimate_quality_by_tiles(small_scorer, pixels.clone(), cache=cache, progress=lambda *step: steps.append(step))
    assert torch.equal(again.scores, first) and not steps
    estimate_quality_by_tiles(small_scorer, pixels, cache=cache, blend=0.9)


def test_only_new_pictures_are_scored(tmp_path):
    cache, stand_in = ScoreCache(tmp_path), Brightness()
    pixels = picture(48, 48, batch=3)
    score_pictures(stand_in, pixels[1:2], cache=cache)
    expected = score_pictures(Brightness(), pixels)
    assert torch.equal(score_pictures(stand_in, pixels, cache=cache), expected) and stand_in.scored == 3


def test_pixels_weights_and_settings_are_the_key(tmp_path):
    cache, stand_in = ScoreCache(tmp_path), Brightness()
    pixels = picture(64, 96)

    def newly_scored(pixels, **options):
        before = stand_in.scored
        estimate_quality_by_tiles(stand_in, pixels, cache=cache, **options)
        return stand_in.scored - before > 0

    assert newly_scored(pixels) and not newly_scored(pixels)
    changed = pixels.clone()
    changed[0, 1, 5, 7] = 1 - changed[0, 1, 5, 7]
    assert newly_scored(changed)
    assert newly_scored(pixels.reshape(1, 3, 96, 64))
    assert newly_scored(pixels, overlap=0.25)
    stand_in.dtype = torch.float16
    assert newly_scored(pixels)
    stand_in.fingerprint = "other weights"
    assert newly_scored(pixels) and not newly_scored(pixels)


def _spoil(file, how):
    text = file.read_text()
    found = json.loads(text)
    file.write_bytes(
        {
            "empty": b"",
            "cut": text[: len(text) // 2].encode(),
            "binary": bytes(range(256)),
            "list": b"[1, 2]",
            "null": b'{"scores": null, "checksum": "x"}',
            "changed": json.dumps(found | {"scores": [5.0] * len(found["scores"])}).encode(),
            "shorter": json.dumps(found | {"scores": found["scores"][1:]}).encode(),
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "cut", "binary", "list", "null", "changed", "shorter"])
def test_corrupt_entries_are_dropped_and_scored_again(tmp_path, how):
    cache, stand_in = ScoreCache(tmp_path), Brightness()
    pixels = picture(64, 96)
    expected = estimate_quality_by_tiles(stand_in, pixels, cache=cache).scores
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    _spoil(file, how)
    assert cache.get(file.stem, stand_in.scored) is None and not file.exists()
    file.write_bytes(good)
    _spoil(file, how)
    before = stand_in.scored
    assert torch.equal(estimate_quality_by_tiles(stand_in, pixels, cache=cache).scores, expected)
    assert stand_in.scored == 2 * before and file.read_bytes() == good


def test_a_cache_that_cannot_be_written_costs_only_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="score"):
        found = score_pictures(Brightness(), picture(48, 48), cache=ScoreCache(tmp_path / "file" / "cache"))
    assert torch.equal(found, score_pictures(Brightness(), picture(48, 48)))


def test_entries_are_written_whole(tmp_path):
    cache = ScoreCache(tmp_path)
    key = cache_key(quantised(picture(8, 8)[0]), "weights", {})
    cache.put(key, [1.25, 4.5])
    assert [file.name for file in tmp_path.iterdir()] == [f"{key}.json"] and cache.get(key, 2) == [1.25, 4.5]
