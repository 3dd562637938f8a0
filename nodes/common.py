"""This module holds what the nodes share: types of wires, the change between ComfyUI's layout [B, H, W, C] and the core's [B,
C, H, W], frames of a batch, and progress with cancel and preview.
"""

import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..adaqual_core.checks import check_tensor
from ..adaqual_core.grid import severity_of
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
ADVANCED: dict[str, Any] = {"advanced": True} if "advanced" in inspect.signature(io.Int.Input).parameters else {}
"""What marks a rarely used input, which the front end folds away; nothing where the running ComfyUI does not know it yet."""

Report = Callable[..., None]
_TEMPORAL = (
    "For the frames of a clip: how many frames quality, kinds of damage and tone are averaged over, 0 to 240, default {}. 0 "
    "judges every picture by itself, for batches of unrelated pictures. Raise it to 8 or so against flicker, lower it when "
    "the result follows changes of light too slowly. Cuts are found, and nothing is averaged over them."
)
_PREVIEW_SECONDS = 0.2
OF_A_BATCH = 4
"""Divisor of the sides of pictures that only show a map, where there are several: ComfyUI keeps them whether or not anything is
connected, and they must not take as much memory as a video itself."""


def schema(**wanted: Any) -> io.Schema:
    """Return an io.Schema in our category, without the fields that the running ComfyUI does not know yet."""
    known = {field.name for field in fields(io.Schema)}
    return io.Schema(**{name: value for name, value in wanted.items() if name in known}, category=CATEGORY)


def offered(**choices: tuple[object, Sequence[str]]) -> bool | str:
    """Return True if each input's value is one of its options, otherwise a message that names the input and lists them.

    ``validate_inputs`` of a node returns the result. A value of None is not checked: the input is linked, and its value is
    known only when the node runs. A value may be a list of values, for nodes that take lists.
    """
    for name, (value, options) in choices.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and one not in options:
                return f"{name}: {one!r} is not offered; choose one of {', '.join(options)}"
    return True


def check_offered(**choices: tuple[object, Sequence[str]]) -> None:
    """Raise ValueError with the message of :func:`offered`. A node calls it when it runs, for values that came through a link."""
    answer = offered(**choices)
    if answer is not True:
        raise ValueError(answer)


def check_connected(**given: tuple[object, type]) -> None:
    """Raise ValueError, which names the input, unless each input's value (value, type) is of that type and not None.

    ComfyUI lets nodes of other packs that give any type, such as switches, pass on nothing or something else. For types of wires
    that are not ours the type is ``object``: other packs may give something that only behaves like ComfyUI's own.
    """
    for name, (value, kind) in given.items():
        if value is None or not isinstance(value, kind):
            raise ValueError(
                f"{name}: {type(value).__name__} came through the connection; connect a node that gives what is needed"
            )


def checked_image(name: str, image: Tensor) -> Tensor:
    """Return an IMAGE [B, H, W, 1, 3 or 4] as [B, H, W, 3], or as [B, H, W, 4] with alpha; grey gets three equal channels.

    Raises ValueError for what is no tensor, for other shapes, for NaN and infinity in any picture, and for whole numbers such as
    0 to 255. It names the input and what is wrong with it, in ComfyUI's layout.
    """
    check_tensor(name, image)
    shape = list(image.shape)
    if image.ndim != 4 or shape[3] not in (1, 3, 4):
        raise ValueError(
            f"{name}: shape {shape}; an IMAGE is [batch, height, width, channels] with 3 channels, 4 with alpha, or 1 for grey"
        )
    if 0 in shape:
        raise ValueError(f"{name}: shape {shape} holds no picture; connect a batch of at least one, with no side of 0 px")
    if not image.is_floating_point():
        raise ValueError(f"{name}: {image.dtype}; an IMAGE holds floating-point values from 0 to 1, so divide 0..255 by 255")
    spoilt = next((number for number, one in enumerate(image, 1) if not bool(torch.isfinite(one).all())), None)
    if spoilt is not None:
        raise ValueError(f"{name}: picture {spoilt} of {len(image)} holds NaN or infinity; repair the node that made it")
    if any(float(one.max()) >= 2 and torch.equal(one, one.round()) for one in image):
        raise ValueError(
            f"{name}: whole numbers up to {float(image.max()):g}; an IMAGE goes from 0 to 1, so divide 0..255 by 255"
        )
    return image.expand(-1, -1, -1, 3) if shape[3] == 1 else image


def checked_mask(name: str, mask: Tensor) -> Tensor:
    """Return a MASK as [B, H, W], float32 on the CPU.

    [H, W], [B, 1, H, W] and [B, H, W, 1] are accepted, because core nodes accept them too. Raises ValueError for other shapes,
    for what is no tensor, for integers up to 255, and for NaN or infinity. It names the input and what is wrong with it, in
    ComfyUI's layout.
    """
    check_tensor(name, mask)
    shape = list(mask.shape)
    if mask.ndim == 4 and 1 in (shape[1], shape[3]):
        mask = mask.squeeze(1) if shape[1] == 1 else mask.squeeze(3)
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise ValueError(f"{name}: shape {shape}; a MASK is [batch, height, width]")
    if 0 in shape:
        raise ValueError(f"{name}: shape {shape} holds no mask; connect a batch of at least one, with no side of 0 px")
    if not mask.is_floating_point() and float(mask.max()) > 1:
        raise ValueError(f"{name}: {mask.dtype} up to {int(mask.max())}; a MASK goes from 0 to 1, so divide 0..255 by 255")
    mask = mask.to("cpu", torch.float32)
    if not bool(torch.isfinite(mask).all()):
        raise ValueError(f"{name}: holds NaN or infinity; repair the node that made it")
    return mask


