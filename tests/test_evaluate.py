import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from small import picture

from adaqual_core.errors import PictureError
from adaqual_core.evaluate import BEST_PSNR, Measures, average, measure, psnr, ssim, table
from adaqual_core.imageio import write_picture
from adaqual_core.pictures.pairs import Pair, find_pairs


@pytest.mark.parametrize("height, width, amount", [(11, 11, 0.1), (40, 57, 0.02), (64, 30, 0.5)])
def test_measures_equal_those_of_scikit_image(height, width, amount):
    clean = picture(height, width, batch=2)
    other = (clean + amount * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    for i in range(2):
        a, b = (x[i].permute(1, 2, 0).double().numpy() for x in (clean, other))
        expected = structural_similarity(
            a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(ssim(clean, other)[i]) == pytest.approx(expected, abs=1e-6)
        assert float(psnr(clean, other)[i]) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)


def test_equal_pictures():
    clean = picture(20, 20)
    assert psnr(clean, clean) == BEST_PSNR and ssim(clean, clean) == pytest.approx(1)


def test_pictures_that_cannot_be_compared():
    with pytest.raises(ValueError, match="shapes"):
        psnr(picture(20, 20), picture(20, 21))
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(picture(10, 20), picture(10, 20))


@pytest.fixture
def folders(tmp_path):
    clean = {name: picture(24, 32, seed=seed) for seed, name in enumerate(("one", "two"))}
    for name, pixels in clean.items():
        write_picture(pixels, tmp_path / "clean" / f"{name}.png")
        for kind, factor in (("dark", 0.5), ("light", 0.9)):
            write_picture(pixels * factor, tmp_path / "bad" / kind / f"{name}.png")
    return tmp_path


def test_pairs_per_class(folders):
    pairs = find_pairs(folders / "clean", folders / "bad")
    assert [(pair.group, pair.degraded.stem, pair.clean.stem) for pair in pairs] == [
        ("dark", "one", "one"),
        ("dark", "two", "two"),
        ("light", "one", "one"),
        ("light", "two", "two"),
    ]


def test_pairs_of_a_plain_folder(folders):
    pairs = find_pairs(folders / "clean", folders / "bad" / "dark")
    assert [pair.group for pair in pairs] == ["dark", "dark"]


def test_pairs_that_do_not_fit(folders):
    with pytest.raises(PictureError, match="no such folder"):
        find_pairs(folders / "missing", folders / "bad")
    with pytest.raises(PictureError, match="no such folder"):
        find_pairs(folders / "clean", folders / "missing")
    with pytest.raises(PictureError, match="no pictures"):
        (folders / "empty").mkdir()
        find_pairs(folders / "clean", folders / "empty")
    write_picture(picture(24, 32), folders / "more" / "three.png")
    with pytest.raises(PictureError, match="three.png: no picture named three"):
        find_pairs(folders / "clean", folders / "more")
    write_picture(picture(24, 30), folders / "size" / "one.png")
    with pytest.raises(PictureError, match="30×24 px; its original .* has another size"):
        find_pairs(folders / "clean", folders / "size")
    write_picture(picture(5, 32), folders / "flat" / "one.png")
    write_picture(picture(5, 32), folders / "flatter" / "one.png")
    with pytest.raises(PictureError, match="at least 11 px"):
        find_pairs(folders / "flat", folders / "flatter")


def test_measuring_a_known_restoration(folders):
    pair = Pair("dark", folders / "bad" / "dark" / "one.png", folders / "clean" / "one.png")
    found = measure(pair, lambda pixels: (pixels * 2, 1.5, 4.5))
    assert found.psnr_before < 15 < 40 < found.psnr_after
    assert found.psnr_gain == pytest.approx(found.psnr_after - found.psnr_before)
    assert found.ssim_before < found.ssim_after <= 1
    assert (found.quality_before, found.quality_after) == (1.5, 4.5)


def test_averages_and_table():
    one = Measures(10, 20, 10, 0.5, 0.75, 0.25, 1.5, 4)
    two = Measures(20, 22, 2, 0.5, 0.85, 0.35, 2.5, 4)
    assert average([one, two]) == Measures(15, 21, 6, 0.5, pytest.approx(0.8), pytest.approx(0.3), 2, 4)
    lines = table({"haze": [one], "low": [two, two, two]}).splitlines()
    assert [line.split()[0] for line in lines] == ["class", "haze", "low", "average"]
    assert lines[1].split()[1:] == ["1", "10.00", "20.00", "10.00", "0.5000", "0.7500", "0.2500", "1.50", "4.00"]
    assert lines[3].split()[1:3] == ["4", "17.50"]  # over all pictures
