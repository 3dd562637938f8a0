"""The assessor's labels of photos that are dark in themselves."""

import torch

from adaqual_core.kinds import KINDS
from adaqual_training.assessor import AssessorLoss, Objective
from adaqual_training.darkness import label_dark_photos

LOW = KINDS.index("low")


def _labels(luma: float, *, fit: bool, low: float = 0.0):
    known = torch.ones(1, 8)
    known[0, LOW] = float(fit)
    severity = torch.zeros(1, 9, 4, 4)
    severity[:, 1 + LOW] = low
    return label_dark_photos(torch.full((1, 3, 64, 64), luma), severity, known)


def test_a_dark_photo_is_labelled_by_its_luma():
    dark, known, exact = _labels(0.05, fit=False)
    lighter, *_ = _labels(0.4, fit=False)
    assert 0.5 < float(dark[:, 1 + LOW].mean()) < 0.7 and 0.5 < float(dark[:, 0].mean()) < 0.7
    assert float(lighter[:, 1 + LOW].mean()) < 0.15
    assert known.min() == 1 and exact.min() == 1
    others = [i for i in range(1, 9) if i != 1 + LOW]
    assert dark[:, others].max() == 0


def test_a_dark_crop_of_a_lit_photo_is_left_open_and_a_darkened_one_is_not():
    _, known, exact = _labels(0.1, fit=True)
    assert known[0, LOW] == 0 and exact[0] == 0
    severity, known, exact = _labels(0.1, fit=True, low=0.6)
    assert known.min() == 1 and exact.min() == 1 and torch.equal(severity[:, 1 + LOW], torch.full((1, 4, 4), 0.6))
    assert _labels(0.5, fit=True)[1].min() == 1


def test_a_lower_bound_of_severity_punishes_only_what_lies_below_it():
    class Constant(torch.nn.Module):
        def forward(self, picture, levels):
            return torch.zeros(len(picture), 9, 4, 4)  # severity 0.5

    objective = Objective(Constant(), AssessorLoss(quality=1.0, quality_delta=0.1, kinds=0.0))
    batch = {"picture": torch.zeros(1, 3, 64, 64), "levels": torch.zeros(1, 40), "known": torch.ones(1, 8)}

    def quality(truth: float, exact: float) -> float:
        severity = torch.full((1, 9, 4, 4), truth)
        return float(objective(batch | {"severity": severity, "exact": torch.tensor([exact])})["quality"])

    assert quality(0.2, 0.0) == 0 < quality(0.2, 1.0)
    assert quality(0.8, 0.0) == quality(0.8, 1.0) > 0
