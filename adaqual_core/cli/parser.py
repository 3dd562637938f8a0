"""This module defines the words of the command line. It imports no torch, so that help and wrong usage are answered at once."""

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

from ..choice import parse_assumed, parse_factors, parse_kinds
from ..kinds import KINDS
from ..video.names import TEMPORAL, is_clip
from .messages import UsageError


class Parser(argparse.ArgumentParser):
    """This parser raises :class:`UsageError` instead of ending the program."""

    def error(self, message: str):
        """Raise :class:`UsageError` with the message of argparse."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a function that reads a whole number from ``low`` to ``high``, for argparse; without ``high`` there is no upper
    limit.
    """

    def read(text: str) -> int:
        limit = f"at least {low}" if high is None else f"{low} to {high}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}; give a whole number, {limit}") from None
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text}; give a whole number, {limit}")
        return value

    return read


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    """Return a function that reads a finite number from ``low`` to ``high``, for argparse."""

    def read(text: str) -> float:
        limit = f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}; give a number, {limit}") from None
        if not (low <= value <= high and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text}; give a number, {limit}")
        return value

    return read


def _path(text: str) -> Path:
    if not text:  # an unset variable of a script; Path would take it for the folder that one is in
        raise argparse.ArgumentTypeError("an empty name; give the path of a file or folder")
    return Path(text)


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not available here; choose auto, cpu, cuda or mps")
    return text


SEED = whole(0, 2**64 - 1)


def _add_models(parser: argparse.ArgumentParser, restorer: bool = True) -> None:
    if restorer:
        parser.add_argument(
            "--model", type=_path, metavar="FILE", help="restorer's weights: AdaQual, AdaQual-Diff or WeatherDiffusion"
        )
        parser.add_argument(
            "--mode",
            choices=("published", "prompted"),
            default="published",
            help="AdaQual-Diff checkpoints: as published (the default), or with their prompts",
        )
    parser.add_argument(
        "--assessor",
        type=_path,
        metavar="PATH",
        help="assessor's weights, or the folder of a CLIP (for CLIP-IQA) or DeQA-Score model",
    )
    parser.add_argument(
        "--assessor-bits",
        type=int,
        choices=(8, 4),
        help="DeQA-Score: most weights in 8 or 4 bits, which needs the package bitsandbytes",
    )
    parser.add_argument("--device", type=_device, default="auto", help="auto (the default: cuda, mps or cpu), or one by name")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recursive", action="store_true", help="folders: also the files of their subfolders")
    parser.add_argument(
        "--max-megapixels",
        type=number(0.001),
        metavar="N",
        help="refuse larger pictures, which could fill the memory (default 179)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def _add_restore(commands) -> None:
    p = commands.add_parser("restore", help="restore a picture, a clip, or all pictures and clips of a folder")
    p.add_argument("input", type=_path, metavar="IN", help="picture, clip, or folder of pictures and clips")
    p.add_argument(
        "output",
        type=_path,
        metavar="OUT",
        help="picture or clip to write, or folder: for PNGs and clips of a folder, for one file by its name",
    )
    p.add_argument("--steps", type=whole(1, 1000), help="diffusion steps (default: the model's own, 2; WeatherDiffusion 25)")
    p.add_argument("--seed", type=SEED, help="seed of the noise (default 0)")
    p.add_argument(
        "--schedule",
        choices=("official", "trailing"),
        help="official or trailing (default: the model's own; trailing for ours)",
    )
    p.add_argument("--preserve", type=number(1, 5), help="keep what is at least this good, 1-5 (4.5)")
    p.add_argument("--keep", metavar="KINDS", help=f"kinds of damage to leave in, comma-separated: {', '.join(KINDS)}")
    p.add_argument("--only", metavar="KINDS", help="kinds of damage to remove, all others stay")
    p.add_argument(
        "--assume",
        metavar="KIND=SEVERITY,...",
        help="damage that the assessor may miss, 0 to 1 each, as in haze=0.7,low=0.5; what it sees is never lowered",
    )
    p.add_argument(
        "--assume-mask",
        type=_path,
        metavar="FILE",
        help="picture of where that damage is: white = here, black = not; any size (default: everywhere)",
    )
    p.add_argument("--strength", type=number(0, 1), help="0 (the input) to 1 (default)")
    p.add_argument("--tile", type=whole(64), help="px of a tile beside its context; less saves memory (512)")
    p.add_argument("--overlap", type=whole(0), help="px of context around tiles, at least (64)")
    p.add_argument("--stride", type=whole(1), help="WeatherDiffusion: px between patches (16)")
    p.add_argument("--patch-batch", type=whole(1), help="WeatherDiffusion: patches at once (16)")
    p.add_argument(
        "--temporal", type=whole(0, 240), help=f"clips: frames averaged against flicker, 0 for none (default {TEMPORAL})"
    )
    p.add_argument(
        "--quality",
        type=whole(1, 100),
        help="of a JPEG, WebP or AVIF that is written, 1-100 (default: 95, and a JPEG no worse than its source)",
    )
    p.add_argument("--skip-existing", action="store_true", help="leave out pictures and clips whose output is there already")
    p.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="work on a Ray cluster that sees the same paths: auto, on one of its machines; HOST:PORT; local, on this machine",
    )
    _add_files(p)
    _add_models(p)
    _add_json(p)


