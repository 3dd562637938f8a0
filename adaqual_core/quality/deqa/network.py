"""This module is the whole network under the names of the published file, and runs batches of pictures through it.

Layers are run through ``place(module)``, which returns the callable to use: the module itself, or one whose weights are copied to
the device for the call (:func:`streamed`). All batches of a call pass a layer before the next layer is placed. So streaming the
weights costs the same for one batch and for many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn as nn
from torch import Tensor
from torch.func import functional_call

from .abstractor import Abstractor
from .config import DeqaConfig
from .language import IMAGE, TEXT, KeysValues, LanguageLayer, Parts
from .vision import VisionTower

Place = Callable[[nn.Module], Callable]
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Prompt:
    """This class is the constant prompt of a scorer.

    ``before``, ``after``: rows of the embedding table that precede and follow the picture. ``levels``: rows of the head, best
    level first.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    levels: tuple[int, ...]


def ignore(pictures: int) -> None:
    """Do nothing. This is the ``tick`` of a caller that needs no progress."""


def resident(module: nn.Module) -> Callable:
    """Return the module itself, whose weights are already where they are needed."""
    return module


def streamed(device: torch.device, dtype: torch.dtype) -> Place:
    """Return a ``place`` that runs each module with a copy of its weights on ``device`` in ``dtype``, freed with the callable."""

    def place(module: nn.Module) -> Callable:
        held = chain(module.named_parameters(), module.named_buffers())
        # packed weights are whole numbers and stay so
        copies = {name: tensor.to(device, dtype if tensor.is_floating_point() else None) for name, tensor in held}
        return lambda *args: functional_call(module, copies, args)

    return place


class _Body(nn.Module):
    def __init__(self, config: DeqaConfig, rows: int, operations):
        super().__init__()
        self.embed_tokens = operations.Embedding(rows, config.language.hidden_size)
        self.vision_model = VisionTower(config.vision, operations)
        self.visual_abstractor = Abstractor(config, operations)
        count = config.language.num_hidden_layers
        self.layers = nn.ModuleList(LanguageLayer(config.language, operations) for _ in range(count))
        self.norm = operations.RMSNorm(config.language.hidden_size, eps=config.language.rms_norm_eps)


class DeqaNet(nn.Module):
    """This network is mPLUG-Owl2 with ``rows`` embeddings and ``outputs`` rows in the head (by default the size of the
    vocabulary).

    A scorer needs only the constant prompt's embeddings and one row of the head per level;
    :mod:`adaqual_core.quality.deqa.shards` reads no others.
    """

    def __init__(self, config: DeqaConfig, rows: int | None = None, outputs: int | None = None, operations=nn):
        super().__init__()
        self.config = config
        vocabulary = config.language.vocab_size
        self.model = _Body(config, rows or vocabulary, operations)
        self.lm_head = operations.Linear(config.language.hidden_size, outputs or vocabulary, bias=False)

    @property
    def layer_count(self) -> int:
        """Return the number of layers that :meth:`level_logits` reports to ``tick``, each time with the number of pictures that
        have passed it.
        """
        parts = (self.config.vision, self.config.abstractor, self.config.language)
        return sum(part.num_hidden_layers for part in parts)

    def vision_tokens(self, batches: Sequence[Tensor], place: Place = resident, tick: Tick = ignore) -> list[Tensor]:
        """Return the vision tokens [B, 1 + (S/patch)², W] of each batch of normalised pixels [B, 3, S, S]."""
        tower = self.model.vision_model
        run = place(tower.embeddings)
        xs = [run(pixels) for pixels in batches]
        for layer in tower.encoder.layers:
            run = place(layer)
            for index, x in enumerate(xs):
                xs[index] = run(x)
                tick(len(x))
        run = place(tower.post_layernorm)
        return [run(x) for x in xs]

    def image_tokens(self, visions: Sequence[Tensor], place: Place = resident, tick: Tick = ignore) -> list[Tensor]:
        """Return the tokens [B, queries + 1, hidden] by which the language model sees pictures, from each batch's vision
        tokens."""
        own = self.model.visual_abstractor
        xs = [own.query_embeds.to(vision).expand(len(vision), -1, -1) for vision in visions]
        for layer in own.encoder.layers:
            run = place(layer)
            for index, vision in enumerate(visions):
                xs[index] = run(xs[index], vision)
                tick(len(vision))
        run = place(own.visual_fc)
        return [torch.cat([run(x), own.vit_eos.to(x).expand(len(x), -1, -1)], 1) for x in xs]

    def _text(self, rows: tuple[int, ...], like: Tensor) -> Tensor:
        table = self.model.embed_tokens
        indices = torch.tensor(rows, device=table.weight.device)
        return table(indices).to(like)[None]

    def level_logits(
        self,
        batches: Sequence[Tensor],
        prompt: Prompt,
        prefix: list[KeysValues] | None = None,
        place: Place = resident,
        tick: Tick = ignore,
    ) -> tuple[list[Tensor], list[KeysValues]]:
        """Return the logits [B, levels] of each batch at the prompt's end, in float32, and the prefix's keys and values per
        layer.

        ``prefix``: what an earlier call returned for the same prompt; it is computed if it is not given. The last layer and the
        head run for the last token alone, the head only for the levels' rows.
        """
        images = self.image_tokens(self.vision_tokens(batches, place, tick), place, tick)
        before, after = self._text(prompt.before, images[0]), self._text(prompt.after, images[0])
        xs = [torch.cat([image, after.expand(len(image), -1, -1)], 1) for image in images]
        parts: Parts = ((IMAGE, images[0].shape[1]), (TEXT, len(prompt.after)))
        found = []
        for number, layer in enumerate(self.model.layers):
            run = place(layer)
            last = number == len(self.model.layers) - 1
            if prefix is None:
                before, kept = run(before, ((TEXT, len(prompt.before)),), None, last)
                found.append(kept)
            for index, x in enumerate(xs):
                xs[index] = run(x, parts, (prefix or found)[number], last)[0]
                tick(len(x))
        norm = place(self.model.norm)
        head = self.lm_head.weight
        rows = head[torch.tensor(prompt.levels, device=head.device)].to(xs[0])
        return [(norm(x)[:, 0] @ rows.T).float() for x in xs], prefix or found

    def all_logits(self, images: Tensor, prompt: Prompt) -> Tensor:
        """Return the logits [B, T, outputs] of every position, without cache or shortcut; :meth:`level_logits` must equal them.

        ``images``: the tokens [B, queries + 1, hidden] of :meth:`image_tokens`.
        """
        texts = [self._text(rows, images).expand(len(images), -1, -1) for rows in (prompt.before, prompt.after)]
        x = torch.cat([texts[0], images, texts[1]], 1)
        parts: Parts = ((TEXT, len(prompt.before)), (IMAGE, images.shape[1]), (TEXT, len(prompt.after)))
        for layer in self.model.layers:
            x, _ = layer(x, parts)
        return self.lm_head(self.model.norm(x))


def scores_from_logits(logits: Tensor) -> Tensor:
    """Return the expected scores [...] in [1, 5] of logits [..., 5] of excellent, good, fair, poor and bad."""
    return logits.float().softmax(-1) @ torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0], device=logits.device)
