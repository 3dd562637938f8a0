"""A CLIP of a few random weights with the published vocabulary, in a folder as transformers saves it."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

SIDE = 48


def write_clip(folder: Path, seed: int = 0) -> Path:
    """Its weights are large enough that pictures get clearly different scores."""
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 8}
    config = CLIPConfig(
        text_config=tower | {"vocab_size": 49408}, vision_config=tower | {"image_size": SIDE, "patch_size": 12}, projection_dim=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1 / parameter.shape[-1] ** 0.5)
        model.save_pretrained(folder)
    return folder
