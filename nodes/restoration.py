"""From quality map to restored picture: prompt, sampler, and both in one node."""

from collections.abc import Iterator
from functools import partial

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.kinds import KINDS
from ..adaqual_core.prompt import MAX_LENGTH, Prompt, PromptSettings, build_prompt
from ..adaqual_core.quality.assess import family_of
from ..adaqual_core.quality.naming import lacks_kinds, with_kinds
from ..adaqual_core.quality.placement import fitted
from ..adaqual_core.sampling.ddim import SCHEDULES
from ..adaqual_core.sampling.restore import restore
from ..adaqual_core.sampling.settings import RestoreSettings, settings_for, working_memory
from ..adaqual_core.video.memory import steady_maps, steady_prompts
from .assessing import judged, namer_beside, ready, ready_namer
from .common import (
    ADVANCED,
    NAMES,
    AdaQualModel,
    AdaQualPrompt,
    AdaQualQuality,
    Report,
    assessor_input,
    check_offered,
    checked_image,
    frame,
    frames,
    heatmap_image,
    join_maps,
    join_prompts,
    model_input,
    offered,
    reporter,
    schema,
    stack,
    temporal_input,
)
from .loaders import MODELS, judge_of, open_network, use

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
_PRESERVE = (
    "Regions of at least this quality are kept untouched and not computed, 1 to 5, default 4.5. Lower it to touch less "
    "of the picture; raise it to 5 to restore everything that is not perfect."
)


def strength_input() -> io.Float.Input:
    return io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=_STRENGTH)


def preserve_input() -> io.Float.Input:
    return io.Float.Input("preserve", default=4.5, min=1.0, max=5.0, step=0.1, tooltip=_PRESERVE)


def seed_input() -> io.Int.Input:
    return io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True, tooltip=_SEED)


def steps_input() -> io.Int.Input:
    return io.Int.Input("steps", default=0, min=0, max=100, tooltip=_STEPS)


def _factor(kind: str) -> io.Float.Input:
    return io.Float.Input(
        kind, default=1.0, min=0.0, max=1.0, step=0.05, optional=True,
        tooltip=(
            f"Share of the {NAMES[kind]} to remove, 0 (keep all) to 1 (remove all), default 1. Lower it to leave some or all "
            "in the picture. Needs a map that names kinds of damage."
        ),
    )  # fmt: skip


def _restored(model: ModelPatcher, image: Tensor, prompts: Iterator[Prompt], settings: RestoreSettings, report: Report) -> Tensor:
    """A checked IMAGE restored frame by frame; ``prompts`` gives the prompt of each."""
    count = len(image)

    def pictures() -> Iterator[Tensor]:
        for index, prompt in enumerate(prompts):
            result = restore(model.model, frame(image, index), prompt, settings, progress=partial(report, index))
            yield result.picture[0]
            report(index, 1, 1)

    return stack(pictures(), count)


