"""``python -m adaqual_training.distil --assessor DEQA --pictures FOLDER`` trains the embedded assessor on the maps of a large
one.

First the pictures of the folder are labelled with the quality maps of the teacher (DeQA-Score, or any assessor). The scores are
kept in the run's folder, so an interrupted labelling continues. Then the embedded assessor is trained further on random crops of
pictures and maps. Every tenth picture is held out and only measured. The pictures should be of all qualities, damaged ones
included: the student learns nothing about damage that the teacher never judged. The teacher names no kinds of damage; what the
student says of them is held at what it said before. The teacher sees the whole picture, the student in training only a crop and
the whole picture's levels and detail. Therefore a part of the error remains.
"""

import argparse
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from adaqual_core.grid import CELL
from adaqual_core.image_statistics import levels_and_detail
from adaqual_core.imageio import picture_shape, read_picture
from adaqual_core.pictures.folders import find_pictures
from adaqual_core.quality.assess import Assessor, assess, open_assessor
from adaqual_core.quality.bundled import SHIPPED_ASSESSOR, estimate_quality, load_assessor
from adaqual_core.quality.cache import ScoreCache
from adaqual_core.quality.estimator import QualityEstimator
from adaqual_training.assessor import spearman
from adaqual_training.loop import Run

HELD = 10
"""One picture in this many is held out."""
KINDS_KEPT = 100.0
"""Weight of the squared change of the severities by kind, beside the absolute error of the score."""


@dataclass(frozen=True)
class Labelled:
    """This class is a labelled picture: uint8 pixels [3, H, W], the teacher's scores for its cells [ceil(H/16), ceil(W/16)] in
    [1, 5], and the whole picture's statistics [LEVELS_AND_DETAIL].
    """

    pixels: Tensor
    scores: Tensor
    statistics: Tensor

    def picture(self) -> Tensor:
        """Return the picture as assessors take it, [1, 3, H, W] in [0, 1]."""
        return self.pixels[None].float() / 255


def check_pictures(folder: Path, size: int) -> list[Path]:
    """Return the pictures of a folder by name. ValueError is raised unless all can give a crop of ``size`` px and some can be
    held out."""
    if size < 2 * CELL or size % CELL:
        raise ValueError(f"size: {size}; give a multiple of {CELL} px of at least {2 * CELL} (128 suits most folders)")
    found = find_pictures(folder)
    if len(found) < HELD:
        raise ValueError(f"pictures: only {len(found)} in {folder}; give at least {HELD}, of which one in {HELD} is held out")
    for path in found:
        height, width = picture_shape(path)[1:]
        if min(height, width) < size:
            raise ValueError(f"pictures: {path} is {width}×{height} px, smaller than a crop of {size}; remove it or lower --size")
    return found


def label(teacher: Assessor, paths: list[Path], cache: ScoreCache) -> list[Labelled]:
    """Return every picture with the teacher's map. Scores that the cache holds are not computed again."""
    labelled = []
    for path in tqdm(paths, desc="labelling", unit="picture", disable=None):
        picture = read_picture(path)[:, :3]
        scores = assess(teacher, picture, cache=cache).cells()[0, 0]
        labelled.append(Labelled((picture[0] * 255).round().to(torch.uint8), scores, levels_and_detail(picture)[0]))
    return labelled


def crops(labelled: list[Labelled], size: int, batch: int, rng: random.Random) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield batches without end: crops of pictures [B, 3, size, size] in [0, 1], their scores [B, 1, size/16, size/16], and the
    statistics [B, LEVELS_AND_DETAIL] of the whole pictures. Crops are cut on the grid of cells."""
    cells = size // CELL
    while True:
        pixels, scores, statistics = [], [], []
        for _ in range(batch):
            one = rng.choice(labelled)
            top, left = (rng.randint(0, side // CELL - cells) for side in one.pixels.shape[1:])
            part = one.pixels[:, CELL * top : CELL * top + size, CELL * left : CELL * left + size]
            target = one.scores[top : top + cells, left : left + cells]
            if rng.random() < 0.5:
                part, target = part.flip(-1), target.flip(-1)
            pixels.append(part)
            scores.append(target[None])
            statistics.append(one.statistics)
        yield torch.stack(pixels).float() / 255, torch.stack(scores), torch.stack(statistics)


def evaluate(net: QualityEstimator, labelled: list[Labelled]) -> dict[str, float]:
    """Return the mean absolute difference from the teacher in quality units, and the rank correlation, over all cells of all
    pictures."""
    found = torch.cat([estimate_quality(net, one.picture()).scores.flatten() for one in labelled])
    wanted = torch.cat([one.scores.flatten() for one in labelled])
    return {"error": round(float((found - wanted).abs().mean()), 4), "srcc": round(spearman(found, wanted), 4)}


def distil(args: argparse.Namespace) -> None:
    """Label, then train until ``args.hours`` of this session have passed; resume from the run's state."""
    folder, device = Path(args.run), torch.device(args.device)
    paths = check_pictures(Path(args.pictures), args.size)
    model = load_assessor(args.init)
    teacher = open_assessor(args.assessor, device)
    labelled = label(teacher, paths, ScoreCache(folder / "scores"))
    del teacher
    held = labelled[::HELD]
    learned = [one for number, one in enumerate(labelled) if number % HELD]
    before = copy.deepcopy(model).to(device)
    run = Run(folder, model, args.rate, args.hours, device)
    batches = crops(learned, args.size, args.batch, random.Random(f"{args.seed}/{run.done.iteration}"))
    print(f"{len(learned)} pictures to learn, {len(held)} held out: {evaluate(run.average, held)} before", flush=True)
    running, finished = None, False
    while not finished:
        pictures, targets, statistics = (part.to(device) for part in next(batches))
        scores, kinds = run.model.severities(pictures, statistics)
        with torch.inference_mode():
            kept = before.severities(pictures, statistics)[1]
        loss = (scores - targets).abs().mean() + KINDS_KEPT * (kinds - kept).square().mean()
        run.step(loss, 0.998)
        running = loss.item() if running is None else running + (loss.item() - running) / 100
        finished = run.finished()
        if run.done.iteration % args.every == 0 or finished:
            run.save("assessor.safetensors", loss=round(running, 4), **evaluate(run.average, held))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the script's options."""
    parser = argparse.ArgumentParser(
        prog="python -m adaqual_training.distil", description="Fine-tune the embedded assessor on a larger one's quality maps."
    )
    parser.add_argument("--assessor", required=True, help="the teacher: folder of a DeQA-Score model, or another assessor")
    parser.add_argument("--pictures", required=True, help="folder of pictures of all qualities, at least ten")
    parser.add_argument("--run", default="runs/distil", help="folder of scores, state, log and weights; resumed from")
    parser.add_argument("--init", default=SHIPPED_ASSESSOR, help="start from this assessor (default: the shipped one)")
    parser.add_argument("--hours", type=float, default=1.0, help="train for so many hours (default 1)")
    parser.add_argument("--batch", type=int, default=16, help="crops per iteration (default 16)")
    parser.add_argument("--size", type=int, default=128, help="side of a crop in px, a multiple of 16 (default 128)")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate (default 1e-4)")
    parser.add_argument("--every", type=int, default=250, help="iterations between evaluations (default 250)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


if __name__ == "__main__":
    distil(parser().parse_args())