def frame(image: Tensor, index: int) -> Tensor:
    """Return one picture of an IMAGE [B, H, W, C] in the core's layout, [1, C, H, W] float32 on the CPU."""
    return image[index : index + 1].movedim(-1, 1).to("cpu", torch.float32)


def frames(image: Tensor) -> Iterator[Tensor]:
    """Yield every picture of an IMAGE [B, H, W, C] as :func:`frame` returns it."""
    return (frame(image, index) for index in range(len(image)))


def temporal_input(default: int = 0) -> io.Int.Input:
    """Return the input ``temporal``, which was appended to the nodes that take the frames of a clip."""
    return io.Int.Input("temporal", default=default, min=0, max=LONGEST, optional=True, tooltip=_TEMPORAL.format(default))


def model_input() -> io.Input:
    """Return the optional input ``model``; nodes use the shipped restorer where nothing is connected to it."""
    said = "From Load AdaQual Model. Default: the shipped one when nothing is connected."
    return AdaQualModel.Input("model", optional=True, tooltip=said)


def assessor_input() -> io.Input:
    """Return the optional input ``assessor``; nodes use the shipped assessor where nothing is connected to it."""
    said = "From Load Quality Assessor. Default: the shipped one when nothing is connected."
    return AdaQualAssessor.Input("assessor", optional=True, tooltip=said)


def stack(pictures: Iterable[Tensor], count: int) -> Tensor:
    """Join ``count`` pictures [C, H, W] to an IMAGE, or masks [H, W] to a MASK.

    Each is written into one array as it comes, so that they are not held twice. Raises ValueError where none comes.
    """
    result: Tensor | None = None
    for index, picture in enumerate(pictures):
        picture = picture.movedim(0, -1) if picture.ndim == 3 else picture
        if result is None:
            device = comfy.model_management.intermediate_device()
            result = torch.empty((count, *picture.shape), dtype=torch.float32, device=device)
        result[index] = picture
    if result is None:
        raise ValueError("pictures: none; connect a batch of at least one")
    return result


def joined(parts: list[Tensor | None]) -> Tensor | None:
    """Return tensors of single pictures as one tensor of a batch; None if any picture has none."""
    return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])


def join_maps(maps: list[QualityMap]) -> QualityMap:
    """Return the quality maps of single pictures of one size as one map of a batch."""
    return replace(maps[0], scores=torch.cat([one.scores for one in maps]), kinds=joined([one.kinds for one in maps]))


def join_prompts(prompts: list[Prompt], quality: QualityMap) -> Prompt:
    """Return the prompts of single pictures as one prompt of a batch, for ``quality``, the map of the batch."""
    names = [field.name for field in fields(Prompt) if field.name != "quality"]
    return replace(prompts[0], quality=quality, **{name: joined([getattr(one, name) for one in prompts]) for name in names})


def severity_mask(quality: QualityMap) -> Tensor:
    """Return the severity per pixel as a MASK [B, H, W] in [0, 1], 1 = destroyed."""
    singles = (quality.index(i) for i in range(quality.batch))
    return stack((severity_of(one.resized(one.height, one.width))[0, 0] for one in singles), quality.batch)


def heatmap_image(quality: QualityMap) -> Tensor:
    """Return the quality map in the fixed colours of qualities 1 to 5, with a legend below, as an IMAGE.

    A single map is shown as large as its picture. Maps of a batch are shown at a quarter of the sides, which still shows every
    cell of 16 px.
    """
    part = 1 if quality.batch == 1 else OF_A_BATCH
    height, width = -(-quality.height // part), -(-quality.width // part)
    singles = (quality.index(i).resized(height, width) for i in range(quality.batch))
    return stack((heatmap(QualityMap(scores, height, width, quality.assessor))[0] for scores in singles), quality.batch)


def stop_if_cancelled(*_: object) -> None:
    """Raise ComfyUI's exception for an interrupt when the user has pressed Cancel. As a progress function it shows nothing."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def previews_wanted(method: LatentPreviewMethod, command_line: Sequence[str]) -> bool:
    """Return whether the sampler shows previews: it does unless ComfyUI was started with ``--preview-method none``.

    ComfyUI's ``method`` is also "none" where that option was not given. Then the user has declined nothing, and our previews
    are shown: they need no second network.
    """
    declined = any(word.split("=")[0] == "--preview-method" for word in command_line)
    return method != LatentPreviewMethod.NoPreviews or not declined


def reporter(frames: int, stretch: tuple[int, int, int] = (0, 1, 1)) -> Report:
    """Return a function (frame, done, total, preview) that moves the node's bar, shows the preview and raises on cancel.

    ``frames`` is the number of frames. ``stretch`` (a, b, n) is for a node whose work has several parts: these frames move the
    bar from a/n to b/n of its length.
    """
    begin, end, parts = stretch
    bar = comfy.utils.ProgressBar(frames)
    shown, visible = 0.0, previews_wanted(args.preview_method, sys.argv)

    def report(index: int, done: int, total: int, preview: Callable[[], Tensor] | None = None) -> None:
        nonlocal shown
        stop_if_cancelled()
        picture, now = None, time.monotonic()
        if visible and preview is not None and (now - shown >= _PREVIEW_SECONDS or done == total):
            pixels = (preview() * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
            # the size is where ComfyUI scales it to, up or down
            picture = ("JPEG", Image.fromarray(pixels), min(args.preview_size, max(pixels.shape)))
            shown = now
        bar.update_absolute(begin * frames * total + (end - begin) * (index * total + done), parts * frames * total, picture)

    return report
