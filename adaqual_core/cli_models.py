"""Commands about model files: ``adaqual convert`` and ``adaqual golden``."""

import argparse
import json
import sys
from pathlib import Path

from .console import say
from .published.golden import check_golden
from .published.read import convert
from .quality.deqa.lora import merge_adapter


def add_model_commands(commands) -> None:
    """Add them to the subparsers of the command line."""
    p = commands.add_parser("convert", help="turn a published checkpoint into safetensors, without running code from it")
    p.add_argument("input", type=Path, metavar="IN", help="AdaQual-Diff (.ckpt) or WeatherDiffusion (.pth.tar) file")
    p.add_argument("output", type=Path, metavar="OUT.safetensors", help="file to write; must not exist yet")
    p.add_argument("--base", type=Path, metavar="DIR",
                   help="for a LoRA adapter of DeQA-Score: its base model; IN and OUT are folders then")  # fmt: skip
    p.set_defaults(run=_convert)

    p = commands.add_parser("golden", help="compare the networks with outputs of their reference implementations")
    p.add_argument("input", type=Path, metavar="FILE", help="golden file (.safetensors): weights, inputs and outputs")
    p.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    p.set_defaults(run=_golden)


def _convert(args: argparse.Namespace) -> int:
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


def _golden(args: argparse.Namespace) -> int:
    """Status 0 only where every error is below its tolerance.

    JSON has no infinity: outputs of another shape or with NaN count as the largest float.
    """
    report = check_golden(args.input)
    errors = {name: min(error, sys.float_info.max) for name, error in report["outputs"].items()}
    for name, error in errors.items():
        limit = report["tolerances"][name]
        say(f"{name}: {error:.2e}" + ("" if error < limit else f", ABOVE the tolerance of {limit:g}"))
    worst = max(errors.values())
    say(f"{args.input}: {report['family']}, largest relative error {worst:.2e}, {'passed' if report['passed'] else 'FAILED'}")
    if args.json:
        print(json.dumps({"family": report["family"], "outputs": errors, "max_rel_err": worst}), flush=True)
    return 0 if report["passed"] else 1
