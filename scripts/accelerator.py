"""Train on an accelerator that is lent for short commands and reaches no network.

    python scripts/accelerator.py pack                    here: the corpus as archives of at most 40 MiB in runs/accelerator
    python scripts/accelerator.py unpack                  there: builds runs/corpus from the archives that have arrived
    python scripts/accelerator.py train RECIPE --minutes 9    there: trains, resuming, and leaves weights and state in $OUT
    python scripts/accelerator.py collect FOLDER RECIPE   here: puts what came back into the run's folder, to be resumed anywhere
    python scripts/accelerator.py rehearse RECIPE         here: the same commands in a temporary folder with a minute's budget

Photos travel as AVIF with full colour resolution (about 42 dB), weights as they are, and the optimiser's state in bfloat16.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
from PIL import Image

ARCHIVE, PART = 40 * 2**20, 15 * 2**20
"""Greatest size in bytes of an archive that is sent there, and of a file that comes back."""


def pack(corpus: Path, target: Path) -> list[Path]:
    """Write the corpus as numbered archives; the first one holds the manifest."""
    target.mkdir(parents=True, exist_ok=True)
    manifest = (corpus / "manifest.json").read_bytes()
    archives: list[Path] = []
    archive, size = None, ARCHIVE
    files = [("manifest.json", None), *((entry["file"], corpus / entry["file"]) for entry in json.loads(manifest)["pictures"])]
    for name, path in files:
        if path is None:
            content = manifest
        else:
            buffer = io.BytesIO()
            Image.open(path).convert("RGB").save(buffer, "AVIF", quality=88, subsampling="4:4:4", speed=8)
            name, content = str(Path(name).with_suffix(".avif")), buffer.getvalue()
        if size + len(content) + 1024 > ARCHIVE:
            if archive is not None:
                archive.close()
            archives.append(target / f"photos-{len(archives)}.tar")
            archive, size = tarfile.open(archives[-1], "w"), 10240
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        size += 512 + -(-len(content) // 512) * 512
    archive.close()
    return archives


def unpack(source: Path, corpus: Path) -> int:
    """Write the archives' photos as PNG files into the corpus folder; returns how many of the manifest's are there."""
    corpus.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("photos-*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member).read()
                if member.name == "manifest.json":
                    (corpus / "manifest.json").write_bytes(content)
                elif not (corpus / Path(member.name).with_suffix(".png")).exists():
                    picture = Image.open(io.BytesIO(content)).convert("RGB")
                    picture.save(corpus / Path(member.name).with_suffix(".png"), compress_level=1)
    entries = json.loads((corpus / "manifest.json").read_text())["pictures"]
    return sum((corpus / entry["file"]).is_file() for entry in entries)


def halved(value):
    """Return the same nested state with its float32 tensors in bfloat16."""
    if isinstance(value, torch.Tensor):
        return value.to(torch.bfloat16) if value.dtype == torch.float32 else value
    if isinstance(value, dict):
        return {key: halved(one) for key, one in value.items()}
    return type(value)(halved(one) for one in value) if isinstance(value, (list, tuple)) else value


def leave(run: Path, out: Path) -> list[str]:
    """Copy log, weights and state of a run into ``out``: one archive in parts, with the optimiser's moments in bfloat16."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "state"
        shutil.copytree(run / "state", small)
        for path in small.glob("optimizer*.bin"):
            torch.save(halved(torch.load(path, map_location="cpu", weights_only=True)), path)
        bundle = Path(folder) / "run.tar.xz"
        with tarfile.open(bundle, "w:xz", preset=1) as archive:
            archive.add(small, "state")
            for path in [run / "log.jsonl", run / "worst.png", *run.glob("*.safetensors")]:
                archive.add(path, path.name)
        content = bundle.read_bytes()
    names = []
    for number, start in enumerate(range(0, len(content), PART)):
        names.append(f"run-{number}.part")
        (out / names[-1]).write_bytes(content[start : start + PART])
    return names


def collect(folder: Path, run: Path) -> None:
    """Put the parts that came back into a run's folder, from which training resumes."""
    parts = sorted(folder.glob("run-*.part"), key=lambda path: int(path.stem.partition("-")[2]))
    if not parts:
        raise SystemExit(f"{folder}: no run-*.part in it; name the folder that holds what came back")
    content = b"".join(path.read_bytes() for path in parts)
    run.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / "state", ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
        archive.extractall(run, filter="data")


def train(recipe: Path, minutes: float, corpus: Path, run: Path, out: Path, device: str | None) -> None:
    """Train for so many minutes in a process of its own and leave the run in ``out``."""
    command = [sys.executable, "-m", "adaqual_training", "--recipe", str(recipe), "--corpus", str(corpus), "--out", str(run)]
    command += ["--hours", str(minutes / 60), *(["--device", device] if device else [])]
    subprocess.run(command, check=True)
    print(json.dumps({"parts": leave(run, out)}))


def rehearse(recipe: Path, corpus: Path, device: str) -> None:
    """Run pack, unpack, train, leave, collect and train again in a temporary folder, a minute of training in all."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        archives = pack(corpus, home / "there")
        print(f"{len(archives)} archives, largest {max(path.stat().st_size for path in archives) / 2**20:.1f} MiB")
        print(f"{unpack(home / 'there', home / 'corpus')} photos arrived")
        train(recipe, 0.5, home / "corpus", home / "run", home / "out", device)
        collect(home / "out", home / "again")
        train(recipe, 0.5, home / "corpus", home / "again", home / "out2", device)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python scripts/accelerator.py", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--archives", type=Path, default=Path("runs/accelerator"))
    parser.add_argument("--device", help="cpu or cuda (default: an accelerator where there is one)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pack")
    commands.add_parser("unpack")
    training = commands.add_parser("train")
    training.add_argument("recipe", type=Path)
    training.add_argument("--minutes", type=float, default=8.0)
    back = commands.add_parser("collect")
    back.add_argument("folder", type=Path)
    back.add_argument("recipe", type=Path)
    commands.add_parser("rehearse").add_argument("recipe", type=Path)
    args = parser.parse_args()
    if args.command == "pack":
        for path in pack(args.corpus, args.archives):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    elif args.command == "unpack":
        print(f"{unpack(args.archives, args.corpus)} photos in {args.corpus}")
    elif args.command == "train":
        run = Path("runs") / args.recipe.stem
        train(args.recipe, args.minutes, args.corpus, run, Path(os.environ.get("OUT", "runs/out")), args.device)
    elif args.command == "collect":
        collect(args.folder, Path("runs") / args.recipe.stem)
    else:
        rehearse(args.recipe, args.corpus, args.device or "cpu")


if __name__ == "__main__":
    main()
