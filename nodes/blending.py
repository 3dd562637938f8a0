"""This module joins several versions of a picture: it puts the original back where it is good, or takes the best version of
each region.

It also scales pictures, before they are encoded, to sizes that autoencoders do not crop.
"""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.checks import check_range
from ..adaqual_core.prompt import restore_mask
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.quality.placement import fitted
from ..adaqual_core.steer.blend import align_all, aligned, best_per_region, blend
from ..adaqual_core.visible import filled
from .assessing import judged, ready
from .common import AdaQualAssessor, AdaQualQuality, check_connected, checked_image, frame, reporter, schema, stack


def _levels() -> io.Int.Input:
    return io.Int.Input(
        "levels",
        default=4,
        min=0,
        max=8,
        tooltip=(
            "Frequency bands of the blending, 0 to 8, default 4. Raise it when borders between regions show, lower it when "
            "colours of one version reach too far into another; 0 is a plain mix."
        ),
    )


def _one(image: Tensor, index: int) -> Tensor:
    return frame(image, index if len(image) > 1 else 0)


def _map_of(original: Tensor, quality: QualityMap) -> QualityMap:
    height, width = original.shape[1:3]
    return fitted(quality, height, width, "the original")


class AdaQualBlend(io.ComfyNode):
    """This node puts the original back into a processed picture where a quality map says that the original is good."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualBlend",
            display_name="Quality Blend",
            description=(
                "Puts the original back where it was good, without seams: after an upscaler, a restorer or any sampler that "
                "also changed what needed no change. The processed picture may be larger by any factor, or cropped at the "
                "edges, as VAE Encode does: then the border comes from the original."
            ),
            search_aliases=["composite", "laplacian blend", "keep original"],
            inputs=[
                io.Image.Input("original", tooltip="The pictures before; the result shows all that they show."),
                io.Image.Input(
                    "processed",
                    lazy=True,
                    tooltip=(
                        "The pictures after, at any scale, which the result has. A crop at the edges is put back in its place."
                    ),
                ),
                AdaQualQuality.Input("quality", tooltip="Map of the original: one for all pictures, or one per picture."),
                io.Float.Input(
                    "preserve",
                    default=4.5,
                    min=1.0,
                    max=5.0,
                    step=0.1,
                    tooltip=(
                        "Quality from which the original returns, 1 to 5, default 4.5. Lower it to keep more of the original, "
                        "raise it to keep less."
                    ),
                ),
                _levels(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The blended pictures, at the scale of the processed ones.")],
        )

    @classmethod
    def check_lazy_status(
        cls,
        original: Tensor | None,
        quality: QualityMap | None,
        preserve: float,
        levels: int,
        processed: Tensor | None = None,
    ) -> list[str]:
        """Refuse a map that is not the original's before the processed picture is made, which may take minutes."""
        if original is not None and quality is not None:
            _map_of(checked_image("original", original), quality)
        return ["processed"]

    @classmethod
    def execute(cls, original: Tensor, processed: Tensor, quality: QualityMap, preserve: float, levels: int) -> io.NodeOutput:
        """Blend frame by frame. The region that the processed pictures show is found in the first of them."""
        check_connected(quality=(quality, QualityMap))
        original, processed = checked_image("original", original), checked_image("processed", processed)
        count = len(processed)
        for name, given in (("original", len(original)), ("quality", quality.batch)):
            if given not in (1, count):
                raise ValueError(f"{name}: {given} for {count} processed pictures; give one, or one per picture")
        region = aligned(_one(original, 0)[0], _one(processed, 0)[0], ("original", "processed"))
        masks, report = restore_mask(_map_of(original, quality).cells(), preserve), reporter(count)

        def pictures() -> Iterator[Tensor]:
            for index in range(count):
                mask = masks[index if len(masks) > 1 else 0][None]
                yield blend(_one(original, index)[0], _one(processed, index)[0], mask, levels, region)
                report(index, 1, 1)

        return io.NodeOutput(stack(pictures(), count))


