"""This script draws a sheet of one kind of damage, to be looked at.

    python scripts/damage_sheet.py KIND --photos FOLDER --out FILE.png

Each row is one generator of the kind, on a photo of the folder (the next one in each row); the columns are the clean photo and
the severities 0.2, 0.5, 0.8 and 1.0. Under each picture stand the severity asked for, and the mean and peak of the map returned.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from adaqual_core.damage.compose import GENERATORS
from adaqual_core.damage.draws import Draws
from adaqual_core.kinds import KINDS

SEVERITIES = (0.2, 0.5, 0.8, 1.0)
LABEL = 18


def read_photos(folder: Path, side: int, count: int) -> list[torch.Tensor]:
    """Return ``count`` photos of a folder, evenly spread over its names, as centre crops [3, side, side] in [0, 1].

    Each photo is first scaled so that its short side is one and a half times ``side`` or its own size, whichever is smaller.
    """
    readable = Image.registered_extensions()
    names = sorted(name for name in folder.iterdir() if name.suffix.lower() in readable)
    if not names:
        raise SystemExit(f"--photos: no picture in {folder}; give a folder of photos")
    photos = []
    for i in range(count):
        with Image.open(names[i * len(names) // count]) as photo:
            photo = photo.convert("RGB")
        scale = max(side, min(*photo.size, side * 3 // 2)) / min(photo.size)
        photo = photo.resize([max(side, round(length * scale)) for length in photo.size], Image.Resampling.LANCZOS)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        pixels = np.asarray(photo.crop((left, top, left + side, top + side))).copy()
        photos.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
    return photos


def draw_sheet(kind: str, photos: list[torch.Tensor], seed: int) -> Image.Image:
    """Return the sheet of a kind; row i shows generator i on photo i modulo the number of photos."""
    generators = import_module(GENERATORS[kind].__module__).GENERATORS
    side = photos[0].shape[-1]
    sheet = Image.new("RGB", ((1 + len(SEVERITIES)) * side, len(generators) * (side + LABEL)), "black")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (name, generator) in enumerate(generators.items()):
        photo = photos[row % len(photos)]
        cells = [(photo, name)]
        for severity in SEVERITIES:
            damaged, done = generator(photo.clone(), severity, Draws(seed + row, kind))
            cells.append((damaged, f"asked {severity:.1f}, mean {float(done.mean()):.2f}, peak {float(done.max()):.2f}"))
        for column, (picture, label) in enumerate(cells):
            pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            corner = (column * side, row * (side + LABEL))
            sheet.paste(Image.fromarray(pixels), corner)
            draw.text((corner[0] + 4, corner[1] + side + 1), label, "white", font)
    return sheet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the arguments, draw the sheet and write it."""
    parser = argparse.ArgumentParser(description="draw a sheet of one kind of damage")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="clean photos")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--side", type=int, default=384, help="px of each picture (default 384)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if not args.photos.is_dir():
        raise SystemExit(f"--photos: {args.photos} is not a folder")
    draw_sheet(args.kind, read_photos(args.photos, args.side, count=12), args.seed).save(args.out)


if __name__ == "__main__":
    main()
