"""``python -m benchmarks.video`` measures flicker and fidelity of restored clips whose truth is known.

The clips are made from photos of scikit-image: a camera that pans, zooms or stands, fades, exposure ramps and cuts, clean or
damaged. Each is restored frame by frame and with a window of frames. Printed is a Markdown table, and one JSON object:

- step: how far the change of mean brightness from frame to frame is from the truth's, on average and at worst, in levels of 255.
  The change over a cut does not count: two shots may be restored differently.
- PSNR: mean over the frames, in dB.
- warped: mean difference between neighbouring frames, the former moved by the true motion, in levels of 255.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import skimage.data
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from adaqual_core.damage import degrade
from adaqual_core.evaluate import psnr
from adaqual_core.imageio import read_picture
from adaqual_core.networks.shipped import SHIPPED_RESTORER
from adaqual_core.prompt import PromptSettings
from adaqual_core.published.read import load_restorer
from adaqual_core.quality.assess import assess, open_assessor
from adaqual_core.quality.bundled import SHIPPED_ASSESSOR
from adaqual_core.sampling.settings import settings_for
from adaqual_core.video.clip import Chain, Shot, restore_frame
from adaqual_core.video.names import TEMPORAL

HEIGHT, WIDTH = 176, 304

View = tuple[float, float, float]
"""Where the camera looks: row and column of its centre in the scene, and px of the scene per px of the frame."""


@dataclass(frozen=True)
class Motion:
    """This class says how the camera moves: ``view`` and ``gain`` (exposure) by the time from 0 to 1; after ``cut`` another scene
    is seen.
    """

    view: Callable[[float], View] = lambda time: (200.0, 240.0, 1.0)
    gain: Callable[[float], float] = lambda time: 1.0
    cut: float = 2.0


MOTIONS = {
    "still": Motion(),
    "pan": Motion(lambda time: (150 + 40 * time, 180 + 100 * time, 1.0)),
    "zoom": Motion(lambda time: (200.0, 240.0, 1.2 - 0.4 * time)),
    "fade": Motion(gain=lambda time: min(1.0, 1.5 * time)),
    "ramp": Motion(gain=lambda time: 0.55 + 0.45 * time),
    "cut": Motion(lambda time: (180 + 20 * time, 200 + 40 * time, 1.0), cut=0.5),
}

CLIPS = (
    ("pan", "clean"),
    ("zoom", "clean"),
    ("fade", "clean"),
    ("ramp", "clean"),
    ("cut", "clean"),
    ("card", "clean"),
    ("pan", "hazy"),
    ("zoom", "dark"),
    ("pan", "rainy"),
    ("still", "noisy"),
    ("fade", "noisy"),
    ("ramp", "hazy"),
    ("cut", "dark"),
    ("zoom", "rainy"),
)

STEADY = {"hazy": "haze", "dark": "low"}
FRESH = {"rainy": "rain", "noisy": "noise"}


@dataclass(frozen=True)
class MadeClip:
    """This class holds ``truth`` and ``damaged`` frames [N, 3, H, W] in [0, 1], the ``views`` of the camera, and the first frame
    after a cut.
    """

    truth: Tensor
    damaged: Tensor
    views: list[View]
    cut: int | None


@cache
def scene(name: str, damage: str | None = None) -> Tensor:
    """Return a photo [3, 400, 480], clean or with damage that stays with the scene."""
    photo = read_picture(Path(skimage.data.__file__).parent / name)[0]
    photo = F.interpolate(photo[None], (400, 480), mode="bilinear", antialias=True)[0]
    return photo if damage is None else degrade(photo, [damage], 0.6, seed=4).picture


@cache
def layer(kind: str) -> Tensor:
    """Return what rain or noise adds to a grey surface, [3, 400, 480]."""
    grey = torch.full((3, 400, 480), 0.35)
    return degrade(grey, [kind], 0.5, seed=4).picture - grey


def moving(kind: str, index: int) -> Tensor:
    """Return what rain or noise adds to frame number ``index``, [3, HEIGHT, WIDTH]: streaks that fall, and grain that is new in
    every frame, always equally strong.
    """
    shift = (37 * index, 3 * index) if kind == "rain" else (131 * index, 77 * index)
    return layer(kind).roll(shift, (1, 2))[:, :HEIGHT, :WIDTH]


def seen(picture: Tensor, view: View) -> Tensor:
    """Return what a camera sees of a scene, [3, HEIGHT, WIDTH]."""
    row, column, scale = view
    y = row + scale * (torch.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    x = column + scale * (torch.arange(WIDTH) + 0.5 - WIDTH / 2)
    where = torch.stack(torch.broadcast_tensors(2 * x / picture.shape[-1] - 1, (2 * y / picture.shape[-2] - 1)[:, None]), -1)
    return F.grid_sample(picture[None], where[None], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def card(count: int) -> MadeClip:
    """Return a clip of a grey card over which a red box moves."""
    frames = torch.full((count, 3, HEIGHT, WIDTH), 0.6)
    for index in range(count):
        left = 20 + 8 * index
        frames[index, :, 60:110, left : left + 50] = torch.tensor([0.8, 0.2, 0.2]).view(3, 1, 1)
    return MadeClip(frames, frames, [(0.0, 0.0, 1.0)] * count, None)


def make_clip(motion: str, damage: str, count: int) -> MadeClip:
    """Return the clip of a motion and a damage, ``count`` frames long."""
    if motion == "card":
        return card(count)
    path, truth, damaged, views, cut = MOTIONS[motion], [], [], [], None
    for index in range(count):
        time = index / (count - 1)
        name = "astronaut.png" if time < path.cut else "coffee.png"
        cut = index if cut is None and time >= path.cut else cut
        view = path.view(time)
        clean = seen(scene(name), view) * path.gain(time)
        worn = seen(scene(name, STEADY.get(damage)), view) * path.gain(time)
        if damage in FRESH:
            worn = (worn + moving(FRESH[damage], index)).clamp(0, 1)
        truth.append(clean)
        damaged.append(worn)
        views.append(view)
    return MadeClip(torch.stack(truth), torch.stack(damaged), views, cut)


def moved(frame: Tensor, before: View, after: View) -> tuple[Tensor, Tensor]:
    """Return ``frame`` [3, H, W] of the view ``before`` as seen from the view ``after``, and where [H, W] it is known."""
    ratio = after[2] / before[2]
    y = HEIGHT / 2 + (after[0] - before[0]) / before[2] + ratio * (torch.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    x = WIDTH / 2 + (after[1] - before[1]) / before[2] + ratio * (torch.arange(WIDTH) + 0.5 - WIDTH / 2)
    where = torch.stack(torch.broadcast_tensors(2 * x / WIDTH - 1, (2 * y / HEIGHT - 1)[:, None]), -1)
    found = F.grid_sample(frame[None], where[None], mode="bicubic", align_corners=False)[0]
    return found, where.abs().amax(-1) < 1 - 4 / HEIGHT


def restored(model: nn.Module, judge: Callable, clip: MadeClip, temporal: int) -> Tensor:
    """Return the damaged frames restored in their order."""
    chain, shot, frames = Chain(model, judge, PromptSettings(), settings_for(model), temporal), Shot(), []
    for frame in clip.damaged:
        result, _, shot = restore_frame(chain, shot, frame[None])
        frames.append(result.picture[0])
    return torch.stack(frames)


def measure(clip: MadeClip, frames: Tensor) -> dict[str, float]:
    """Return the figures of the table for restored ``frames``."""
    pairs = [i for i in range(1, len(frames)) if i != clip.cut]
    means = [255 * one.mean((1, 2, 3)) for one in (frames, clip.truth)]
    steps = torch.stack([((means[0][i] - means[0][i - 1]) - (means[1][i] - means[1][i - 1])).abs() for i in pairs])
    warped = []
    for i in pairs:
        before, known = moved(frames[i - 1], clip.views[i - 1], clip.views[i])
        warped.append((255 * (frames[i] - before).abs())[:, known].mean())
    return {
        "step": round(float(steps.mean()), 2),
        "worst step": round(float(steps.max()), 2),
        "psnr": round(float(psnr(frames, clip.truth).mean()), 2),
        "warped": round(float(torch.stack(warped).mean()), 2),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure each clip before and after restoration, and print the table and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.video", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=SHIPPED_RESTORER)
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--temporal", type=int, nargs="+", default=[TEMPORAL], help=f"frames of the window (default {TEMPORAL})")
    parser.add_argument("--frames", type=int, default=20, help="length of a clip (default 20)")
    parser.add_argument("--clip", nargs="+", help="only these, as pan-hazy")
    args = parser.parse_args(argv)
    model = load_restorer(args.model).to(args.device)
    judge = partial(assess, open_assessor(args.assessor, args.device))
    wanted = [one for one in CLIPS if not args.clip or "-".join(one) in args.clip]
    found: dict[str, dict] = {}
    for motion, damage in tqdm(wanted, unit="clip", disable=None):
        clip = make_clip(motion, damage, args.frames)
        rows = {"input": measure(clip, clip.damaged)}
        for temporal in (0, *args.temporal):
            rows[str(temporal)] = measure(clip, restored(model, judge, clip, temporal))
        found[f"{motion}, {damage}"] = rows
        print(motion, damage, json.dumps(rows), file=sys.stderr)
    print("| clip | temporal | step | at worst | PSNR, dB | warped |\n| --- | --- | --- | --- | --- | --- |")
    for name, rows in found.items():
        for temporal, row in rows.items():
            print(f"| {name} | {temporal} | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
