"""What the nodes share: wire types, the BHWC ↔ BCHW edge, frames of a batch, and progress with cancel and preview."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace

import comfy.model_management
import comfy.utils
import torch
from comfy.cli_args import args
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..adaqual_core.prompt import Prompt
from ..adaqual_core.quality.heatmap import heatmap
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.video.memory import LONGEST

CATEGORY = "AdaQual"
AdaQualModel = io.Custom("ADAQUAL_MODEL")
AdaQualAssessor = io.Custom("ADAQUAL_ASSESSOR")
AdaQualQuality = io.Custom("ADAQUAL_QUALITY")
AdaQualPrompt = io.Custom("ADAQUAL_PROMPT")

NAMES = {
    "low": "low light",
    "rain": "rain",
    "snow": "snow",
    "haze": "haze",
    "raindrops": "raindrops on the lens",
    "blur": "blur",
    "noise": "noise",
    "jpeg": "JPEG damage",
}
"""What tooltips call each kind of damage."""

Report = Callable[..., None]
_TEMPORAL = (
    "For the frames of a clip: how many frames quality, kinds of damage and tone are averaged over, 0 to 240, default {}. 0 "
    "judges every picture by itself, for batches of unrelated pictures. Raise it to 8 or so against flicker, lower it when "
    "the result follows changes of light too slowly. Cuts are found, and nothing is averaged over them."
)
_PREVIEW_SECONDS = 0.2
_PER_PICTURE = ("severity", "length", "restore_mask", "statistics", "kinds", "painted", "view")


def schema(**wanted) -> io.Schema:
    """An io.Schema in our category; fields that the running ComfyUI does not know yet are left out."""
    known = {field.name for field in fields(io.Schema)}
    return io.Schema(**{name: value for name, value in wanted.items() if name in known}, category=CATEGORY)


def frame(image: Tensor, index: int) -> Tensor:
    """One picture of an IMAGE [B, H, W, C] as the core wants it, [1, C, H, W] float32 on the CPU."""
    return image[index : index + 1].movedim(-1, 1).to("cpu", torch.float32)


def frames(image: Tensor) -> Iterator[Tensor]:
    """Every picture of an IMAGE as :func:`frame`."""
    return (frame(image, index) for index in range(len(image)))


def temporal_input(default: int = 0) -> io.Int.Input:
    """The appended input ``temporal`` of the nodes that take the frames of a clip."""
    return io.Int.Input("temporal", default=default, min=0, max=LONGEST, optional=True, tooltip=_TEMPORAL.format(default))


def stack(pictures: Iterable[Tensor], count: int) -> Tensor:
    """Pictures [C, H, W] as an IMAGE, or [H, W] as a MASK: each is written into one array of ``count`` as it comes."""
    result = None
    for index, picture in enumerate(pictures):
        picture = picture.movedim(0, -1) if picture.ndim == 3 else picture
        if result is None:
            device = comfy.model_management.intermediate_device()
            result = torch.empty((count, *picture.shape), dtype=torch.float32, device=device)
        result[index] = picture
    return result


def joined(parts: list[Tensor | None]) -> Tensor | None:
    """Tensors of single pictures as one of a batch; None where any picture has none."""
    return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])


def join_maps(maps: list[QualityMap]) -> QualityMap:
    """The maps of single pictures of one size as one map of a batch."""
    return replace(maps[0], scores=torch.cat([one.scores for one in maps]), kinds=joined([one.kinds for one in maps]))


def join_prompts(prompts: list[Prompt], quality: QualityMap) -> Prompt:
    """The prompts of single pictures as one prompt of a batch."""
    fields_of = {name: joined([getattr(one, name) for one in prompts]) for name in _PER_PICTURE}
    return replace(prompts[0], quality=quality, **fields_of)


def prompt_of(prompt: Prompt, index: int) -> Prompt:
    """The prompt of one picture of the batch."""
    quality = prompt.quality.index(index) if prompt.quality.batch > 1 else prompt.quality
    parts = {name: getattr(prompt, name) for name in _PER_PICTURE}
    return replace(prompt, quality=quality, **{n: None if part is None else part[index : index + 1] for n, part in parts.items()})


def severity_mask(quality: QualityMap) -> Tensor:
    """Severity per pixel as a MASK [B, H, W], 1 = destroyed."""
    singles = (quality.index(i) for i in range(quality.batch))
    return stack((((5 - one.resized(one.height, one.width)) / 4)[0, 0] for one in singles), quality.batch)


def heatmap_image(quality: QualityMap) -> Tensor:
    """The map in the fixed colours of qualities 1 to 5 with a legend below, as an IMAGE."""
    return stack((heatmap(quality.index(i))[0] for i in range(quality.batch)), quality.batch)


def stop_if_cancelled(*_) -> None:
    """A progress function that shows nothing and raises when the user has pressed Cancel."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def reporter(frames: int, stretch: tuple[int, int, int] = (0, 1, 1)) -> Report:
    """A function (frame, done, total, preview) that moves the node's bar, shows the preview and raises on cancel.

    ``stretch`` (a, b, n): these frames move it from a n-ths to b n-ths, for a node whose work has several parts.
    """
    begin, end, parts = stretch
    bar = comfy.utils.ProgressBar(frames)
    shown = 0.0

    def report(index: int, done: int, total: int, preview: Callable[[], Tensor] | None = None) -> None:
        nonlocal shown
        stop_if_cancelled()
        picture, now = None, time.monotonic()
        if preview is not None and (now - shown >= _PREVIEW_SECONDS or done == total):
            pixels = (preview() * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
            # the size is where ComfyUI scales it to, up or down
            picture = ("JPEG", Image.fromarray(pixels), min(args.preview_size, max(pixels.shape)))
            shown = now
        bar.update_absolute(begin * frames * total + (end - begin) * (index * total + done), parts * frames * total, picture)

    return report
