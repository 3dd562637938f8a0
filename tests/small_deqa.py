"""A DeQA-Score of a few thousand random weights with the published vocabulary, for tests."""

from pathlib import Path

import torch

from adaqual_core.quality.deqa.config import parse_config
from adaqual_core.quality.deqa.network import DeqaNet
from adaqual_core.quality.deqa.preprocess import PUBLISHED_PROMPT
from adaqual_core.quality.deqa.scorer import DeqaScorer, load_deqa
from adaqual_core.quality.deqa.shards import save_shards

CONFIG = {
    "model_type": "mplug_owl2",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32000,
    "visual_config": {
        "visual_model": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 48,
            "patch_size": 12,
        },
        "visual_abstractor": {
            "num_learnable_queries": 3,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
    },
}


def network(config: dict = CONFIG, seed: int = 0) -> DeqaNet:
    """Every weight is random and large enough that pictures get clearly different scores."""
    net = DeqaNet(parse_config(config, "test"))
    generator = torch.Generator().manual_seed(seed)
    state = net.state_dict()
    for key, tensor in state.items():
        one = key.endswith("weight") and tensor.ndim == 1
        width = {"model.embed_tokens.weight": 0.2, "lm_head.weight": 0.3}.get(key, 3 / tensor.shape[-1] ** 0.5)
        tensor.copy_(one + (0.2 if tensor.ndim == 1 else width) * torch.randn(tensor.shape, generator=generator))
    return net.requires_grad_(False).eval()


def write(folder: Path, net: DeqaNet, config: dict = CONFIG, limit: int = 10**6) -> Path:
    """The network as published files, in several shards; the vocabulary's tables are a shard each."""
    save_shards(folder, config, net.state_dict().items(), limit)
    return folder


def scorer(folder: Path, **options) -> DeqaScorer:
    return load_deqa(write(folder, network()), **options)


def pixels(count: int, seed: int = 0, size: int = 48) -> torch.Tensor:
    """Normalised pictures [count, 3, size, size]."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


PROMPT = PUBLISHED_PROMPT