class AdaQualBestPerRegion(io.ComfyNode):
    """This node judges several versions of a picture and joins the best regions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        more = "Another version of the same pictures, at any scale or cropped at the edges; as many as image_1, or one for all."
        return schema(
            node_id="AdaQualBestPerRegion",
            display_name="Best Per Region",
            description=(
                "Takes from several versions of a picture (seeds, models, settings) the best one region by region, judged by "
                "the quality assessor, and joins them without seams."
            ),
            search_aliases=["best of seeds", "choose best", "laplacian blend"],
            inputs=[
                io.Image.Input(
                    "image_1",
                    tooltip=(
                        "First version. If nothing else is connected, the pictures of this batch are the versions of one picture "
                        "(four seeds from one sampler)."
                    ),
                ),
                _levels(),
                *(io.Image.Input(f"image_{i}", optional=True, tooltip=more) for i in (2, 3, 4)),
                AdaQualAssessor.Input(
                    "assessor",
                    optional=True,
                    tooltip=("From Load Quality Assessor. Default: the shipped one when nothing is connected."),
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The joined pictures, at the scale of the largest version."),
                io.Mask.Output(
                    display_name="choice", tooltip=("Which version was taken, in even steps from 0 (the first) to 1 (the last).")
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image_1: Tensor,
        levels: int,
        image_2: Tensor | None = None,
        image_3: Tensor | None = None,
        image_4: Tensor | None = None,
        assessor: ModelPatcher | None = None,
    ) -> io.NodeOutput:
        """Judge and join picture by picture."""
        given = {"image_1": image_1, "image_2": image_2, "image_3": image_3, "image_4": image_4}
        check_connected(image_1=(image_1, Tensor))
        versions = [checked_image(name, one) for name, one in given.items() if one is not None]
        if len(versions) == 1:
            versions = list(versions[0].split(1))
        if len(versions) < 2:
            raise ValueError(
                "image_1: one picture only; give a batch of versions (join those of a list to a batch), or connect image_2"
            )
        count = max(len(one) for one in versions)
        for index, one in enumerate(versions):
            if len(one) not in (1, count):
                raise ValueError(f"version {index + 1}: {len(one)} pictures beside {count}; give one, or as many as the others")
        regions = align_all([_one(one, 0)[0] for one in versions])
        assessor = ready(assessor)
        report, choices = reporter(count), []

        def pictures() -> Iterator[Tensor]:
            for index in range(count):
                pieces = [_one(one, index) for one in versions]
                maps = [judged(assessor, piece, partial(report, index)) for piece in pieces]
                picture, chosen = best_per_region([piece[0] for piece in pieces], maps, levels, regions)
                choices.append(chosen.to(torch.float32) / (len(versions) - 1))
                yield picture
                report(index, 1, 1)

        joined = stack(pictures(), count)
        return io.NodeOutput(joined, stack(choices, count))


class AdaQualScaleToMultiple(io.ComfyNode):
    """This node scales pictures so that VAE Encode crops nothing of them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualScaleToMultiple",
            display_name="Scale to Multiple",
            description=(
                "Scales pictures down by the few pixels that make both sides multiples of a number. Put it before VAE Encode, "
                "which would cut off what is over, and nothing of the picture is lost."
            ),
            search_aliases=["resize", "divisible by 8", "multiple of 64", "VAE crop"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures before VAE Encode, any size; alpha stays."),
                io.Int.Input(
                    "multiple",
                    default=8,
                    min=1,
                    max=256,
                    tooltip=(
                        "Both sides become multiples of this number of px, 1 to 256, default 8, which Stable Diffusion 1.5 and "
                        "XL need. Raise it to 16, 32 or 64 for models that crop to those; a side shorter than it is enlarged to "
                        "it."
                    ),
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The scaled pictures, unchanged where the sizes suit.")],
        )

    @classmethod
    def execute(cls, image: Tensor, multiple: int) -> io.NodeOutput:
        """Scale frame by frame."""
        check_range("multiple", multiple, 1, 256)
        image = checked_image("image", image)
        height, width = (max(multiple, side // multiple * multiple) for side in image.shape[1:3])
        if (height, width) == tuple(image.shape[1:3]):
            return io.NodeOutput(image)

        def scaled(picture: Tensor) -> Tensor:
            result = F.interpolate(filled(picture), (height, width), mode="bicubic", antialias=True)
            return result[0].clamp(picture.min(), picture.max())

        return io.NodeOutput(stack((scaled(_one(image, i)) for i in range(len(image))), len(image)))
