"""What the modules test_inside_*.py share: the pack, small random-weight models of its families, sampling.

It is also their pytest plugin (see tests/inside_items.py). Importing it loads ComfyUI on the CPU, and the pack as ``pack``.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.cli_args

comfy.cli_args.args.cpu = True  # before the modules that choose a device
import comfy.model_management  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402
from torch import Tensor  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("pack", REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.adaqual_core.quality.map import QualityMap  # noqa: E402
from pack.nodes.steering import AdaQualGuider  # noqa: E402


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random numbers, whichever others run."""
    torch.manual_seed(0)


UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "channel_mult": [1, 2],
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "num_heads": 4,
    "use_spatial_transformer": True,
    "legacy": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
}


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights that keep the size of what passes through them."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            spread = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1
            one = weight.ndim == 1 and name.endswith(("weight", "scale"))
            weight.copy_(torch.randn(weight.shape) * spread + one)
    return network.eval().requires_grad_(False)


def small(kind, settings: dict) -> ModelPatcher:
    """A family's network at a reduced size with random weights, in ComfyUI's own model and patcher."""
    torch.manual_seed(0)
    config = kind(dict(settings))
    config.set_inference_dtype(torch.float32, None)
    model = randomised(config.get_model({}, "", device="cpu"))
    return ModelPatcher(model, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))


@dataclass(frozen=True)
class Case:
    """A model with texts and the latent of an encoded picture or video; a cell of it is ``factor`` px wide."""

    model: ModelPatcher
    positive: list
    negative: list
    latent: Tensor
    factor: int = 8
    start: float = 2.0

    def map(self, scores: Tensor) -> QualityMap:
        """Scores [B, 1, h, w] for the picture that the latent is of."""
        height, width = (side * self.factor for side in self.latent.shape[-2:])
        return QualityMap(scores, height, width, "test")

    def flat(self, score: float, batch: int = 1) -> QualityMap:
        return self.map(torch.full((batch, 1, 1, 1), score))

    def halves(self) -> QualityMap:
        """Perfect on the left, destroyed on the right."""
        scores = torch.full((1, 1, *self.latent.shape[-2:]), 5.0)
        scores[..., self.latent.shape[-1] // 2 :] = 1.0
        return self.map(scores)

    def sides(self, result: Tensor) -> tuple[Tensor, Tensor]:
        """The perfect and the destroyed part of a result under :meth:`halves`."""
        middle = self.latent.shape[-1] // 2
        return result[..., :middle], result[..., middle:]

    def sample(self, guider, steps: int = 1, latent: Tensor | None = None, **given) -> Tensor:
        latent = self.latent if latent is None else latent
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            return guider.sample(
                noise,
                latent,
                comfy.samplers.sampler_object("euler"),
                torch.linspace(self.start, 0, steps + 1),
                disable_pbar=True,
                seed=0,
                **given,
            )

    def plain(self, cfg: float, steps: int = 1, **given) -> Tensor:
        """ComfyUI's own guider; without a negative text if the case has none."""
        guider = comfy.samplers.CFGGuider(self.model)
        guider.inner_set_conds({"positive": self.positive} | ({"negative": self.negative} if self.negative else {}))
        guider.set_cfg(cfg)
        return self.sample(guider, steps, **given)

    def guider(self, quality: QualityMap, low=2.0, high=7.0, preservation=0.0):
        negative = self.negative or None
        return AdaQualGuider.execute(self.model, quality, self.positive, low, high, 1.0, preservation, 4.5, negative).args[0]

    def steered(self, quality: QualityMap, steps: int = 1, preservation=0.0, **given) -> Tensor:
        return self.sample(self.guider(quality, preservation=preservation), steps, **given)


def differ(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors of one shape."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((a - b).abs().max())


def guided_as_by_hand(name: str, case: Case, **given) -> Tensor:
    """A flat map must equal plain guidance, a two-valued one two plain runs cell by cell; the latter's result."""
    low, high = case.plain(2.0, **given), case.plain(7.0, **given)
    right = differ(case.sides(low)[1], case.sides(high)[1])
    assert right > 1e-2, f"{name}: guidance has no effect on this model, {right}"
    for score, cfg in ((5.0, 2.0), (1.0, 7.0), (3.0, 4.5)):
        error = differ(case.steered(case.flat(score), 2, **given), case.plain(cfg, 2, **given))
        print(name, "flat map", score, error)
        assert error <= 1e-5
    result = case.steered(case.halves(), **given)
    errors = differ(case.sides(result)[0], case.sides(low)[0]), differ(case.sides(result)[1], case.sides(high)[1])
    print(name, "two-valued map", errors, "guidance moves by", right)
    assert max(errors) <= 1e-5 * max(1, right / 10)
    return result


def refused(match: str, work: Callable[[], object]) -> None:
    """The work is refused with a ValueError whose message holds ``match``."""
    with pytest.raises(ValueError) as problem:
        work()
    assert match in str(problem.value)


class Clip(comfy.sd.CLIP):
    """ComfyUI's own tokenizer and text encoder of SD 1.5, two layers with random weights; remembers what it encodes."""

    def __init__(self):
        options = {"dtype": torch.float32, "clip_l_model_config": {"num_hidden_layers": 2}}
        super().__init__(comfy.supported_models.SD15(dict(UNET)).clip_target(), model_options=options)
        self.texts = []
        torch.manual_seed(0)
        randomised(self.cond_stage_model)

    def tokenize(self, text):
        self.texts.append(text)
        return super().tokenize(text)


def sd15() -> Case:
    """Stable Diffusion 1.5, two pictures of 64×64 px."""
    model = small(comfy.supported_models.SD15, UNET)
    return Case(model, [[torch.randn(1, 77, 768), {}]], [[torch.randn(1, 77, 768), {}]], torch.randn(2, 4, 8, 8))
