"""This module compares our network with golden files, the outputs of the authors' own implementation with small random
weights."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import CheckpointError
from ...weight_files import check_readable
from .config import parse_config
from .network import DeqaNet, Prompt, scores_from_logits

IMAGE_MARK = -200


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Return the largest difference over the reference's largest magnitude; infinite for other shapes and values not finite."""
    if ours.shape != reference.shape or not bool(torch.isfinite(ours - reference).all()):
        return float("inf")
    return float((ours - reference).abs().max() / reference.abs().max().clamp_min(1e-12))


def _prompt(row: list[int], levels: list[int], path: Path) -> Prompt:
    if row.count(IMAGE_MARK) != 1:
        raise CheckpointError(f"{path}: in.input_ids must hold {IMAGE_MARK} exactly once per row")
    place = row.index(IMAGE_MARK)
    return Prompt(tuple(row[:place]), tuple(row[place + 1 :]), tuple(levels))


@torch.inference_mode()
def check_deqa(path: Path) -> dict[str, float]:
    """Return the relative error of every output of a golden file ``deqa_*.safetensors``, by name.

    The outputs are ``vision``, ``abstractor``, ``logits_last`` (a plain pass over all tokens) and ``score`` (the pass that
    scoring uses: cached prefix, last layer for the last token only, and only the levels' rows of the head).
    :class:`CheckpointError` is raised for a file of another form.
    """
    path = Path(path)
    check_readable(path)
    try:
        with safe_open(path, "pt") as file:
            config = parse_config(json.loads((file.metadata() or {})["config"]), f"{path}, header")
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        pixels, ids = tensors["in.pixel_values"], tensors["in.input_ids"]
        levels = tensors["in.level_ids"].tolist()
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as problem:
        raise CheckpointError(f"{path}: not a golden file of DeQA-Score ({problem!r})") from None
    expected = {key.removeprefix("out."): value for key, value in tensors.items() if key.startswith("out.")}
    odd = set(expected) - {"vision", "abstractor", "logits_last", "score"}
    if odd:
        raise CheckpointError(f"{path}: unknown output {sorted(odd)[0]}; the golden file is of another form")
    with torch.device("meta"):
        net = DeqaNet(config)
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    try:
        net.load_state_dict(weights, assign=True)
    except RuntimeError as problem:
        raise CheckpointError(f"{path}: its weights do not fit its configuration ({str(problem).splitlines()[0]})") from None
    net.train(False)
    vision = net.vision_tokens([pixels])[0]
    images = net.image_tokens([vision])[0]
    logits, scores = [], []
    for number, row in enumerate(ids.tolist()):
        prompt = _prompt(row, levels, path)
        one = slice(number, number + 1)
        logits.append(net.all_logits(images[one], prompt)[:, -1])
        _, prefix = net.level_logits([pixels[one]], prompt)
        short, _ = net.level_logits([pixels[one]], prompt, prefix)
        scores.append(scores_from_logits(short[0]))
    ours = {"vision": vision, "abstractor": images, "logits_last": torch.cat(logits), "score": torch.cat(scores)}
    return {name: relative_error(ours[name], reference) for name, reference in expected.items()}
