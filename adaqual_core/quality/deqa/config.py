"""This module reads the sizes of an mPLUG-Owl2 network from the ``config.json`` that is published with the weights."""

import json
from dataclasses import MISSING, dataclass, fields

from ...errors import CheckpointError

MOST, MOST_LAYERS = 10**6, 1000
"""Largest size and number of layers that a configuration may state; the published ones are 32,000 and 32."""


@dataclass(frozen=True)
class VisionConfig:
    """This class holds the sizes of the vision tower, a ViT on ``image_size``² px in patches of ``patch_size`` px (448 and 14 as
    published).
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int
    layer_norm_eps: float = 1e-6

    @property
    def tokens(self) -> int:
        """Return the number of vision tokens: one per patch, and the class token (1025 as published)."""
        return (self.image_size // self.patch_size) ** 2 + 1


@dataclass(frozen=True)
class AbstractorConfig:
    """This class holds the sizes of the abstractor, which summarises the vision tokens in ``num_learnable_queries`` tokens (64 as
    published).
    """

    num_learnable_queries: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class LanguageConfig:
    """This class holds the sizes of the language model, a LLaMA-2 whose norms, keys and values exist once for text and once for
    picture tokens.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    rms_norm_eps: float
    rope_theta: float = 10000.0

    @property
    def head_size(self) -> int:
        """Return the width of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class DeqaConfig:
    """This class holds all sizes of the network. Section 4 of docs/method.md has the published ones."""

    vision: VisionConfig
    abstractor: AbstractorConfig
    language: LanguageConfig


def _part(kind, found, source: str, where: str):
    """Return an object of the class ``kind`` filled from the mapping ``found``. Raises :class:`CheckpointError` unless every
    value is a positive number that a network can have.
    """
    if not isinstance(found, dict):
        raise CheckpointError(f"{source}: no {where}; give the config.json that is published with the weights")
    values = {}
    for field in fields(kind):
        value = found.get(field.name)
        if value is None and field.default is not MISSING:
            continue
        most = MOST_LAYERS if field.name == "num_hidden_layers" else MOST
        numbers = (int, float) if field.type is float else (int,)
        if isinstance(value, bool) or not isinstance(value, numbers) or not 0 < value <= most:
            raise CheckpointError(
                f"{source}: {where} {field.name} is {json.dumps(value)}, no number from above 0 to {most}; "
                "give the config.json that is published with the weights"
            )
        values[field.name] = value
    return kind(**values)


def _demand(condition: bool, source: str, problem: str) -> None:
    if not condition:
        raise CheckpointError(f"{source}: {problem}; give the config.json that is published with the weights")


def parse_config(found: dict, source: str) -> DeqaConfig:
    """Return the sizes that a published configuration states.

    :class:`CheckpointError`, which names ``source``, is raised if it is not the configuration of a DeQA-Score.
    """
    _demand(isinstance(found, dict), source, "not a JSON object")
    visual = found.get("visual_config")
    visual = visual if isinstance(visual, dict) else {}
    vision = _part(VisionConfig, visual.get("visual_model"), source, "visual_config.visual_model")
    abstractor = _part(AbstractorConfig, visual.get("visual_abstractor"), source, "visual_config.visual_abstractor")
    language = dict(found)
    language.setdefault("num_key_value_heads", found.get("num_attention_heads"))
    text = _part(LanguageConfig, language, source, "language model")
    for name, part in (("visual_model", vision), ("visual_abstractor", abstractor), ("language model", text)):
        heads = part.num_attention_heads
        _demand(part.hidden_size % heads == 0, source, f"{name} hidden_size is not a multiple of {heads} heads")
    _demand(vision.image_size % vision.patch_size == 0, source, "image_size is not a multiple of patch_size")
    _demand(vision.hidden_size == abstractor.hidden_size, source, "vision and abstractor differ in hidden_size")
    _demand(text.head_size % 2 == 0, source, "the width of a language head is odd")
    grouped = text.num_attention_heads % text.num_key_value_heads == 0
    _demand(grouped, source, "num_attention_heads is not a multiple of num_key_value_heads")
    _demand(found.get("hidden_act", "silu") == "silu", source, f"hidden_act {found.get('hidden_act')!r}, not 'silu'")
    _demand(not found.get("rope_scaling"), source, "rope_scaling is set, which no DeQA-Score has")
    return DeqaConfig(vision, abstractor, text)
