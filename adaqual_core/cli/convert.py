"""This module is ``adaqual convert``: it writes published checkpoints as safetensors."""

import argparse

from ..console import say
from ..published.read import convert
from ..quality.deqa.lora import merge_adapter


def run(args: argparse.Namespace, planned: None) -> int:
    """Convert the checkpoint that the options name, and say which of its tensors were dropped. Returns exit status 0.

    With ``--base`` the input is a LoRA adapter of DeQA-Score, which is merged into its base model.
    """
    if args.base is not None:
        say(f"{args.output}: DeQA-Score, {merge_adapter(args.base, args.input, args.output)} weights changed by the adapter")
        return 0
    published = convert(args.input, args.output)
    say(f"{args.output}: {published.family}, {len(published.tensors)} tensors")
    for line in published.dropped:
        say(f"  dropped: {line}")
    if not published.dropped:
        say("  nothing dropped")
    return 0
