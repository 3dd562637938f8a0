"""This script makes pictures/example.mp4 from the shipped photo: ``.venv/bin/python scripts/make_example_clip.py``.

Three seconds: a camera pans over the clean photo while a bank of haze drifts through it and rain falls everywhere.
"""

from pathlib import Path

import av
import torch
import torch.nn.functional as F
from comfy_server import REPOSITORY
from torch import Tensor

from adaqual_core.damage import degrade
from adaqual_core.imageio import read_picture

CLIP = REPOSITORY / "pictures" / "example.mp4"
FRAMES, RATE, SIDE, SCENE = 30, 10, 224, 256


def scene() -> Tensor:
    """Return the clean photo, [3, SCENE, SCENE] in [0, 1]."""
    photo = read_picture(REPOSITORY / "pictures" / "example_clean.png")[:, :3]
    return F.interpolate(photo, (SCENE, SCENE), mode="bilinear", antialias=True)[0]


def seen(picture: Tensor, index: int) -> Tensor:
    """Return what the camera sees of a scene in frame number ``index``, [3, SIDE, SIDE]."""
    left = round((SCENE - SIDE) * index / (FRAMES - 1))
    return picture[:, 16 : 16 + SIDE, left : left + SIDE]


def true_frames() -> Tensor:
    """Return the frames without damage, [FRAMES, 3, SIDE, SIDE] in [0, 1]."""
    photo = scene()
    return torch.stack([seen(photo, index) for index in range(FRAMES)])


def damaged_frames() -> Tensor:
    """Return the frames of the clip, [FRAMES, 3, SIDE, SIDE] in [0, 1]."""
    photo = scene()
    hazy = degrade(photo, ["haze"], 0.7, seed=3).picture
    grey = torch.full_like(photo, 0.35)
    rain = degrade(grey, ["rain"], 0.4, seed=5).picture - grey
    x, frames = torch.linspace(0, 1, SCENE), []
    for index in range(FRAMES):
        centre = 1.3 * index / (FRAMES - 1) - 0.15
        bank = torch.exp(-(((x - centre) / 0.35) ** 2))
        falling = rain.roll((41 * index, 5 * index), (1, 2))
        frames.append(seen(torch.lerp(photo, hazy, bank) + falling, index).clamp(0, 1))
    return torch.stack(frames)


def write(frames: Tensor, path: Path) -> None:
    """Encode frames [N, 3, H, W] in [0, 1] into a small file."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "veryslow", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[-2:], "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 1
        for pixels in frames.mul(255).round().byte().movedim(1, -1).numpy():
            shown = av.VideoFrame.from_ndarray(pixels.copy(), format="rgb24")
            container.mux(stream.encode(shown.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    write(damaged_frames(), CLIP)
    print(f"{CLIP}: {CLIP.stat().st_size // 1000} kB")
