"""Run inside ComfyUI's Python (see tests/inside_items.py): kinds of damage for maps that name none."""

from dataclasses import replace

import pytest
import torch
from inside import comfy  # noqa: F401  ComfyUI first
from pack.adaqual_core.kinds import KINDS
from pack.adaqual_core.quality.bundled import estimate_quality
from pack.adaqual_core.quality.estimator import EstimatorConfig, QualityEstimator
from pack.adaqual_core.weight_files import save_model
from pack.nodes import assessing, models
from pack.nodes.damage_kinds import AdaQualSetDamage
from pack.nodes.prompting import AdaQualBuildPrompt
from pack.nodes.quality import AdaQualEditQuality, AdaQualEstimateQuality, AdaQualMaskToQuality
from small_clip import write_clip

HEIGHT, WIDTH = 64, 96


@pytest.fixture
def estimator(tmp_path, monkeypatch) -> QualityEstimator:
    """A small estimator in place of the shipped assessor."""
    net = QualityEstimator(EstimatorConfig(widths=(8, 8, 8, 16), blocks=(1, 1, 1), dilations=(1,), picture_width=8))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    save_model(net, tmp_path / "kinds.safetensors", {})
    monkeypatch.setattr(assessing, "ASSESSORS", replace(models.ASSESSORS, shipped_path=tmp_path / "kinds.safetensors"))
    return net.requires_grad_(False).eval()


def built(image, quality, **factors):
    return AdaQualBuildPrompt.execute(image, quality, 1.0, 1.0, 16.0, 4.5, **factors).args


def painted() -> torch.Tensor:
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 20:50, 30:71] = 1
    return mask


def test_the_shipped_assessor_names_kinds_for_a_mask(estimator):
    image, mask = torch.rand(2, HEIGHT, WIDTH, 3), painted()
    prompt, region = built(image, AdaQualMaskToQuality.execute(mask).args[0])
    seen = estimate_quality(estimator, image.movedim(-1, 1)).kinds
    assert torch.allclose(prompt.kinds, seen, atol=1e-6) and torch.equal(region, mask.expand(2, -1, -1))
    kept, region = built(image, AdaQualMaskToQuality.execute(mask).args[0], **dict.fromkeys(KINDS, 0.0))
    assert float(kept.kinds.max()) == 0 and float(region.max()) == 0


def test_the_shipped_assessor_names_kinds_for_another_assessor(estimator, tmp_path):
    patcher = models._open_assessor(write_clip(tmp_path / "clip"), torch.device("cpu"), torch.device("cpu"), None)
    image = torch.rand(1, HEIGHT, WIDTH, 3)
    quality = AdaQualEstimateQuality.execute(image, patcher).args[0]
    said = AdaQualSetDamage.execute(quality, "haze", 1.0).args[0]
    seen = estimate_quality(estimator, image.movedim(-1, 1)).kinds
    haze, others = KINDS.index("haze"), [i for i, kind in enumerate(KINDS) if kind != "haze"]
    for given in (quality, said):
        kinds = built(image, given)[0].kinds
        assert torch.allclose(kinds[:, others], seen[:, others], atol=1e-6)
    assert float(kinds[:, haze].min()) == 1
    assert assessing.namer_beside(patcher) is not None


def test_a_painted_region_has_the_kind_that_is_chosen(estimator):
    """It is as severe as the quality says, to the pixel; striking out its kind keeps it, and another kind does not."""
    image, mask = torch.rand(1, HEIGHT, WIDTH, 3), painted()
    clean = AdaQualMaskToQuality.execute(torch.zeros(1, HEIGHT, WIDTH)).args[0]
    edited, heat = AdaQualEditQuality.execute(clean, 3.0, 1.0, 5.0, 1.0, 0.0, mask, "haze").args
    as_seen = AdaQualEditQuality.execute(clean, 3.0, 1.0, 5.0, 1.0, 0.0, mask)
    assert torch.equal(edited.resized(HEIGHT, WIDTH), as_seen.args[0].resized(HEIGHT, WIDTH))
    assert torch.equal(heat, as_seen.args[1])
    prompt, region = built(image, edited)
    assert torch.equal(region, mask) and float(prompt.kinds[:, KINDS.index("haze"), 2, 3]) >= 0.5
    assert float(built(image, edited, haze=0.0)[1].max()) == 0 and torch.equal(built(image, edited, rain=0.0)[1], mask)
    with pytest.raises(ValueError, match="kind: 'fog' is not offered"):
        AdaQualEditQuality.execute(clean, 3.0, 1.0, 5.0, 1.0, 0.0, mask, "fog")
