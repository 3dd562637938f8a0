"""The corpus builder on synthetic pictures: what is kept, dropped, refused, held out, measured, listed and fetched by git."""

import json
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from adaqual_training.corpus import build as corpus
from adaqual_training.corpus import candidates, fitness, listing, repositories, reserved, reviewed, selection, sources
from adaqual_training.corpus.balance import HELD_OUT, split_of, weights
from adaqual_training.corpus.examine import Piece
from adaqual_training.scenes import Photos


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
    return out, corpus.build(candidates.of_folder(source), out, workers=1, reserved=[kept_back])


def test_keeps_each_photo_once_and_drops_the_rest(built: tuple[Path, dict]) -> None:
    out, manifest = built
    stems = {Path(entry["path"]).stem.removesuffix("_again") for entry in manifest["pictures"]}
    assert stems == {"photo0", "photo1", "photo2", "photo3"} and len(manifest["pictures"]) == 4
    dropped = {key.removeprefix("pictures: "): count for key, count in manifest["dropped"].items()}
    assert dropped.pop("duplicate") == 1 and dropped.pop("reserved picture") == 1
    assert dropped.pop("soft or upscaled") == 1 and dropped.pop("small") == 1 and dropped.pop("transparent") == 1
    assert sum(dropped.values()) == 3, dropped  # flat, gradient, colourless
    assert sorted(path.name for path in out.glob("*.png")) == sorted(entry["file"] for entry in manifest["pictures"])


def test_manifest_says_where_everything_is_from(built: tuple[Path, dict]) -> None:
    out, manifest = built
    assert json.loads((out / "manifest.json").read_text()) == manifest
    for entry in manifest["pictures"]:
        assert entry["licence"] and entry["source"] == "pictures" and entry["commit"] == "local"
        assert entry["split"] == "train" and entry["hash"] and len(entry["sha256"]) == 64
        with Image.open(out / entry["file"]) as picture:
            assert picture.mode == "RGB" and list(picture.size) == entry["size"] and min(picture.size) >= selection.SMALLEST


def test_licence_comes_from_the_matching_paragraph(tmp_path: Path) -> None:
    notice = tmp_path / "usr/share/doc/some-wallpapers/copyright"
    notice.parent.mkdir(parents=True)
    notice.write_text(
        "Format: 1.0\n\nFiles: *\nCopyright: A\nLicense: GPL-2+\n\nFiles: 16.04/lake.jpg\nCopyright: B\nLicense: CC-BY-4.0\n"
    )
    assert candidates.provenance("some-wallpapers", tmp_path, "usr/share/backgrounds/lake.jpg")[1] == "CC-BY-4.0"
    assert candidates.provenance("some-wallpapers", tmp_path, "usr/share/backgrounds/hill.jpg")[1] == "GPL-2+"


def test_large_photos_give_separate_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selection.crops_of(photo(1)) == []
    monkeypatch.setattr(selection, "CROP", 192)
    monkeypatch.setattr(selection, "CROP_FROM", 875)
    pieces = selection.crops_of(photo(1, (400, 900)))
    assert [piece.size for piece in pieces] == [(192, 192)] * 2
    assert reserved.distance(*map(selection.difference_hash, pieces)) > reserved.SAME


