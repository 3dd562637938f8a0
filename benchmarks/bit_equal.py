"""``python -m benchmarks.bit_equal FILE [--photos DIR]`` tests whether two commits compute the same, bit for bit.

The first call writes FILE (safetensors): twenty damaged crops of the photos in DIR, and what the shipped weights, small random
networks of the published families and the command line make of them. A call at another commit takes the crops from FILE, compares
and fails unless every output is equal. Run both on one machine, because other processors round differently.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

DAMAGE = ((("haze", "noise"), 0.6), (("low", "rain", "jpeg"), 0.5))
"""Kinds and severity of the two versions of every photo."""


def found_at(*places: str):
    """Return the first of the places "module:name" in adaqual_core that this checkout has.

    Files decide, because an editable installation of another checkout would lend its modules where this one has none.
    """
    for place in places:
        module, name = place.split(":")
        path = ROOT / "adaqual_core" / module.replace(".", "/")
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            found = importlib.import_module(f"adaqual_core.{module}")
            if hasattr(found, name):
                return getattr(found, name)
    raise ImportError(f"adaqual_core has none of {', '.join(places)}; add the new place here")


def check_checkout() -> None:
    """Raise ImportError if a module of adaqual_core was loaded from another checkout than this file's."""
    loaded = {name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "adaqual_core"}
    strange = [f"{name} from {file}" for name, file in loaded.items() if not file or ROOT not in Path(file).resolve().parents]
    if strange:
        raise ImportError(f"not of this checkout: {', '.join(strange)}; run this in the checkout's own folder")


def crops(folder: Path) -> dict[str, Tensor]:
    """Return two damaged crops [1, 3, H, W] of each of the first ten photos in ``folder``, of odd sizes from 97 to 159 px."""
    read_picture = found_at("imageio:read_picture")
    degrade = found_at("degrade:degrade", "damage:degrade")
    found = {}
    for number, path in enumerate(sorted(path for path in folder.iterdir() if path.is_file())[:10]):
        height, width = 97 + 2 * (7 * number % 32), 97 + 2 * (11 * number % 32)
        photo = read_picture(path)[0, :3]
        photo = photo[:, photo.shape[1] // 3 :, photo.shape[2] // 3 :][:, :height, :width]
        for version, (kinds, severity) in enumerate(DAMAGE):
            mask = torch.linspace(0, 2, photo.shape[2]).clamp(0, 1).expand(1, *photo.shape[1:]) if version else None
            damaged = degrade(photo, kinds, severity, seed=number, mask=mask).picture
            found[f"in.{number:02}-{version}"] = damaged[None].contiguous()
    return found


def by_command_line(name: str, picture: Tensor, folder: Path) -> Tensor:
    """Return what ``adaqual restore`` writes for a picture, as 8-bit values / 255."""
    source, target = folder / f"{name}.png", folder / f"{name}-restored.png"
    found_at("imageio:write_picture")(picture, source)
    if found_at("cli:main")(["restore", str(source), str(target), "--device", "cpu"]):
        raise RuntimeError(f"adaqual restore failed on {source.name}; its message is above")
    return found_at("imageio:read_picture")(target)


def outputs(pictures: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return everything that is compared, by name."""
    import small

    estimate_quality = found_at("quality.bundled:estimate_quality", "assessor:estimate_quality")
    load_assessor = found_at("networks.shipped:load_assessor", "quality.bundled:load_assessor", "checkpoint:load_assessor")
    build_prompt = found_at("prompt:build_prompt")
    load_restorer = found_at("published.read:load_restorer", "convert:load_restorer")
    shipped = found_at("networks.shipped:SHIPPED_RESTORER", "networks.shipped:SHIPPED_DENOISER", "checkpoint:SHIPPED_DENOISER")
    restore_with = found_at("sampling.families:restore_with", "families:restore_with", "sampling.restore:restore")
    settings_for = found_at("sampling.families:settings_for", "families:settings_for", "sampling.settings:settings_for")
    networks = {
        "AdaQual-Diff-0": small.official(),
        "AdaQual-Diff-1": small.official("prompted", 1),
        "WeatherDiffusion-0": small.weather(),
        "WeatherDiffusion-1": small.weather(1),
    }
    assessor, restorer = load_assessor(), load_restorer(shipped)
    found = {}
    for number, (name, picture) in enumerate(pictures.items()):
        quality = estimate_quality(assessor, picture)
        prompt = build_prompt(picture, quality)
        found[f"map.{name}"], found[f"statistics.{name}"] = quality.scores, prompt.statistics
        found[f"length.{name}"] = prompt.length
        result = restore_with(restorer, picture, prompt, settings_for(restorer, seed=number, tile=64, eta=0.5 * (number % 2)))
        found[f"restored.{name}"] = result.picture
        if number < 4:
            for title, network in networks.items():
                settings = settings_for(network, seed=number, steps=3, eta=0.5 * (number % 2))
                found[f"{title}.{name}"] = restore_with(network, picture, prompt, settings).picture
    with tempfile.TemporaryDirectory() as folder:
        for name in list(pictures)[:2]:
            found[f"command-line.{name}"] = by_command_line(name, pictures[name], Path(folder))
    check_checkout()
    return {name: value.contiguous() for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Write or compare; returns 1 where an output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="file (.safetensors) to write, or to compare with where there is one")
    parser.add_argument("--photos", type=Path, help="folder of at least ten photos; needed where FILE is not there yet")
    args = parser.parse_args(argv)
    if not args.file.exists():
        if args.photos is None:
            parser.error(f"--photos: {args.file} is not there yet, so give a folder of photos to make it from")
        pictures = crops(args.photos)
        found = outputs(pictures)
        save_file({**pictures, **found}, args.file)
        print(f"{args.file}: {len(found)} outputs of {len(pictures)} pictures written")
        return 0
    kept = load_file(args.file)
    pictures = {name: value for name, value in kept.items() if name.startswith("in.")}
    before, now = {name: value for name, value in kept.items() if name not in pictures}, outputs(pictures)
    names = sorted(before.keys() | now.keys())
    differ = [name for name in names if name not in before or name not in now or not torch.equal(before[name], now[name])]
    print(f"{len(names) - len(differ)} of {len(names)} outputs are equal bit for bit; differing: {', '.join(differ) or 'none'}")
    return int(bool(differ))


if __name__ == "__main__":
    raise SystemExit(main())