class AdaQualBuildPrompt(io.ComfyNode):
    """Picture and quality map → adaptive prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="AdaQualBuildPrompt",
            display_name="Build Adaptive Prompt",
            description=(
                "Decides from the quality map what each region is asked to become: how complex its prompt is, and "
                "whether it is touched at all. No text is involved."
            ),
            inputs=[
                io.Image.Input("image", tooltip="What will be restored: the picture or frames the map was made from."),
                AdaQualQuality.Input(
                    "quality", tooltip="From Estimate or Edit Quality Map: one map per picture, or one for all."
                ),
                io.Float.Input(
                    "gamma", default=1.0, min=0.1, max=5.0, step=0.05,
                    tooltip=(
                        "Response of the prompt to damage, 0.1 to 5, default 1. Lower it when mild damage is restored "
                        "too timidly; raise it when mildly damaged regions lose character."
                    ),
                ),
                io.Float.Input(
                    "min_length", default=1.0, min=0.0, max=MAX_LENGTH, step=0.5,
                    tooltip=(
                        "Prompt length for the cleanest regions in tokens, 0 to 16, default 1. Raise it when nearly "
                        "clean regions are left too rough; must not exceed max_length."
                    ),
                ),
                io.Float.Input(
                    "max_length", default=MAX_LENGTH, min=0.0, max=MAX_LENGTH, step=0.5,
                    tooltip=(
                        "Prompt length for destroyed regions in tokens, 0 to 16, default 16. Lower it for a plainer, "
                        "gentler restoration of the worst regions."
                    ),
                ),
                preserve_input(),
                *(_factor(kind) for kind in KINDS),
                temporal_input(),
            ],
            outputs=[
                AdaQualPrompt.Output(display_name="prompt", tooltip="For AdaQual Sampler, with the same picture."),
                io.Mask.Output(
                    display_name="restored_region",
                    tooltip="What will be restored, at the picture's size: 1 = fully, 0 = kept untouched.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, quality, gamma, min_length, max_length, preserve, temporal=0, **factors) -> io.NodeOutput:
        """Build frame by frame; ``factors`` are by kind of damage, 1 where a kind is not given."""
        asked = tuple(factors.get(kind, 1.0) for kind in KINDS)
        settings = PromptSettings(gamma, min_length, max_length, preserve, asked)
        image = checked_image("image", image)
        count = len(image)
        if quality.batch not in (1, count):
            raise ValueError(f"quality: {quality.batch} maps for {count} pictures; give one map, or one per picture")
        quality = fitted(quality, *image.shape[1:3], "image")
        namer = ready_namer() if lacks_kinds(quality) else None
        single = (quality.index(i if quality.batch > 1 else 0) for i in range(count))
        maps = [with_kinds(one, frame(image, i), namer) for i, one in enumerate(single)]
        built = (build_prompt(frame(image, i), maps[i], settings) for i in range(count))
        prompts = list(steady_prompts(frames(image), built, temporal))
        return io.NodeOutput(join_prompts(prompts, quality), stack((p.pixel_mask(0) for p in prompts), count))


class AdaQualSampler(io.ComfyNode):
    """Picture and prompt → restored picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
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
                    "schedule", options=list(_SCHEDULES), default="auto", **ADVANCED,
                    tooltip=(
                        "Which noise levels the steps visit. Default auto: the model's own. trailing: starts from pure "
                        "noise, which our models are trained for. official: ends at the cleanest level, as in the "
                        "published code of AdaQual-Diff and WeatherDiffusion."
                    ),
                ),
                io.Float.Input(
                    "eta", default=0.0, min=0.0, max=1.0, step=0.05, **ADVANCED,
                    tooltip=(
                        "Fresh noise between steps, 0 to 1, default 0 (none). Raise it for more variation between "
                        "seeds; it needs at least 2 steps to matter."
                    ),
                ),
                strength_input(),
                io.Int.Input(
                    "tile", default=512, min=64, max=4096, step=64,
                    tooltip=(
                        "Size of a tile in px beside its context, 64 to 4096, default 512. Lower it when memory runs out; raise "
                        "it for speed on large graphics cards. The picture does not change. AdaQual-Diff checkpoints run "
                        "whole up to 4 tiles a side, in local windows above. Not used by WeatherDiffusion."
                    ),
                ),
                io.Int.Input(
                    "overlap", default=64, min=0, max=512, step=16, **ADVANCED,
                    tooltip=(
                        "Context around each tile in px, 0 to 512, default 64. It is raised to what the model can see, "
                        "so seams cannot appear; raising it further only costs time. Our presets only."
                    ),
                ),
                io.Int.Input(
                    "stride", default=16, min=1, max=512, optional=True, **ADVANCED,
                    tooltip=(
                        "WeatherDiffusion only: px from one patch to the next, 1 to the patch's 64 or 128, default 16. "
                        "Raise it for speed; lower it for smoother results, the time grows with the square."
                    ),
                ),
                io.Int.Input(
                    "patch_batch", default=16, min=1, max=1024, optional=True, **ADVANCED,
                    tooltip=(
                        "WeatherDiffusion only: patches at once, 1 to 1024, default 16. Lower it when memory runs out; "
                        "raise it for speed on large graphics cards. The picture does not change."
                    ),
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The restored pictures, as large as the input.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, schedule=None) -> bool | str:
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
        check_offered(schedule=(schedule, _SCHEDULES))
        image = checked_image("image", image)
        settings = settings_for(
            model.model, steps=steps or None, seed=seed, schedule=None if schedule == "auto" else schedule, eta=eta,
            strength=strength, tile=tile, overlap=overlap, stride=stride, patch_batch=patch_batch,
        )  # fmt: skip
        count, prompted = len(image), len(prompt.severity)
        if prompted != count:
            raise ValueError(
                f"prompt: built for {prompted} pictures, but image holds {count}; connect the same image to Build Adaptive Prompt"
            )
        use(model, memory=working_memory(model.model, settings, *image.shape[1:3]))
        return io.NodeOutput(_restored(model, image, (prompt.index(i) for i in range(count)), settings, reporter(count)))


class AdaQualRestore(io.ComfyNode):
    """The whole chain in one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="AdaQualRestore",
            display_name="Restore Image",
            description=(
                "Restores damaged pictures in one step: haze, low light, rain, snow, noise, blur and JPEG, mixed or in "
                "one corner only. It finds the damage itself and leaves clean regions alone. Nothing has to be set or "
                "downloaded."
            ),
            search_aliases=["denoise", "dehaze", "derain", "desnow", "low light", "repair photo", "clean up"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The picture or video frames to restore, any size; size and alpha are kept, and colours that an alpha "
                        "of 0 hides do not count."
                    ),
                ),
                strength_input(),
                preserve_input(),
                seed_input(),
                steps_input(),
                model_input(),
                assessor_input(),
                temporal_input(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The restored pictures, as large as the input."),
                io.Image.Output(
                    display_name="heatmap",
                    tooltip=(
                        "Quality found in the input, as colours with a legend below: dark violet is 1, yellow is 5. As large as "
                        "the picture; for a batch or video a quarter as wide and high."
                    ),
                ),
                io.Float.Output(display_name="quality_before", tooltip="Mean quality of the input over all pictures, 1 to 5."),
            ],
        )

    @classmethod
    def execute(cls, image, strength, preserve, seed, steps, model=None, assessor=None, temporal=0) -> io.NodeOutput:
        """Judge all frames, then build the prompt and sample frame by frame: each network has the memory for itself.

        Both move one bar, by their usual share of the time.
        """
        image, wishes = checked_image("image", image), PromptSettings(preserve=preserve)
        model = model or open_network(MODELS)
        settings = settings_for(model.model, steps=steps or None, seed=seed, strength=strength)
        assessor, count = ready(assessor), len(image)
        share = round(8 * family_of(judge_of(assessor)).share)
        report = reporter(count, (0, share, 8))
        namer = namer_beside(assessor)
        single = (with_kinds(judged(assessor, frame(image, i), partial(report, i)), frame(image, i), namer) for i in range(count))
        maps = list(steady_maps(frames(image), single, temporal))
        use(model, memory=working_memory(model.model, settings, *image.shape[1:3]))
        prompts = (build_prompt(frame(image, i), maps[i], wishes) for i in range(count))
        prompts = steady_prompts(frames(image), prompts, temporal)
        restored = _restored(model, image, prompts, settings, reporter(count, (share, 8, 8)))
        quality = join_maps(maps)
        return io.NodeOutput(restored, heatmap_image(quality), float(quality.mean.mean()))
