"""This module goes from damaged to restored picture in one node."""

from functools import partial

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..adaqual_core.prompt import PromptSettings, build_prompt
from ..adaqual_core.quality.assess import family_of
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.quality.naming import with_kinds
from ..adaqual_core.sampling.settings import settings_for, working_memory
from ..adaqual_core.video.memory import steady_maps, steady_prompts
from .assessing import judged, namer_beside, ready
from .common import (
    assessor_input,
    checked_image,
    frame,
    frames,
    heatmap_image,
    join_maps,
    model_input,
    reporter,
    schema,
    temporal_input,
)
from .models import MODELS, judge_of, open_network, use
from .prompting import preserve_input
from .sampling import restored, seed_input, steps_input, strength_input


def judge_and_restore(
    image: Tensor,
    strength: float,
    preserve: float,
    seed: int,
    steps: int,
    model: ModelPatcher | None,
    assessor: ModelPatcher | None,
    temporal: int,
) -> tuple[Tensor, QualityMap]:
    """Run the whole chain on an IMAGE [B, H, W, 1, 3 or 4]: return the restored IMAGE and the quality found in the input.

    The arguments are the inputs of the node *Restore Image*; None stands for the shipped network, and 0 steps for the model's
    own number. All frames are judged before any is restored, so that each network has the memory for itself. Both move one
    bar, by their usual share of the time. Raises ValueError that names the input and what is wrong with it.
    """
    image, wishes = checked_image("image", image), PromptSettings(preserve=preserve)
    restorer = model or open_network(MODELS)
    settings = settings_for(restorer.model, steps=steps or None, seed=seed, strength=strength)
    judge, count = ready(assessor), len(image)
    share = round(8 * family_of(judge_of(judge)).share)
    report = reporter(count, (0, share, 8))
    namer = namer_beside(judge)
    single = (with_kinds(judged(judge, frame(image, i), partial(report, i)), frame(image, i), namer) for i in range(count))
    maps = list(steady_maps(frames(image), single, temporal))
    use(restorer, memory=working_memory(restorer.model, settings, *image.shape[1:3]))
    prompts = (build_prompt(frame(image, i), maps[i], wishes) for i in range(count))
    prompts = steady_prompts(frames(image), prompts, temporal)
    pictures = restored(restorer, image, prompts, settings, reporter(count, (share, 8, 8)))
    return pictures, join_maps(maps)


def chain_inputs(temporal: int = 0) -> list[io.Input]:
    """Return the inputs of the nodes that are the whole chain, all but the picture or clip; ``temporal`` is its default."""
    return [
        strength_input(),
        preserve_input(),
        seed_input(),
        steps_input(),
        model_input(),
        assessor_input(),
        temporal_input(temporal),
    ]


class AdaQualRestore(io.ComfyNode):
    """This node is the whole chain: it judges pictures, builds their prompts and restores them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
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
                *chain_inputs(),
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
    def execute(
        cls,
        image: Tensor,
        strength: float,
        preserve: float,
        seed: int,
        steps: int,
        model: ModelPatcher | None = None,
        assessor: ModelPatcher | None = None,
        temporal: int = 0,
    ) -> io.NodeOutput:
        """Restore the batch and show the quality that was found in it."""
        restored, quality = judge_and_restore(image, strength, preserve, seed, steps, model, assessor, temporal)
        return io.NodeOutput(restored, heatmap_image(quality), float(quality.mean.mean()))