def _add_quality(commands) -> None:
    p = commands.add_parser("quality", help="estimate the local quality of a picture, or of all pictures of a folder")
    p.add_argument("input", type=_path, metavar="IN", help="picture, or folder of pictures")
    p.add_argument(
        "--map", type=_path, metavar="OUT.png", help="8-bit grey map: 0 = quality 1, 255 = quality 5; a folder if IN is one"
    )
    p.add_argument("--heatmap", type=_path, metavar="OUT.png", help="map in colours with a legend; a folder if IN is one")
    p.add_argument("--by-kind", action="store_true", help="the heatmap shows the severity of each kind of damage instead")
    _add_files(p)
    _add_models(p, restorer=False)
    _add_json(p)


def build_parser() -> Parser:
    """Return the parser of all commands except ``train``, whose options come from the training package."""
    parser = Parser(prog="adaqual", description="Quality-adaptive restoration of unevenly damaged pictures.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _add_restore(commands)
    _add_quality(commands)

    p = commands.add_parser("degrade", help="damage a picture for tests")
    p.add_argument("input", type=_path, metavar="IN")
    p.add_argument("output", type=_path, metavar="OUT")
    p.add_argument("--kinds", required=True, help=f"comma-separated: {', '.join(KINDS)}")
    p.add_argument("--severity", type=number(0, 1), default=0.6, help="0 (untouched) to 1 (worst); default 0.6")
    p.add_argument("--seed", type=SEED, default=0, help="seed of the damage (default 0)")

    p = commands.add_parser("evaluate", help="restore degraded pictures and measure them beside their originals")
    p.add_argument("--clean", type=_path, required=True, metavar="DIR", help="originals")
    p.add_argument(
        "--degraded",
        type=_path,
        required=True,
        metavar="DIR",
        help="degraded pictures of the same names, or one folder of them per class",
    )
    p.add_argument("--steps", type=whole(1, 1000), help="diffusion steps (default: the model's own)")
    _add_models(p)
    _add_json(p)

    p = commands.add_parser("convert", help="turn a published checkpoint into safetensors, without running code from it")
    p.add_argument("input", type=_path, metavar="IN", help="AdaQual-Diff (.ckpt) or WeatherDiffusion (.pth.tar) file")
    p.add_argument("output", type=_path, metavar="OUT.safetensors", help="file to write; must not exist yet")
    p.add_argument(
        "--base", type=_path, metavar="DIR", help="for a LoRA adapter of DeQA-Score: its base model; IN and OUT are folders then"
    )

    p = commands.add_parser("golden", help="compare the networks with outputs of their reference implementations")
    p.add_argument("input", type=_path, metavar="FILE", help="golden file (.safetensors): weights, inputs and outputs")
    _add_json(p)

    commands.add_parser("train", help="train a restorer or an assessor (in a source checkout)", add_help=False)
    return parser


def _check_clip(args: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for an option of clips beside pictures, or of pictures beside a clip."""
    if os.path.isdir(args.input):  # it may hold both
        return
    if not is_clip(args.input) and args.temporal is not None:
        raise UsageError(f"--temporal: {args.temporal}, but {args.input} is no clip; leave it out")
    if is_clip(args.input):
        pictures = ("quality", "skip_existing", "recursive", "max_megapixels")
        wrong = [name for name in pictures if getattr(args, name) not in (None, False)]
        if wrong:
            raise UsageError(f"--{wrong[0].replace('_', '-')}: is for pictures, but {args.input} is a clip; leave it out")


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options in ``argv``; raises :class:`UsageError` where they are wrong.

    Lists of kinds of damage are parsed too: ``kinds`` (degrade) is a tuple of names, ``factors`` (restore) one number per kind,
    and ``assumed`` (restore) severities by kind.
    """
    args = build_parser().parse_args(argv)
    try:
        if args.command == "degrade":
            args.kinds = parse_kinds("--kinds", args.kinds)
        if args.command == "restore":
            args.factors, args.assumed = parse_factors(args.keep, args.only), parse_assumed(args.assume)
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    if args.command == "restore":
        _check_clip(args)
        if args.assume_mask is not None and not args.assumed:
            raise UsageError("--assume-mask: says where --assume holds; give --assume KIND=SEVERITY too")
    if args.command == "quality" and args.by_kind and args.heatmap is None:
        raise UsageError("--by-kind: says what the heatmap shows; give --heatmap OUT.png too")
    return args
