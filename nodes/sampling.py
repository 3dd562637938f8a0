"""This module restores pictures as a prompt asks."""

from collections.abc import Iterator
from functools import partial

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.freed_memory import return_freed_memory
from ..adaqual_core.prompt import Prompt
from ..adaqual_core.sampling.ddim import SCHEDULES
from ..adaqual_core.sampling.restore import restore
from ..adaqual_core.sampling.settings import RestoreSettings, settings_for, working_memory
from .common import (
    ADVANCED,
    AdaQualModel,
    AdaQualPrompt,
    Report,
    check_connected,
    check_offered,
    checked_image,
    frame,
    offered,
    reporter,
    schema,
    stack,
)
from .models import use

_SCHEDULES = ("auto", *SCHEDULES)
_SEED = (
    "Start of the noise, 0 to 2^64 − 1, default 0. The same seed gives the same picture; change it only to see another "
    "variant of strongly damaged regions."
)
_STRENGTH = (
    "How much of the correction is applied, 0 to 1, default 1. Lower it to mix the original back in when the result "
    "looks too clean; 0 gives the input."
)
_STEPS = (
    "Sampling steps, 0 to 100. Default 0: the model's own number, 2 for AdaQual and 25 for WeatherDiffusion. Lower it "
    "for speed, raise it to compare; the time grows with it."
)


def strength_input() -> io.Float.Input:
    """Return the input ``strength``, which several nodes share."""
    return io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=_STRENGTH)


def seed_input() -> io.Int.Input:
    """Return the input ``seed``, which several nodes share."""
    return io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True, tooltip=_SEED)


def steps_input() -> io.Int.Input:
    """Return the input ``steps``, which several nodes share."""
    return io.Int.Input("steps", default=0, min=0, max=100, tooltip=_STEPS)


def restored(model: ModelPatcher, image: Tensor, prompts: Iterator[Prompt], settings: RestoreSettings, report: Report) -> Tensor:
    """Restore a checked IMAGE frame by frame; ``prompts`` yields the prompt of each frame."""
    count = len(image)

    def pictures() -> Iterator[Tensor]:
        for index, prompt in enumerate(prompts):
            result = restore(model.model, frame(image, index), prompt, settings, progress=partial(report, index))
            yield result.picture[0]
            report(index, 1, 1)

    result = stack(pictures(), count)
    return_freed_memory()
    return result


class AdaQualSampler(io.ComfyNode):
    """This node restores pictures as a prompt asks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualSampler",
            display_name="AdaQual Sampler",
            description=(
                "Restores pictures as the adaptive prompt asks, with any model that Load AdaQual Model gives. Skips what "
                "is kept, and shows the result as it grows. Size and alpha stay as they are."
            ),
            search_aliases=["denoise", "dehaze", "derain", "desnow", "low light", "restore"],
            inputs=[
                AdaQualModel.Input("model", tooltip="From Load AdaQual Model."),
                io.Image.Input("image", tooltip="The picture or video frames the prompt was built from, any size."),
                AdaQualPrompt.Input("prompt", tooltip="From Build Adaptive Prompt."),
                seed_input(),
                steps_input(),
                io.Combo.Input(
                    "schedule",
                    options=list(_SCHEDULES),
                    default="auto",
                    **ADVANCED,
                    tooltip=(
                        "Which noise levels the steps visit. Default auto: the model's own. trailing: starts from pure "
                        "noise, which our models are trained for. official: ends at the cleanest level, as in the "
                        "published code of AdaQual-Diff and WeatherDiffusion."
                    ),
                ),
                io.Float.Input(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    **ADVANCED,
                    tooltip=(
                        "Fresh noise between steps, 0 to 1, default 0 (none). Raise it for more variation between "
                        "seeds; it needs at least 2 steps to matter."
                    ),
                ),
                strength_input(),
                io.Int.Input(
                    "tile",
                    default=512,
                    min=64,
                    max=4096,
                    step=64,
                    tooltip=(
                        "Size of a tile in px beside its context, 64 to 4096, default 512. Lower it when memory runs out; raise "
                        "it for speed on large graphics cards. The picture does not change. AdaQual-Diff checkpoints run "
                        "whole up to 4 tiles a side, in local windows above. Not used by WeatherDiffusion."
                    ),
                ),
                io.Int.Input(
                    "overlap",
                    default=64,
                    min=0,
                    max=512,
                    step=16,
                    **ADVANCED,
                    tooltip=(
                        "Context around each tile in px, 0 to 512, default 64. It is raised to what the model can see, "
                        "so seams cannot appear; raising it further only costs time. Our presets only."
                    ),
                ),
                io.Int.Input(
                    "stride",
                    default=16,
                    min=1,
                    max=512,
                    optional=True,
                    **ADVANCED,
                    tooltip=(
                        "WeatherDiffusion only: px from one patch to the next, 1 to the patch's 64 or 128, default 16. "
                        "Raise it for speed; lower it for smoother results, the time grows with the square."
                    ),
                ),
                io.Int.Input(
                    "patch_batch",
                    default=16,
                    min=1,
                    max=1024,
                    optional=True,
                    **ADVANCED,
                    tooltip=(
                        "WeatherDiffusion only: patches at once, 1 to 1024, default 16. Lower it when memory runs out; "
                        "raise it for speed on large graphics cards. The picture does not change."
                    ),
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The restored pictures, as large as the input.")],
        )

    @classmethod
    def validate_inputs(cls, schedule: str | None = None) -> bool | str:
        """Refuse an unknown schedule before anything runs."""
        return offered(schedule=(schedule, _SCHEDULES))

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        image: Tensor,
        prompt: Prompt,
        seed: int,
        steps: int,
        schedule: str,
        eta: float,
        strength: float,
        tile: int,
        overlap: int,
        stride: int = 16,
        patch_batch: int = 16,
    ) -> io.NodeOutput:
        """Sample frame by frame."""
        check_connected(model=(model, object), prompt=(prompt, Prompt))
        check_offered(schedule=(schedule, _SCHEDULES))
        image = checked_image("image", image)
        settings = settings_for(
            model.model,
            steps=steps or None,
            seed=seed,
            schedule=None if schedule == "auto" else schedule,
            eta=eta,
            strength=strength,
            tile=tile,
            overlap=overlap,
            stride=stride,
            patch_batch=patch_batch,
        )
        count, prompted = len(image), len(prompt.severity)
        if prompted != count:
            raise ValueError(
                f"prompt: built for {prompted} pictures, but image holds {count}; connect the same image to Build Adaptive Prompt"
            )
        use(model, memory=working_memory(model.model, settings, *image.shape[1:3]))
        return io.NodeOutput(restored(model, image, (prompt.index(i) for i in range(count)), settings, reporter(count)))
