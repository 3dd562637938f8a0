"""Several versions of a picture into one: the original back where it is good, or the best version of each region."""

from functools import partial

import torch
from comfy_api.latest import io

from ..adaqual_core.checks import check_picture
from ..adaqual_core.prompt import restore_mask
from ..adaqual_core.steer.blend import best_per_region, blend
from .assessing import judged, ready
from .common import AdaQualAssessor, AdaQualQuality, frame, reporter, schema, stack


def _levels() -> io.Int.Input:
    return io.Int.Input("levels", default=4, min=0, max=8, tooltip=(
        "Frequency bands of the blending, 0 to 8, default 4. Raise it when borders between regions show, lower it when "
        "colours of one version reach too far into another; 0 is a plain mix."))  # fmt: skip


def _one(image, index: int):
    picture = frame(image, index if len(image) > 1 else 0)
    check_picture(picture)
    return picture


class AdaQualBlend(io.ComfyNode):
    """Original, processed picture and quality map → blend."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="AdaQualBlend",
            display_name="Quality Blend",
            description=(
                "Puts the original back where it was good, without seams: after an upscaler, a restorer or any sampler that "
                "also changed what needed no change. The processed picture may be larger by any factor."
            ),
            search_aliases=["composite", "laplacian blend", "keep original"],
            inputs=[
                io.Image.Input("original", tooltip="The pictures before; resized to the processed ones."),
                io.Image.Input("processed", tooltip="The pictures after, at any scale; the result has their size."),
                AdaQualQuality.Input("quality", tooltip="Map of the original: one for all pictures, or one per picture."),
                io.Float.Input("preserve", default=4.5, min=1.0, max=5.0, step=0.1, tooltip=(
                    "Quality from which the original returns, 1 to 5, default 4.5. Lower it to keep more of the original, "
                    "raise it to keep less.")),
                _levels(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The blended pictures, as large as the processed ones.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, original, processed, quality, preserve, levels) -> io.NodeOutput:
        """Blend frame by frame."""
        count = len(processed)
        for name, given in (("original", len(original)), ("quality", quality.batch)):
            if given not in (1, count):
                raise ValueError(f"{name}: {given} for {count} processed pictures; give one, or one per picture")
        if (quality.height, quality.width) != tuple(original.shape[1:3]):
            raise ValueError(
                f"quality: the map of a {quality.width}×{quality.height} picture, but original is "
                f"{original.shape[2]}×{original.shape[1]}; connect the map of the original"
            )
        masks, report = restore_mask(quality.cells(), preserve), reporter(count)

        def pictures():
            for index in range(count):
                mask = masks[index if len(masks) > 1 else 0][None]
                yield blend(_one(original, index)[0], _one(processed, index)[0], mask, levels)
                report(index, 1, 1)

        return io.NodeOutput(stack(pictures(), count))


class AdaQualBestPerRegion(io.ComfyNode):
    """Versions of a picture → the best of each region."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        more = "Another version of the same pictures, at any scale; as many pictures as image_1, or one for all."
        return schema(
            node_id="AdaQualBestPerRegion",
            display_name="Best Per Region",
            description=(
                "Takes from several versions of a picture (seeds, models, settings) the best one region by region, judged by "
                "the quality assessor, and joins them without seams."
            ),
            search_aliases=["best of seeds", "choose best", "laplacian blend"],
            inputs=[
                io.Image.Input("image_1", tooltip=(
                    "First version. If nothing else is connected, the pictures of this batch are the versions of one picture "
                    "(four seeds from one sampler).")),
                _levels(),
                *(io.Image.Input(f"image_{i}", optional=True, tooltip=more) for i in (2, 3, 4)),
                AdaQualAssessor.Input("assessor", optional=True, tooltip=(
                    "From Load Quality Assessor. Default: the shipped one when nothing is connected.")),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The joined pictures, as large as the largest version."),
                io.Mask.Output(display_name="choice", tooltip=(
                    "Which version was taken, in even steps from 0 (the first) to 1 (the last).")),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image_1, levels, image_2=None, image_3=None, image_4=None, assessor=None) -> io.NodeOutput:
        """Judge and join picture by picture."""
        versions = [one for one in (image_1, image_2, image_3, image_4) if one is not None]
        if len(versions) == 1:
            versions = list(image_1.split(1))
        if len(versions) < 2:
            raise ValueError("image_1: one picture only; give a batch of versions, or connect image_2")
        count = max(len(one) for one in versions)
        for index, one in enumerate(versions):
            if len(one) not in (1, count):
                raise ValueError(f"version {index + 1}: {len(one)} pictures beside {count}; give one, or as many as the others")
        assessor = ready(assessor)
        report, choices = reporter(count), []

        def pictures():
            for index in range(count):
                pieces = [_one(one, index) for one in versions]
                maps = [judged(assessor, piece, partial(report, index)) for piece in pieces]
                picture, chosen = best_per_region([piece[0] for piece in pieces], maps, levels)
                choices.append(chosen.to(torch.float32) / (len(versions) - 1))
                yield picture
                report(index, 1, 1)

        joined = stack(pictures(), count)
        return io.NodeOutput(joined, stack(choices, count))