@pytest.mark.parametrize(
    "name",
    ["mate-backgrounds", "scikit_image-0.26", "skimage", "scikit-learn", "ultralytics", "imgaug", "Kodak24", "mcmaster", "CBSD68"]
    + ["live1", "Rain100H", "rain100l", "SOTS", "sots_indoor", "DICM", "RNI15"],
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
        candidates.of_folder(tmp_path / "mine")


def test_disjoint_check_finds_a_reserved_picture(built: tuple[Path, dict], tmp_path: Path) -> None:
    out, _ = built
    photo(30).save(tmp_path / "other.png")
    reserved.assert_disjoint(out / "manifest.json", tmp_path)
    photo(2).resize((320, 240)).save(tmp_path / "same.jpg")
    with pytest.raises(ValueError, match="same.jpg .* reserved for evaluation"):
        reserved.assert_disjoint(out / "manifest.json", tmp_path)


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


def write_index(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """An index.tsv of (name, repository, path)."""
    lines = ["name\trepository\tcommit\tpath\tlicence"]
    lines += [f"{name}\t{repository}\t{'a' * 40}\t{path}\tCC0" for name, repository, path in rows]
    (folder / "index.tsv").write_text("\n".join(lines) + "\n")


def indexed(folder: Path, sources_and_seeds: list[tuple[str, int]]) -> list[candidates.Candidate]:
    """Candidates of a folder whose photos come from repositories."""
    folder.mkdir()
    for number, (_, seed) in enumerate(sources_and_seeds):
        photo(seed).save(folder / f"{number}.png")
    write_index(folder, [(f"{n}.png", source, f"photos/{n}.jpg") for n, (source, _) in enumerate(sources_and_seeds)])
    return candidates.of_folder(folder)


def test_an_index_says_where_photos_are_from_and_the_loader_reads_them(tmp_path: Path) -> None:
    listed = indexed(tmp_path / "in", [("a/trees", 1), ("a/trees", 2), (HELD_OUT[0], 3)])
    manifest = corpus.build(listed, tmp_path / "out", workers=1)
    photos = Photos(tmp_path / "out", "train")
    assert photos.hash == manifest["hash"] and len(photos.entries) == 2
    assert {(e["source"], e["path"], e["licence"]) for e in photos.entries} == {
        ("a/trees", f"photos/{n}.jpg", "CC0") for n in (0, 1)
    }
    assert {tuple(photos.pixels(index).shape) for index in (0, 1)} == {(360, 480, 3)}
    assert [entry["source"] for entry in Photos(tmp_path / "out", "held").entries] == [HELD_OUT[0]]


def test_a_photo_to_train_on_that_resembles_a_held_out_one_is_left_out(tmp_path: Path) -> None:
    listed = indexed(tmp_path / "in", [("a/trees", 1), ("a/trees", 2), (HELD_OUT[0], 2)])
    manifest = corpus.build(listed, tmp_path / "out", workers=1)
    assert manifest["kept"] == {"a/trees": 1, HELD_OUT[0]: 1} and manifest["dropped"] == {"a/trees: duplicate": 1}
    base, near = 0x0F0F_1234_5678_9ABC, 0x0F0F_1234_5678_9ABC ^ 0x1FF

    def passed(number: int, source: str, bits: int) -> tuple[int, candidates.Candidate, corpus.Examined]:
        piece = corpus.Examined("", 1, (Piece((480, 360), bits, "", {}),))
        return number, candidates.Candidate(source, Path("x"), Path("."), f"{number}.jpg", "c", "l"), piece

    kept, dropped = corpus.distinct([passed(0, "a/trees", base), passed(1, HELD_OUT[0], near)], [])
    assert [item.candidate.source for item in kept] == [HELD_OUT[0]] and dropped == {"a/trees: resembles a held-out photo": 1}
    apart, between = 0x7FF, 0x383F  # 11 and 9 bits from the held-out 0, 8 from each other
    kept, dropped = corpus.distinct([passed(0, "a/trees", apart), passed(1, "a/trees", between), passed(2, HELD_OUT[0], 0)], [])
    assert [item.number for item in kept] == [2, 0] and dropped == {"a/trees: resembles a held-out photo": 1}
    kept, _ = corpus.distinct([passed(0, "a/trees", base), passed(1, "b/trees", near)], [])
    assert len(kept) == 2 and kept[0].photo == kept[1].photo


def test_index_of_a_reserved_set_or_without_columns_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, [("0.png", "someone/Rain100L-copy", "norain-1.png")])
    with pytest.raises(ValueError, match="'rain100l', which is reserved"):
        candidates.of_folder(tmp_path)
    write_index(tmp_path, [("0.png", "a/b", "1.png")])
    with pytest.raises(ValueError, match="names '0.png', which is not there"):
        candidates.of_folder(tmp_path)
    (tmp_path / "index.tsv").write_text("name\tpath\nx\ty\n")
    with pytest.raises(ValueError, match="lacks the columns .*'commit', 'licence', 'repository'"):
        candidates.of_folder(tmp_path)


def test_share_of_a_source_grows_like_the_root_of_its_photos() -> None:
    pictures = [("a/many", f"m{n}") for n in range(100)] + [("a/few", f"f{n}") for n in range(4)]
    pictures += [("a/few", "f0")] * 3 + [("MiguelARD/DoorDetect-Dataset", f"d{n}") for n in range(400)]
    share: dict[str, float] = defaultdict(float)
    for (source, _), weight in zip(pictures, weights(pictures), strict=True):
        share[source] += weight
    assert share["a/many"] / share["a/few"] == pytest.approx(5, rel=1e-3)
    assert share["MiguelARD/DoorDetect-Dataset"] / share["a/many"] == pytest.approx(1, rel=1e-3)  # 20 × 0.5 to 10
    assert weights([("a/few", "f0"), ("a/few", "f0"), ("a/few", "f1")]) == pytest.approx([0.353553, 0.353553, 0.707107], abs=1e-5)


def test_corpus_hash_follows_what_decides_a_training(built: tuple[Path, dict]) -> None:
    pictures = built[1]["pictures"]
    assert listing.corpus_hash(pictures[::-1]) == built[1]["hash"]
    for change in ({"weight": 9.0}, {"split": "held"}, {"unfit": ["rain"]}, {"sha256": "0"}):
        assert listing.corpus_hash([{**pictures[0], **change}, *pictures[1:]]) != built[1]["hash"]
    assert listing.corpus_hash([{**pictures[0], "licence": "other"}, *pictures[1:]]) == built[1]["hash"]


def clean_photo() -> np.ndarray:
    """Soft ground and hard-edged things of all colours, black and white among them: fit for every kind."""
    rng = np.random.default_rng(1)
    pixels = np.asarray(photo(4).filter(ImageFilter.GaussianBlur(3))).copy()
    for _ in range(60):
        top, left, height, width = rng.integers((0, 0, 12, 12), (330, 440, 60, 60))
        pixels[top : top + height, left : left + width] = (
            rng.integers(10, 245, 3) if rng.random() < 0.6 else rng.choice((12, 240))
        )
    return pixels


def test_damage_in_a_photo_makes_it_unfit_for_that_kind_alone() -> None:
    clean = clean_photo()
    assert fitness.unfit(fitness.fitness(clean)) == []

    def kinds(pixels: np.ndarray) -> list[str]:
        return fitness.unfit(fitness.fitness(pixels.clip(0, 255).astype(np.uint8)))

    rng = np.random.default_rng(0)
    assert kinds(clean * 0.4) == ["low"]
    backlit = clean.astype(np.float32)
    backlit[240:] *= 0.08
    assert "low" in kinds(backlit)
    assert kinds(clean * 0.6 + 0.4 * 230) == ["haze"]
    assert kinds(clean + rng.normal(0, 6, clean.shape)) == ["noise"]
    assert "blur" in kinds(np.asarray(Image.fromarray(clean).filter(ImageFilter.GaussianBlur(2.5))))


def test_blocks_of_a_file_make_it_unfit_for_jpeg(tmp_path: Path) -> None:
    Image.fromarray(clean_photo()).save(tmp_path / "photo.jpg", quality=15)
    with Image.open(tmp_path / "photo.jpg") as picture:
        assert "jpeg" in fitness.unfit(fitness.fitness(np.asarray(picture.convert("RGB"))))


def test_findings_of_the_review_drop_photos_and_name_weather(tmp_path: Path) -> None:
    findings = reviewed.findings()
    dropped = next(key for key, finding in findings.items() if finding.startswith("drop: "))
    snowy = next(key for key, finding in findings.items() if finding == "snow")
    listed = indexed(tmp_path / "in", [(dropped[0], 1), (snowy[0], 2)])
    listed = [
        candidates.Candidate(c.source, c.file, c.root, path, c.commit, c.licence, chosen=True)
        for c, (_, path) in zip(listed, (dropped, snowy), strict=True)
    ]
    manifest = corpus.build(listed, tmp_path / "out", workers=1)
    assert [entry["path"] for entry in manifest["pictures"]] == [snowy[1]] and "snow" in manifest["pictures"][0]["unfit"]
    allowed = {"low", "rain", "snow", "haze", "raindrops", "blur", "noise", "jpeg"}
    assert all(finding.startswith("drop: ") or set(finding.split()) <= allowed for finding in findings.values())


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder with a name to commit under, and return what it prints."""
    named = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """A folder of bare repositories with owner/name.git, and its first commit, which a second one follows."""
    work, bare = tmp_path / "work", tmp_path / "hosts/owner/name.git"
    (work / "my photos").mkdir(parents=True)
    photo(1, (540, 720)).save(work / "my photos/tree [1].png")
    photo(2).save(work / "other.png")
    git(work, "init", "-q")
    git(work, "add", ".")
    git(work, "commit", "-qm", "photos")
    commit = git(work, "rev-parse", "HEAD")
    photo(3).save(work / "my photos/tree [1].png")
    git(work, "commit", "-qam", "another photo")
    git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    return tmp_path / "hosts", commit


def test_listed_photos_come_by_git_at_their_commit_and_size(repository: tuple[Path, str], tmp_path: Path) -> None:
    base, commit = repository
    small = photo(1, (540, 720)).resize((480, 360), Image.Resampling.LANCZOS)
    bits = selection.difference_hash(small)
    line = listing.Listed("owner/name", commit, "my photos/tree [1].png", "CC0", (480, 360), "train", (), bits, "")
    found = repositories.of_repositories([line], base.as_uri(), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("other.png"))
    manifest = corpus.build(found, tmp_path / "out", workers=1)
    (entry,) = manifest["pictures"]
    assert (entry["commit"], entry["licence"], entry["size"]) == (commit, "CC0", [480, 360])
    with Image.open(tmp_path / "out" / entry["file"]) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(small))
    assert repositories.differing([line], manifest["pictures"]) == []
    (again,) = listing.read_list(tmp_path / "out/photos.tsv")
    assert again == listing.Listed(
        "owner/name", commit, line.path, "CC0", (480, 360), "train", tuple(entry["unfit"]), bits, entry["sha256"]
    )
    other = listing.Listed("owner/name", commit, line.path, "CC0", (480, 360), "train", (), bits ^ 0xFFFF, "")
    assert repositories.differing([other], manifest["pictures"]) == ["owner/name/my photos/tree [1].png"]


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = listing.Listed("owner/gone", "a" * 40, "x.png", "CC0", (480, 360), "train", (), 0, "")
    with pytest.raises(ValueError, match=r"--git: 'git fetch .*owner/gone.git .* failed"):
        repositories.of_repositories([line], tmp_path.as_uri(), tmp_path / "cache")


def test_the_committed_list_holds_out_whole_sources() -> None:
    listed = listing.read_list()
    held = [photo for photo in listed if photo.split == "held"]
    assert len(held) >= 150 and {photo.source for photo in held} == set(HELD_OUT)
    assert all(photo.split == split_of(photo.source) and photo.commit and photo.licence for photo in listed)
    for photo in listed:
        reserved.refuse_reserved(f"{photo.source}/{photo.path}", "list")
    bits = np.array([photo.bits for photo in listed if photo.split == "train"], np.uint64)
    assert min(reserved.nearest(photo.bits, bits)[0] for photo in held) > reserved.RELATED


def test_no_listed_photo_is_one_of_scikit_image() -> None:
    folder = reserved.skimage_data()
    if folder is None:
        pytest.skip("scikit-image is not installed")
    bits = np.array([photo.bits for photo in listing.read_list()], np.uint64)
    hashes = reserved.hashes_of(folder)
    assert hashes and min(reserved.nearest(value, bits)[0] for value in hashes.values()) > reserved.SAME
