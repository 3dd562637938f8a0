"""This module is CLIP-IQA (arXiv 2207.12396). It scores a picture by how much closer a CLIP puts it to "Good photo." than to "Bad
photo.".

Any CLIP that transformers can save is read from its folder (config.json, model.safetensors). The prompts are constant, so their
token ids are constants, no tokenizer is needed, and only two vectors of the text tower are kept.

The scale is our definition: Q = 1 + 4·p, where p is the probability of the good prompt at CLIP's own temperature,
σ(exp(logit_scale) · (cos(picture, good) − cos(picture, bad))). CLIP-IQA's scale [0, 1] is stretched to [1, 5]; it is not fitted
to opinion scores.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..default_dtype import float32_default
from ..errors import CheckpointError, NumericalError
from ..weight_files import check_readable, read_json

PROMPTS = ((49406, 886, 1125, 269, 49407), (49406, 2103, 1125, 269, 49407))
"""CLIP's token ids of ``Good photo.`` and ``Bad photo.`` between its marks of start and end."""

AGAIN = "download the folder again"


class ClipIqa(nn.Module):
    """This network maps normalised pictures [B, 3, size, size] to scores [B] in [1, 5], and is a :class:`.tiled.Scorer`."""

    name = "CLIP-IQA"
    layer_count = 1
    direction: Tensor

    def __init__(self, clip: Any, texts: Tensor, fingerprint: str):
        super().__init__()
        self.vision, self.projection = clip.vision_model, clip.visual_projection
        self.size: int = clip.config.vision_config.image_size
        self.fingerprint = fingerprint
        # good − bad, with the temperature: the difference of the two logits is one product
        self.register_buffer("direction", (texts[0] - texts[1]) * clip.logit_scale.detach().exp())

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights, in which the network computes."""
        return self.direction.dtype

    def forward(self, pixels: Tensor) -> Tensor:
        features = F.normalize(self.projection(self.vision(pixel_values=pixels)[1]), dim=-1)
        return 1 + 4 * torch.sigmoid((features @ self.direction).float())

    def score(self, count: int, prepare: Callable[[int], Tensor], batch: int, tick: Callable[[int], None]) -> Tensor:
        """Return the scores [count] in [1, 5], float32 on the CPU, of the normalised pictures [3, size, size] of
        ``prepare(i)``."""
        found = []
        with torch.inference_mode():
            for first in range(0, count, batch):
                numbers = range(first, min(first + batch, count))
                pixels = torch.stack([prepare(number) for number in numbers]).to(self.direction)
                found.append(self(pixels).cpu())
                tick(len(numbers))
        scores = torch.cat(found)
        if not bool(torch.isfinite(scores).all()):
            raise NumericalError(f"CLIP-IQA gave NaN or infinity in {self.dtype}; its files are damaged: {AGAIN}")
        return scores


def _weights(file: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors for a CLIP in float32. Its header is checked first."""
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; give a folder with a CLIP's config.json and model.safetensors")
    check_readable(file)
    try:
        with safe_open(file, "pt") as opened:
            shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}
            for key, value in expected.items():
                if shapes.get(key) != tuple(value.shape):
                    found = list(shapes[key]) if key in shapes else "absent"
                    raise CheckpointError(
                        f"{file}: {key} is {found}, {list(value.shape)} by its config.json; the two do not belong together: "
                        f"{AGAIN}"
                    )
            return {key: opened.get_tensor(key).float() for key in expected}
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{file}: not a readable safetensors file ({problem}); it may be truncated: {AGAIN}") from None


def _fingerprint(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        flat = tensors[key].flatten()
        digest.update(f"{key} {tuple(tensors[key].shape)}".encode() + flat[flat.numel() // 2 :][:64].numpy().tobytes())
    return digest.hexdigest()


@float32_default()
def load_clip_iqa(folder: Path) -> ClipIqa:
    """Return the CLIP in ``folder`` as an assessor, float32 on the CPU, in evaluation mode.

    :class:`CheckpointError` is raised for files that cannot be used, and if transformers is not installed (ComfyUI has it).
    """
    folder = Path(folder)
    try:
        from transformers import CLIPConfig, CLIPModel
    except ImportError:
        raise CheckpointError(f"{folder}: CLIP-IQA needs the package transformers; install it, or run it in ComfyUI") from None
    source = folder / "config.json"
    found = read_json(source, AGAIN)
    try:
        model: Any = CLIPModel(CLIPConfig.from_dict(found))
    except Exception as problem:  # transformers raises almost anything for sizes that cannot be
        raise CheckpointError(f"{source}: not the configuration of a CLIP ({problem}); {AGAIN}") from None
    vocabulary = model.config.text_config.vocab_size
    if vocabulary <= max(PROMPTS[0]):
        raise CheckpointError(f"{source}: a vocabulary of {vocabulary} is not CLIP's (49408); choose another CLIP")
    tensors = _weights(folder / "model.safetensors", model.state_dict())
    model.load_state_dict(tensors)
    model.requires_grad_(False).train(False)
    with torch.inference_mode():
        texts = F.normalize(model.text_projection(model.text_model(input_ids=torch.tensor(PROMPTS))[1]), dim=-1)
    return ClipIqa(model, texts.clone(), _fingerprint(tensors)).requires_grad_(False).train(False)
