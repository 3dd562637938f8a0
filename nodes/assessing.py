"""This module asks an assessor of any kind for maps, and for one score per picture to sort a batch by."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui
from comfy_execution.graph import ExecutionBlocker
from torch import Tensor

from ..adaqual_core.checks import check_range
from ..adaqual_core.grid import HIGHEST, LOWEST
from ..adaqual_core.quality.assess import assess, family_of, score
from ..adaqual_core.quality.cache import ScoreCache
from ..adaqual_core.quality.estimator import QualityEstimator
from ..adaqual_core.quality.map import QualityMap
from .common import AdaQualAssessor, check_offered, checked_image, frame, offered, reporter, schema
from .models import ASSESSORS, judge_of, open_network, use

_Value = TypeVar("_Value")

ORDERS = ("best first", "worst first", "as given")


def ready(assessor: ModelPatcher | None) -> ModelPatcher:
    """Return the assessor, or the shipped one for None, loaded on its device with room for its work."""
    assessor = assessor or open_network(ASSESSORS)
    use(assessor, memory=family_of(judge_of(assessor)).memory)
    return assessor


def ready_namer() -> QualityEstimator:
    """Return the shipped assessor, which names kinds of damage, loaded with room for its work."""
    return cast(QualityEstimator, judge_of(ready(None)))


def namer_beside(assessor: ModelPatcher) -> QualityEstimator | None:
    """Return None if ``assessor`` names kinds of damage itself, otherwise what :func:`ready_namer` returns."""
    return None if isinstance(judge_of(assessor), QualityEstimator) else ready_namer()


def _cache() -> ScoreCache:
    return ScoreCache(Path(folder_paths.get_user_directory()) / "adaqual" / "scores")


def judged(assessor: ModelPatcher, picture: Tensor, report: Callable[..., None]) -> QualityMap:
    """Return the quality map of one picture [1, 3 or 4, H, W] in [0, 1].

    Scores of slow assessors are kept in the folder user/adaqual/scores and read from there the next time.
    """
    quality = assess(judge_of(assessor), picture, cache=_cache(), progress=report)
    report(1, 1)
    return quality


def _scored(assessor: ModelPatcher, picture: Tensor, report: Callable[..., None]) -> float:
    found = score(judge_of(assessor), picture, cache=_cache(), progress=report)
    report(1, 1)
    return float(found)


def _single(name: str, values: list[_Value]) -> _Value:
    """Return the one value of an input that must be the same for all pictures; ValueError where the values differ."""
    if any(value != values[0] for value in values):
        raise ValueError(f"{name}: {len(values)} different values; all pictures are sorted together, so give one")
    return values[0]


def _taken(batches: list[Tensor], places: list[tuple[int, int]]) -> list[Tensor]:
    """Return the pictures at ``places`` (batch, index): one batch where there is only one to take from, otherwise a batch of
    one for each picture.
    """
    if len(batches) > 1:
        return [batches[batch][i : i + 1] for batch, i in places]
    return [batches[0][torch.tensor([i for _, i in places], device=batches[0].device)]] if places else []


class AdaQualScoreAndSort(io.ComfyNode):
    """This node scores the pictures of a batch, sorts them, and divides them into good and bad ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        scores = "Score of each of these pictures in the same order, as a list."
        return schema(
            node_id="AdaQualScoreAndSort",
            display_name="Score and Sort Images",
            description=(
                "Gives every picture of a batch a quality score from 1 (destroyed) to 5 (clean), sorts them, and parts the "
                "good from the bad at a threshold. When no picture is kept, or none rejected, the nodes behind that "
                "output are not run."
            ),
            is_input_list=True,
            is_output_node=True,
            search_aliases=["sort by quality", "filter images", "cull", "best of batch", "IQA"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The batch or video frames to sort, any size; alpha does not count and is kept. A list of pictures of "
                        "different sizes is sorted as a whole."
                    ),
                ),
                io.Float.Input(
                    "threshold",
                    default=3.0,
                    min=1.0,
                    max=5.0,
                    step=0.05,
                    tooltip=(
                        "Least score of a kept picture, 1 to 5, default 3. Raise it to keep only the best, lower it when too "
                        "much is rejected; 1 keeps everything."
                    ),
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip=(
                        "How both outputs are sorted. Default: best first. Choose worst first to look for what must be "
                        "repaired, as given to keep the order of video frames."
                    ),
                ),
                AdaQualAssessor.Input(
                    "assessor",
                    optional=True,
                    tooltip=(
                        "From Load Quality Assessor. Default: the shipped one when nothing is connected; its score is the mean "
                        "of the quality map. CLIP-IQA and DeQA-Score judge the picture as a whole."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="kept",
                    is_output_list=True,
                    tooltip=(
                        "Pictures that score at least the threshold: a batch if the input is one, a list if the input is a list."
                    ),
                ),
                io.Image.Output(
                    display_name="rejected",
                    is_output_list=True,
                    tooltip=(
                        "Pictures that score less than the threshold: a batch if the input is one, a list if the input is a list."
                    ),
                ),
                io.Float.Output(display_name="kept_scores", is_output_list=True, tooltip=scores),
                io.Float.Output(display_name="rejected_scores", is_output_list=True, tooltip=scores),
                io.String.Output(
                    display_name="report",
                    tooltip=(
                        "One line per picture in the sorted order: its number in the batch or list from 1, its score, kept or "
                        "rejected."
                    ),
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, order: list[str] | None = None) -> bool | str:
        """Refuse an unknown order before anything runs."""
        return offered(order=(order, ORDERS))

    @classmethod
    def execute(
        cls, image: list[Tensor], threshold: list[float], order: list[str], assessor: list[ModelPatcher | None] | None = None
    ) -> io.NodeOutput:
        """Score all pictures that the list holds, then sort.

        ComfyUI gives every input as a list. Where ``image`` is a list of one batch, the kept and the rejected pictures come as
        one batch each; otherwise as lists of single pictures.
        """
        least, wanted_order = _single("threshold", threshold), _single("order", order)
        check_offered(order=(wanted_order, ORDERS))
        check_range("threshold", least, LOWEST, HIGHEST)
        given = [checked_image("image", batch) for batch in image]
        judge = ready(_single("assessor", assessor or [None]))
        places = [(batch, i) for batch in range(len(given)) for i in range(len(given[batch]))]
        report = reporter(len(places))
        scores = [_scored(judge, frame(given[batch], i), partial(report, n)) for n, (batch, i) in enumerate(places)]
        numbers = list(range(len(places)))
        if wanted_order != "as given":
            numbers.sort(key=lambda n: scores[n], reverse=wanted_order == "best first")
        groups = [[n for n in numbers if (scores[n] >= least) == wanted] for wanted in (True, False)]
        sides = [_taken(image, [places[n] for n in group]) or ExecutionBlocker(None) for group in groups]
        lists = [[round(scores[n], 4) for n in group] or ExecutionBlocker(None) for group in groups]
        words = {True: "kept", False: "rejected"}
        text = "\n".join(f"picture {n + 1}: {scores[n]:.2f}, {words[scores[n] >= least]}" for n in numbers)
        return io.NodeOutput(*sides, *lists, text, ui=ui.PreviewText(text))
