"""This module is classifier-free guidance with a scale that follows the quality map, as ComfyUI's samplers call it."""

from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..adaqual_core.checks import check_range
from ..adaqual_core.grid import HIGHEST, LOWEST, severity_of
from ..adaqual_core.prompt import restore_mask
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.steer.latents import graded, latent_scores


class QualityGuider(comfy.samplers.CFGGuider):
    """This guider scales the guidance at each latent cell by cfg(x) = low + (high − low)·C(s(x)) (our definition), and can hold
    good regions to the original.

    A guidance function that a model patch brings gets the scale as a tensor. Without negative conditioning there is nothing to
    scale, and only the preservation remains. Raises ValueError for numbers outside the ranges of the node's inputs.
    """

    def __init__(
        self,
        model: ModelPatcher,
        quality: QualityMap,
        low: float,
        high: float,
        gamma: float,
        preservation: float,
        preserve: float,
    ) -> None:
        check_range("low", low, 0, 100)
        check_range("high", high, 0, 100)
        check_range("gamma", gamma, 0.1, 5)
        check_range("preservation", preservation, 0, 1)
        check_range("preserve", preserve, LOWEST, HIGHEST)
        super().__init__(model)
        self.quality = quality
        self.low, self.high, self.gamma = low, high, gamma
        self.preservation, self.preserve = preservation, preserve
        self._scale: Tensor | None = None
        self._kept: Tensor | None = None
        self._original: Tensor | None = None

    def sample(self, noise: Tensor, latent_image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Sample, with the map placed on the latent's cells.

        ValueError for a map that does not fit is raised before the model is loaded.
        """
        if latent_image.is_nested:
            raise ValueError("latent_image: holds several latents at once (video with sound); give a latent of pictures or video")
        scores = latent_scores(self.quality, latent_image.shape)
        self._scale = graded(severity_of(scores), self.low, self.high, self.gamma)
        self._kept = None
        if self.preservation > 0:
            if not torch.count_nonzero(latent_image):
                raise ValueError(
                    "latent_image: empty, but preservation keeps the original; connect the picture through VAE Encode, "
                    "or set preservation to 0"
                )
            self._kept = self.preservation * (1 - restore_mask(scores, self.preserve))
        # plain guidance where the map is flat: the scale 1 then costs no second prediction, as in ComfyUI
        flat = float(self._scale.max() - self._scale.min()) == 0
        self.set_cfg(float(self._scale.max()) if flat else max(self.low, self.high, 1.01))
        if flat or "negative" not in self.original_conds:
            self._scale = None
        if "negative" not in self.original_conds:
            self.set_cfg(1.0)
        try:
            return super().sample(noise, latent_image, *args, **kwargs)
        finally:
            self._scale = self._kept = self._original = None

    def inner_sample(self, noise: Tensor, latent_image: Tensor, device: torch.device, *args: Any, **kwargs: Any) -> Tensor:
        """Move scale, mask and original to the device once, then sample."""
        self._scale = None if self._scale is None else self._scale.to(device)
        if self._kept is not None:
            self._kept = self._kept.to(device)
            self._original = self.inner_model.process_latent_in(latent_image)
        return super().inner_sample(noise, latent_image, device, *args, **kwargs)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """Return one guided prediction of the clean latent, held to the original where ``preservation`` says so."""
        if self._scale is not None:
            model_options = self._with_scale(model_options or {}, self._scale)
        denoised = super().predict_noise(x, timestep, model_options or {}, seed)
        if self._kept is not None and self._original is not None:
            denoised = torch.lerp(denoised, self._original.to(denoised), self._kept.to(denoised))
        return denoised

    @staticmethod
    def _with_scale(options: dict, scale: Tensor) -> dict:
        theirs = options.get("sampler_cfg_function")
        if theirs is not None:
            return options | {"sampler_cfg_function": lambda args: theirs(args | {"cond_scale": scale})}

        def guide(args: dict) -> Tensor:
            return torch.lerp(args["uncond_denoised"], args["cond_denoised"], scale.to(args["input"]))

        # first, so that the patches which work on the guided prediction get ours
        return options | {"sampler_post_cfg_function": [guide, *options.get("sampler_post_cfg_function", [])]}
