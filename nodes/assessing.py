"""Asking an assessor of any kind: for maps, and for one score per picture to sort a batch by."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui
from comfy_execution.graph import ExecutionBlocker
from torch import Tensor

from ..adaqual_core.quality.assess import assess, score
from ..adaqual_core.quality.bundled import AssessorNet
from ..adaqual_core.quality.cache import ScoreCache
from ..adaqual_core.quality.map import QualityMap
from .common import AdaQualAssessor, frame, reporter, schema
from .loaders import ASSESSORS, JUDGE, open_network, use

ORDERS = ("best first", "worst first", "as given")


def ready(assessor: ModelPatcher | None) -> ModelPatcher:
    """The assessor, the shipped one for None, loaded with room for its work.

    That is a tile of 1024 px with its context for the embedded one, eight tiles at once for the others.
    """
    assessor = assessor or open_network(ASSESSORS)
    use(assessor, memory=(400 if isinstance(assessor.model, AssessorNet) else 1000) * 2**20)
    return assessor


def _cache() -> ScoreCache:
    return ScoreCache(Path(folder_paths.get_user_directory()) / "adaqual" / "scores")


def judged(assessor: ModelPatcher, picture: Tensor, report: Callable[..., None]) -> QualityMap:
    """The map of one picture [1, C, H, W]; what was scored before is read from user/adaqual/scores."""
    quality = assess(assessor.get_attachment(JUDGE), picture, cache=_cache(), progress=report)
    report(1, 1)
    return quality


def _scored(assessor: ModelPatcher, picture: Tensor, report: Callable[..., None]) -> float:
    found = score(assessor.get_attachment(JUDGE), picture, cache=_cache(), progress=report)
    report(1, 1)
    return float(found)


class AdaQualScoreAndSort(io.ComfyNode):
    """Batch of pictures → the good and the bad ones, sorted, with their scores."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        scores = "Score of each of these pictures in the same order, as a list."
        return schema(
            node_id="AdaQualScoreAndSort",
            display_name="Score and Sort Images",
            description=(
                "Gives every picture of a batch a quality score from 1 (destroyed) to 5 (clean), sorts them, and parts the "
                "good from the bad at a threshold. When no picture is kept, or none rejected, the nodes behind that "
                "output are not run."
            ),
            search_aliases=["sort by quality", "filter images", "cull", "best of batch", "IQA"],
            inputs=[
                io.Image.Input("image", tooltip="The batch or video frames to sort, any size; alpha does not count and is kept."),
                io.Float.Input("threshold", default=3.0, min=1.0, max=5.0, step=0.05, tooltip=(
                    "Least score of a kept picture, 1 to 5, default 3. Raise it to keep only the best, lower it when too "
                    "much is rejected; 1 keeps everything.")),
                io.Combo.Input("order", options=list(ORDERS), default=ORDERS[0], tooltip=(
                    "How both outputs are sorted. Default: best first. Choose worst first to look for what must be "
                    "repaired, as given to keep the order of video frames.")),
                AdaQualAssessor.Input("assessor", optional=True, tooltip=(
                    "From Load Quality Assessor. Default: the shipped one when nothing is connected; its score is the mean "
                    "of the quality map. CLIP-IQA and DeQA-Score judge the picture as a whole.")),
            ],
            outputs=[
                io.Image.Output(display_name="kept", tooltip="Pictures that score at least the threshold."),
                io.Image.Output(display_name="rejected", tooltip="Pictures that score less than the threshold."),
                io.Float.Output(display_name="kept_scores", is_output_list=True, tooltip=scores),
                io.Float.Output(display_name="rejected_scores", is_output_list=True, tooltip=scores),
                io.String.Output(display_name="report", tooltip=(
                    "One line per picture in the sorted order: its number in the batch from 1, its score, kept or rejected.")),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, threshold, order, assessor=None) -> io.NodeOutput:
        """Score frame by frame, then sort."""
        assessor, count = ready(assessor), len(image)
        report = reporter(count)
        scores = [_scored(assessor, frame(image, i), partial(report, i)) for i in range(count)]
        numbers = list(range(count))
        if order != "as given":
            numbers.sort(key=lambda i: scores[i], reverse=order == "best first")
        groups = [[i for i in numbers if (scores[i] >= threshold) == wanted] for wanted in (True, False)]
        images = [image[torch.tensor(group, device=image.device)] if group else ExecutionBlocker(None) for group in groups]
        lists = [[round(scores[i], 4) for i in group] or ExecutionBlocker(None) for group in groups]
        words = {True: "kept", False: "rejected"}
        text = "\n".join(f"picture {i + 1}: {scores[i]:.2f}, {words[scores[i] >= threshold]}" for i in numbers)
        return io.NodeOutput(*images, *lists, text, ui=ui.PreviewText(text))
