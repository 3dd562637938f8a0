"""The benchmarks of published sets, of real photos and of peers, on small pictures that are made here."""

import json

import benchmark_package  # noqa: F401  makes the benchmarks importable
import numpy as np
import pytest
import torch
from PIL import Image
from small import RESTORER, disturb, flat_map, picture

from adaqual_core.errors import PictureError
from adaqual_core.evaluate import psnr
from adaqual_core.imageio import read_picture, write_picture
from adaqual_core.kinds import KINDS
from adaqual_core.networks.restorer import Restorer, initialise
from adaqual_core.quality.estimator import EstimatorConfig, QualityEstimator
from adaqual_core.quality.map import QualityMap
from adaqual_core.quality.reference import reference_quality
from adaqual_core.weight_files import save_model
from benchmarks import peers, published, real


@pytest.fixture
def data(tmp_path):
    """Two pictures of each published set, one upright and one lying."""
    for seed, (height, width) in enumerate(((48, 64), (64, 48))):
        clean = picture(height, width, seed=seed)
        for folder in ("rain100l", "cbsd68", "live1", "sots_indoor"):
            write_picture(clean, tmp_path / "data" / folder / "target" / f"{seed}.png")
        streaks = clean + 0.4 * (torch.rand(1, 1, 1, width, generator=torch.Generator().manual_seed(9)) > 0.9)
        write_picture(streaks, tmp_path / "data" / "rain100l" / "input" / f"{seed}.png")
        write_picture(0.5 * clean + 0.45, tmp_path / "data" / "sots_indoor" / "input" / f"{seed}.png")
    return tmp_path / "data"


@pytest.fixture
def own(tmp_path):
    """Options that name a small restorer and a small assessor, with random weights."""
    model = Restorer(RESTORER)
    initialise(model, 0)
    with torch.no_grad():  # what it does depends on the kinds that it is told
        model.denoiser.ending.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
        model.grid.head.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
    assessor = QualityEstimator(EstimatorConfig(widths=(8, 8, 8, 16), blocks=(1, 1, 1), dilations=(1, 2), picture_width=8))
    disturb(assessor, 0.1, 0)
    save_model(model, tmp_path / "own.safetensors", {})
    save_model(assessor, tmp_path / "kinds.safetensors", {})
    return ["--model", str(tmp_path / "own.safetensors"), "--assessor", str(tmp_path / "kinds.safetensors")]


def test_noise_is_clipped_and_truncated():
    clean = np.full((200, 200, 3), 100, np.uint8)
    numbers = np.random.RandomState(0).randn(200, 200, 3)
    found = published.add_noise(clean, 25, np.random.RandomState(0))
    assert found.dtype == np.uint8 and np.array_equal(found, np.floor(np.clip(100 + 25 * numbers, 0, 255)))
    assert abs(found.mean() - 99.5) < 0.3  # truncated, not rounded
    assert published.add_noise(np.full_like(clean, 250), 50, np.random.RandomState(0)).max() == 255


def test_noise_of_a_set_is_the_same_in_every_run(data):
    chosen = published.SETS["CBSD68 25"]
    files = published.find_set(data, chosen)
    first, second = ([one[1] for one in published.pictures(chosen, files)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0][..., :48, :48], first[1][..., :48, :48])


