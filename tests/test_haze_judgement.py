"""What the embedded assessor says of low light and haze, corrected for the whole picture."""

import pytest
import torch
from small import assessor, picture

from adaqual_core.grid import quality_of, severity_of
from adaqual_core.kinds import KINDS
from adaqual_core.quality import bundled
from adaqual_core.quality.haze_judgement import correct_haze


def judged(cells: int = 1, **severities: float) -> torch.Tensor:
    kinds = torch.zeros(1, len(KINDS), 2, 3)
    for kind, severity in severities.items():
        kinds[:, KINDS.index(kind), :, :cells] = severity
    return kinds


def corrected(kinds: torch.Tensor, severity: float = 0.0) -> torch.Tensor:
    """Return the corrected overall severity and severities by kind, [B, 9, h, w]."""
    return torch.cat(correct_haze(torch.full_like(kinds[:, :1], severity), kinds), 1)


def of(found: torch.Tensor, kind: str) -> float:
    return float(found[0, 1 + KINDS.index(kind), 0, 0])


@pytest.mark.parametrize("low, haze, kept", [(0.1, 0.3, 0), (0.2, 0.3, 0), (0.3, 0.3, 1), (0.3, 0.1, 1), (0.3, 0, 1)])
def test_faint_low_light_beside_haze_is_struck_out(low, haze, kept):
    assert of(corrected(judged(cells=3, low=low, haze=haze)), "low") == pytest.approx(kept * low, abs=1e-5)


@pytest.mark.parametrize("haze, other, thicker", [(0.3, 0, True), (0.3, 0.12, True), (0.3, 0.23, False), (0.3, 0.5, False)])
@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg"])
def test_haze_that_leads_is_three_times_as_thick_and_makes_the_picture_worse(haze, other, kind, thicker):
    found, thick = corrected(judged(cells=3, haze=haze, **{kind: other}), 0.25), 1 - (1 - haze) ** 3
    assert of(found, "haze") == pytest.approx(thick if thicker else haze, abs=1e-5)
    assert of(found, kind) == pytest.approx(other)
    assert float(found[0, 0, 0, 0]) == pytest.approx(0.8 * thick if thicker else 0.25, abs=1e-5)


@pytest.mark.parametrize("kind", ["rain", "snow"])
@pytest.mark.parametrize("wet, struck", [(0.1, 0), (0.16, 0), (0.26, 0.5), (0.36, 1), (0.8, 1)])
def test_haze_beside_rain_or_snow_goes_out_and_low_light_is_halved(kind, wet, struck):
    for other, most in (("low", 0.5), ("haze", 1.0)):
        found = corrected(judged(cells=3, noise=0.9, **{other: 0.4, kind: wet}))
        assert of(found, other) == pytest.approx(0.4 * (1 - most * struck), abs=1e-5) and of(found, kind) == pytest.approx(wet)


@pytest.mark.parametrize("haze", [0.0, 0.2, 0.5])
def test_worse_is_never_made_better(haze):
    assert float(corrected(judged(cells=3, haze=haze), 0.9)[0, 0, 0, 0]) == pytest.approx(0.9)


def test_undamaged_pictures_and_fields_without_haze_stay():
    assert not corrected(judged()).any()
    dark = judged(cells=2, low=0.7, noise=0.4, jpeg=0.2)
    assert torch.equal(corrected(dark, 0.5)[:, 1:], dark) and (corrected(dark, 0.5)[:, 0] == 0.5).all()


def test_what_is_corrected_changes_smoothly():
    """The frames of a clip do not flicker: a step of 0.01 in one estimate never moves another by more than ten times as much."""
    steps = torch.arange(0, 1, 0.01)
    for kind, fixed in (("low", "haze"), ("haze", "low"), ("haze", "rain"), ("rain", "haze"), ("snow", "low")):
        found = torch.cat([corrected(judged(cells=3, **{kind: float(step), fixed: 0.3})) for step in steps])
        assert (found[1:] - found[:-1]).abs().max() < 0.1


def test_every_picture_of_a_batch_is_judged_alone():
    both = torch.cat((judged(haze=0.4, low=0.1), judged(cells=2, rain=0.5, haze=0.2)))
    assert torch.equal(corrected(both), torch.cat([corrected(one) for one in both.split(1)]))


def test_the_assessor_gives_a_corrected_map(monkeypatch):
    net, pixels = assessor(), picture(64, 96)
    monkeypatch.setattr(bundled, "correct_haze", lambda severity, kinds: (severity, kinds))
    plain = bundled.estimate_quality(net, pixels)
    monkeypatch.undo()
    found, (severity, kinds) = bundled.estimate_quality(net, pixels), correct_haze(severity_of(plain.scores), plain.kinds)
    assert torch.equal(found.kinds, kinds) and not torch.equal(plain.kinds, kinds)
    assert torch.equal(found.scores, quality_of(severity))