def test_jpeg_is_pillows_own(tmp_path):
    pixels = (picture(32, 48)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.jpg", quality=20)
    assert np.array_equal(published.as_jpeg(pixels, 20, np.random.RandomState(0)), np.asarray(Image.open(tmp_path / "one.jpg")))


def test_true_map_is_the_reference_quality_and_names_the_kind(data):
    for name, kind in (("Rain100L", "rain"), ("CBSD68 50", "noise"), ("LIVE1 10", "jpeg"), ("SOTS-indoor", "haze")):
        chosen = published.SETS[name]
        _, degraded, clean = next(published.pictures(chosen, published.find_set(data, chosen)))
        found = published.true_map(chosen, degraded, clean)
        assert torch.equal(found.scores, reference_quality(degraded, clean))
        assert found.kinds.shape == (1, 8, 3, 4)
        means = dict(zip(KINDS, found.kinds.mean((0, 2, 3)).tolist(), strict=True))
        assert means.pop(kind) > 0.2 and set(means.values()) == {0.0}


def test_true_severity_is_zero_without_damage():
    clean = picture(48, 64)
    for name in ("Rain100L", "CBSD68 15", "SOTS-indoor"):
        assert float(published.true_map(published.SETS[name], clean, clean).kinds.max()) == 0


def test_summary_counts_harm():
    gains = (1.0, 0.0, -0.05, -0.2)
    rows = [
        {
            "name": str(i),
            "psnr_input": 30.0,
            "ssim_input": 0.5,
            "psnr_estimated": 30 + gain,
            "ssim_estimated": 0.6,
            "psnr_true": 31.0,
            "ssim_true": 0.7,
        }
        for i, gain in enumerate(gains)
    ]
    found = published.summary(rows)
    assert found["count"] == 4 and found["psnr_estimated"] == pytest.approx(30 + sum(gains) / 4)
    assert found["worst_estimated"] == pytest.approx(-0.2) and found["worst_picture_estimated"] == "3"
    assert found["worse_estimated"] == 0.25 and found["worse_true"] == 0


def test_published_writes_results_sheet_and_tables(data, tmp_path, capsys):
    published.main(["--data", str(data), "--set", "Rain100L", "CBSD68 50", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "adaqual_nano-cbsd68-50.json").read_text())
    chosen = published.SETS["CBSD68 50"]
    inputs = [float(psnr(a, b)) for _, a, b in published.pictures(chosen, published.find_set(data, chosen))]
    assert [row["psnr_input"] for row in found["pictures"]] == pytest.approx(inputs)
    assert found["psnr_input"] == pytest.approx(np.mean(inputs)) and found["psnr_estimated"] > found["psnr_input"] + 3
    assert found["psnr_true"] != found["psnr_estimated"]
    assert len(found["model"]) == 64 and found["torch"] == torch.__version__ and "cores" in found["machine"]
    assert read_picture(tmp_path / "out" / "adaqual_nano-cbsd68-50.png").shape == (1, 3, 48 + 64 + 2 * 16, 3 * 64)
    assert f"| CBSD68 50 | 2 | {found['psnr_input']:.2f} | {found['psnr_estimated']:.2f} ({found['psnr_true']:.2f})" in printed
    assert f"zero-shot | – / – / {found['psnr_estimated']:.2f} |" in printed
    published.main(["--tables", "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out == printed


def test_published_tells_true_kinds(data, tmp_path, own):
    published.main(["--data", str(data), "--set", "CBSD68 50", *own, "--out", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out" / "own-cbsd68-50.json").read_text())
    model, chosen = published.load_restorer(tmp_path / "own.safetensors"), published.SETS["CBSD68 50"]
    _, degraded, clean = next(published.pictures(chosen, published.find_set(data, chosen)))
    told = published.restored(model, degraded, published.true_map(chosen, degraded, clean))
    assert found["pictures"][0]["psnr_true"] == pytest.approx(float(psnr(told, clean)), abs=1e-6)
    assert abs(found["psnr_true"] - found["psnr_estimated"]) > 1e-3


def test_published_refuses_before_work(data, tmp_path):
    (data / "rain100l" / "input" / "1.png").unlink()
    with pytest.raises(PictureError, match="no picture named 1"):
        published.main(["--data", str(data), "--out", str(tmp_path / "out")])
    with pytest.raises(PictureError, match="no such folder"):
        published.main(["--data", str(tmp_path), "--set", "LIVE1 10", "--out", str(tmp_path / "out")])
    with pytest.raises(PictureError, match="no results"):
        published.main(["--tables", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_lifted_shadows_looks_at_the_darker_half():
    before = torch.full((1, 3, 20, 20), 0.1)
    before[..., 12:] = 0.8
    after = before.clone()
    after[..., 12:] = 1.0
    assert real.lifted_shadows(before, after) == pytest.approx(1)
    after[..., :12] = 0.15
    assert real.lifted_shadows(before, after) == pytest.approx(1.5)


def test_dark_channel_is_the_least_value_nearby():
    flat = torch.tensor([0.9, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 45, 45).clone()
    assert real.dark_channel(flat) == pytest.approx(0.4)
    flat[..., 22, 22] = 0.0
    assert real.dark_channel(flat) == pytest.approx(0.4 * (1 - 15**2 / 45**2))
    clean = picture(45, 45)
    hazy = 0.5 * clean + 0.4
    assert real.thinned_haze(hazy, clean) == pytest.approx(real.dark_channel(clean) / real.dark_channel(hazy), rel=1e-6) and (
        real.thinned_haze(hazy, clean) < 0.85 and real.thinned_haze(hazy, hazy) == 1
    )


def test_unevenness_is_what_is_added_where_the_photo_is_even():
    before = torch.full((1, 3, 96, 96), 0.7)
    before[..., 64:] = torch.rand(96, 32, generator=torch.Generator().manual_seed(0))
    assert real.added_unevenness(before, before) == 0
    assert real.added_unevenness(before, (before * 1.2).clamp(0, 1)) == pytest.approx(0, abs=1e-3)
    blotched = before.clone()
    blotched[:, :, :, 16:32] += 8 / 255  # the border of a mask across an even sky
    assert real.added_unevenness(before, blotched) == pytest.approx(8, abs=0.01)
    busy = before.clone()
    busy[..., 64:] = 0.5  # change where the photo is not even does not count
    assert real.added_unevenness(before, busy) == 0
    grain = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert real.added_unevenness(grain, grain * 0.5) is None


def test_grain_is_measured_in_the_evenest_blocks():
    noise = 0.05 * torch.randn(1, 1, 160, 160, generator=torch.Generator().manual_seed(0))
    texture = torch.linspace(0, 2, 160).clamp_min(0.5).view(1, 1, 1, 160).expand(1, 1, 160, 160)  # even at its left
    before, after = ((texture + amount * noise).expand(1, 3, -1, -1) for amount in (1, 0.4))
    assert real.kept_grain(before, before) == 1
    assert real.kept_grain(before, after) == pytest.approx(0.4, abs=0.02)
    sharper = after.clone()
    sharper[..., 80:] += 3 * noise[..., 80:]  # outside the evenest blocks
    assert real.kept_grain(before, sharper) == pytest.approx(0.4, abs=0.02)
    glaring, mended = before.clone(), after.clone()
    glaring[..., 144:], mended[..., 144:] = 1.0, 1.0  # white without grain is the evenest of all, and tells nothing
    assert real.kept_grain(glaring, mended) == pytest.approx(0.4, abs=0.02)
    assert real.kept_grain(torch.ones(1, 3, 32, 32), torch.ones(1, 3, 32, 32)) is None


def test_maps_show_the_kinds_that_are_present():
    kinds = torch.zeros(1, 8, 3, 4)
    kinds[:, KINDS.index("haze")] = 0.3
    kinds[:, KINDS.index("rain"), 0, 0] = 0.9
    kinds[:, KINDS.index("noise")] = 0.05
    found = real.maps_of(QualityMap(torch.full((1, 1, 3, 4), 3.0), 48, 64, "test", kinds))
    assert [name for name, _ in found] == ["haze", "rain"]
    assert all(field.shape == (1, 3, 48, 64) for _, field in found) and float(found[0][1].mean()) == pytest.approx(0.3)
    assert [name for name, _ in real.maps_of(flat_map(48, 64, 3.0))] == ["quality"]


def test_real_writes_figures_and_sheet(tmp_path, capsys):
    noisy = picture(64, 64) + 0.2 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    write_picture(noisy, tmp_path / "photos" / "noise_one.png")
    write_picture(picture(64, 64) * 0.3, tmp_path / "photos" / "dark_one.png")
    write_picture(picture(64, 64), tmp_path / "photos" / "rain_one.png")
    real.main(["--data", str(tmp_path / "photos"), "--out", str(tmp_path / "out")])
    rows = json.loads((tmp_path / "out" / "adaqual_nano-real.json").read_text())["photos"]
    figures = {row["name"]: set(row["figures"]) - {"unevenness"} for row in rows}
    assert figures == {"dark_one": {"lifted shadows"}, "noise_one": {"grain kept"}, "rain_one": set()}
    assert rows[1]["figures"]["grain kept"] < 0.6
    height, width = read_picture(tmp_path / "out" / "adaqual_nano-real.png").shape[-2:]
    assert height == 3 * (real.SIDE + 16) and width % real.SIDE == 0 and width >= 3 * real.SIDE
    assert "| grain kept | at most 0.6 | 1 | 1 |" in capsys.readouterr().out


def test_real_shows_the_kinds(tmp_path, own):
    write_picture(picture(64, 48), tmp_path / "photos" / "haze_one.png")
    real.main(["--data", str(tmp_path / "photos"), *own, "--out", str(tmp_path / "out")])
    row = json.loads((tmp_path / "out" / "own-real.json").read_text())["photos"][0]
    assert set(row["kinds"]) <= set(KINDS) and len(row["kinds"]) > 1
    width = read_picture(tmp_path / "out" / "own-real.png").shape[-1]
    assert width == (2 + len(row["kinds"])) * real.SIDE * 48 // 64


def test_peers_have_the_published_sizes():
    for name, millions in (("NAFNet-32", 29.2), ("DRUNet", 32.6), ("FBCNN", 71.9)):
        with torch.device("meta"):
            net = peers.PEERS[name]()
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_peers_measure_ours_and_theirs():
    for name, millions in (("ours", 7.0), ("SCUNet", 17.9)):
        found = peers.measure(name, 64, 1, peers.SHIPPED_RESTORER, peers.SHIPPED_ASSESSOR, "cpu")
        assert found["side"] == 64 and found["parameters"] == pytest.approx(millions, abs=0.1)
        assert found["seconds_per_megapixel"] > 0.1 and found["peak_gb"] > 0.1


def test_peers_print_and_write_a_table(tmp_path, capsys):
    peers.main(["--only", "ours", "--side", "64", "--runs", "1", "--out", str(tmp_path)])
    row = json.loads((tmp_path / "peers.json").read_text())["rows"][0]
    assert row["name"] == "ours, adaqual_nano"
    assert f"| ours, adaqual_nano | 7.0 | 64 | {row['seconds_per_megapixel']:.1f} |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        peers.main(["--only", "ours", "--model", str(tmp_path / "no.safetensors")])
    assert "no.safetensors: no such file" in capsys.readouterr().err
