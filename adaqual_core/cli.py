"""The command line ``adaqual``, also ``python -m adaqual_core``.

Everything that can be checked is checked before work starts. Exit status: 0 success, 1 failure, 2 wrong usage, 130
interrupted; an error is one line on stderr.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from .choice import parse_assumed, parse_factors, parse_kinds
from .console import say
from .damage import KINDS, degrade
from .errors import PictureError
from .evaluate import average, find_pairs, measure, table
from .imageio import check_output, colour_profile, find_pictures, picture_shape, read_picture, write_picture
from .networks.adaqual_diff import MODES
from .networks.shipped import SHIPPED_DENOISER
from .prompt import PromptSettings, build_prompt
from .published.golden import check_golden
from .published.read import convert, load_restorer
from .quality.assess import Assessor, assess, cache_folder, open_assessor
from .quality.bundled import SHIPPED_ASSESSOR
from .quality.cache import ScoreCache
from .quality.deqa.lora import merge_adapter
from .quality.estimator import QualityEstimator
from .quality.heatmap import grey_map, heatmap, kinds_sheet
from .quality.map import QualityMap
from .quality.set_damage import set_damage
from .sampling.ddim import SCHEDULES
from .sampling.families import Restorer, restore_with, settings_for
from .sampling.settings import Restored, RestoreSettings
from .video.clip import TEMPORAL, Chain, is_clip
from .video.memory import check_temporal


class UsageError(ValueError):
    """An argument that no picture or model could make right."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UsageError(f"{message} (see {self.prog} --help)")


def _add_models(parser: argparse.ArgumentParser, restorer: bool = True) -> None:
    if restorer:
        parser.add_argument("--model", type=Path, default=SHIPPED_DENOISER, metavar="FILE",
                            help="restorer's weights: AdaQual, AdaQual-Diff or WeatherDiffusion")  # fmt: skip
        parser.add_argument("--mode", default=MODES[0], choices=MODES,
                            help="AdaQual-Diff checkpoints: as published (the default), or with their prompts")  # fmt: skip
    parser.add_argument("--assessor", type=Path, default=SHIPPED_ASSESSOR, metavar="PATH",
                        help="assessor's weights, or the folder of a CLIP (for CLIP-IQA) or DeQA-Score model")  # fmt: skip
    parser.add_argument("--assessor-bits", type=int, choices=(8, 4),
                        help="DeQA-Score: most weights in 8 or 4 bits, which needs the package bitsandbytes")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto (the default: cuda, mps or cpu), or one by name")


def _add_model_commands(commands) -> None:
    """Add the commands about model files, ``convert`` and ``golden``, to the subparsers of the command line."""
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


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands but ``train``, which takes its options from the training package."""
    parser = _Parser(prog="adaqual", description="Quality-adaptive restoration of unevenly damaged pictures.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    defaults, prompt = RestoreSettings(), PromptSettings()

    p = commands.add_parser("restore", help="restore a picture, or all pictures of a folder")
    p.add_argument("input", type=Path, metavar="IN", help="picture, clip, or folder of pictures")
    p.add_argument("output", type=Path, metavar="OUT", help="picture or clip to write, or folder for PNGs")
    p.add_argument("--steps", type=int, help="diffusion steps (default: the model's own, 2; WeatherDiffusion 25)")
    p.add_argument("--seed", type=int, default=defaults.seed, help="seed of the noise (default 0)")
    p.add_argument("--schedule", help=f"{' or '.join(SCHEDULES)} (default: the model's own; trailing for ours)")
    p.add_argument("--preserve", type=float, default=prompt.preserve, help="keep what is at least this good, 1-5 (4.5)")
    p.add_argument("--keep", metavar="KINDS", help=f"kinds of damage to leave in, comma-separated: {', '.join(KINDS)}")
    p.add_argument("--only", metavar="KINDS", help="kinds of damage to remove, all others stay")
    p.add_argument(
        "--assume",
        metavar="KIND=SEVERITY,...",
        help="damage that the assessor may miss, 0 to 1 each, as in haze=0.7,low=0.5; what it sees is never lowered",
    )
    p.add_argument("--strength", type=float, default=defaults.strength, help="0 (the input) to 1 (default)")
    p.add_argument("--tile", type=int, default=defaults.tile, help="px of a tile beside its context; less saves memory (512)")
    p.add_argument("--overlap", type=int, default=defaults.overlap, help="px of context around tiles, at least (64)")
    p.add_argument("--stride", type=int, default=defaults.stride, help="WeatherDiffusion: px between patches (16)")
    p.add_argument("--patch-batch", type=int, default=defaults.patch_batch, help="WeatherDiffusion: patches at once (16)")
    p.add_argument("--temporal", type=int, help=f"clips: frames averaged against flicker, 0 for none (default {TEMPORAL})")
    _add_models(p)
    p.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    p.set_defaults(run=_restore)

    p = commands.add_parser("quality", help="estimate the local quality of a picture")
    p.add_argument("input", type=Path, metavar="IN")
    p.add_argument("--map", type=Path, metavar="OUT.png", help="8-bit grey map: 0 = quality 1, 255 = quality 5")
    p.add_argument("--heatmap", type=Path, metavar="OUT.png", help="map in colours with a legend")
    p.add_argument("--by-kind", action="store_true", help="the heatmap shows the severity of each kind of damage instead")
    _add_models(p, restorer=False)
    p.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    p.set_defaults(run=_quality)

    p = commands.add_parser("degrade", help="damage a picture for tests")
    p.add_argument("input", type=Path, metavar="IN")
    p.add_argument("output", type=Path, metavar="OUT")
    p.add_argument("--kinds", required=True, help=f"comma-separated: {', '.join(KINDS)}")
    p.add_argument("--severity", type=float, default=0.6, help="0 (untouched) to 1 (worst); default 0.6")
    p.add_argument("--seed", type=int, default=0, help="seed of the damage (default 0)")
    p.set_defaults(run=_degrade)

    p = commands.add_parser("evaluate", help="restore degraded pictures and measure them beside their originals")
    p.add_argument("--clean", type=Path, required=True, metavar="DIR", help="originals")
    p.add_argument("--degraded", type=Path, required=True, metavar="DIR",
                   help="degraded pictures of the same names, or one folder of them per class")  # fmt: skip
    p.add_argument("--steps", type=int, help="diffusion steps (default: the model's own)")
    _add_models(p)
    p.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    p.set_defaults(run=_evaluate)

    _add_model_commands(commands)
    commands.add_parser("train", help="train a restorer or an assessor (in a source checkout)", add_help=False)
    return parser


def _device(name: str) -> torch.device:
    """The device of that name; ``auto`` is cuda where there is one, else mps, else cpu."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, index = name.partition(":")
    known = not index or (index.isdecimal() and int(index) < max(1, torch.cuda.device_count()))
    if not available.get(kind) or not known:
        there = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"--device: '{name}' is not available here; choose auto or {there}")
    return torch.device(name)


def _parsed(parse: Callable, *texts: str | None):
    """What ``parse`` makes of options; what it refuses is wrong usage."""
    try:
        return parse(*texts)
    except ValueError as problem:
        raise UsageError(str(problem)) from None


def _need_kinds(option: str, assessor: Assessor, path: Path) -> None:
    """Raise ValueError unless the assessor names kinds of damage, which ``option`` needs."""
    if not isinstance(assessor, QualityEstimator):
        raise ValueError(
            f"{option}: the assessor {path} names no kinds of damage; give one that does with --assessor "
            f"(`adaqual train assessor` makes one), or leave {option} out"
        )


def _settings(build, **values):
    """Settings built from options; what their own checks refuse is wrong usage."""
    try:
        return build(**values)
    except ValueError as problem:
        name, _, said = str(problem).partition(":")
        raise UsageError(f"--{name.replace('_', '-')}:{said}") from None


def _peak_rss_mb() -> float | None:
    """Most memory this process has held, in MiB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _models(args: argparse.Namespace, device: torch.device) -> tuple[Restorer, Assessor]:
    return load_restorer(args.model, mode=args.mode).to(device), open_assessor(args.assessor, device, args.assessor_bits)


def _judged(assessor: Assessor, picture: torch.Tensor, label: str) -> QualityMap:
    """The map of one picture; scores of slow assessors are kept in :func:`cache_folder`."""
    with tqdm(desc=f"{label}: quality", unit="step", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return assess(assessor, picture, cache=ScoreCache(cache_folder()), progress=progress)


def _restored(
    model: Restorer,
    assessor: Assessor,
    picture: torch.Tensor,
    prompts: PromptSettings,
    settings: RestoreSettings,
    label: str,
    assumed: Mapping[str, float],
) -> tuple[Restored, float]:
    """The whole chain on one picture [1, 3 or 4, H, W]: what it gave, and the mean quality found before.

    ``assumed``: severities by kind of damage that the picture has at least, whatever the assessor sees.
    """
    quality = _judged(assessor, picture, label)
    told = quality
    for kind, severity in assumed.items():
        told = set_damage(told, kind, severity)
    prompt = build_prompt(picture, told, prompts)
    with tqdm(desc=label, unit="batch", leave=False, disable=None) as bar:

        def progress(done: int, total: int, preview) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return restore_with(model, picture, prompt, settings, progress=progress), float(quality.mean)


def _check_jobs(jobs: list[tuple[Path, Path]]) -> None:
    """Raise :class:`PictureError` unless every input has a readable header and every output can be written."""
    originals = {source.resolve() for source, _ in jobs}
    for source, target in jobs:
        check_output(target, *picture_shape(source))
        if target.resolve() in originals:
            raise PictureError(f"{target}: would replace an input; write to another place")


def _plan_restore(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Every file to read with the one to write, all checked as far as headers and names tell."""
    if source.is_dir():
        if target.exists() and not target.is_dir():
            raise PictureError(f"{target}: is a file; give a folder, as {source} is one")
        inputs = find_pictures(source)
        stems: dict[str, Path] = {}
        for path in inputs:
            other = stems.setdefault(path.stem.lower(), path)
            if other is not path:
                raise PictureError(f"{path}: would be written to the same file as {other.name}; rename one of them")
        jobs = [(path, target / f"{path.stem}.png") for path in inputs]
    else:
        jobs = [(source, target)]
    _check_jobs(jobs)
    return jobs


def _restore(args: argparse.Namespace) -> int:
    names = ("steps", "seed", "schedule", "strength", "tile", "overlap", "stride", "patch_batch")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    _settings(RestoreSettings, **given)
    factors, assumed = _parsed(parse_factors, args.keep, args.only), _parsed(parse_assumed, args.assume)
    prompts = _settings(PromptSettings, preserve=args.preserve, factors=factors)
    device = _device(args.device)
    if is_clip(args.input):
        return _restore_clip(args, prompts, assumed, given, device)
    if args.temporal is not None:
        raise UsageError(f"--temporal: {args.temporal}, but {args.input} is no clip; leave it out")
    jobs = _plan_restore(args.input, args.output)
    model, assessor = _models(args, device)
    if min(factors) < 1:
        _need_kinds("--keep" if args.keep is not None else "--only", assessor, args.assessor)
    settings = settings_for(model, **given)
    reports, failures = [], []
    for source, target in jobs:
        try:
            report = _restore_file(model, assessor, source, target, prompts, settings, assumed)
        except (ValueError, OSError, RuntimeError, MemoryError) as problem:
            if not args.input.is_dir():
                raise
            failures.append(source.name)
            _complain(problem)
            continue
        reports.append(report)
        say(
            f"{target}: quality {report['mean_quality_before']:.2f} -> {report['mean_quality_after']:.2f}, "
            f"{report['tiles_run']} of {report['tiles_total']} tiles run, {report['seconds']:.1f} s"
        )
    if args.json and reports:
        summary = {"seconds": round(sum(r["seconds"] for r in reports), 3), "steps": settings.steps}
        for key in ("mean_quality_before", "mean_quality_after"):
            summary[key] = round(sum(r[key] for r in reports) / len(reports), 4)
        for key in ("tiles_total", "tiles_run"):
            summary[key] = sum(r[key] for r in reports)
        summary["peak_rss_mb"] = _peak_rss_mb()
        if args.input.is_dir():
            summary |= {"pictures": reports, "failed": failures}
        print(json.dumps(summary), flush=True)
    if failures:
        raise PictureError(
            f"{len(failures)} of {len(jobs)} pictures failed: {', '.join(failures)}; the others are in {args.output}"
        )
    return 0


def _restore_clip(
    args: argparse.Namespace, prompts: PromptSettings, assumed: Mapping[str, float], given: dict, device: torch.device
) -> int:
    """``adaqual restore`` of a clip; PyAV is needed for nothing else."""
    temporal = TEMPORAL if args.temporal is None else args.temporal
    _settings(check_temporal, temporal=temporal)
    try:
        from .video.command import restore_clip_file
    except ImportError as missing:
        raise PictureError(f"{args.input}: clips need PyAV ({missing}); install it with pip install 'adaqual[video]'") from None
    model, assessor = _models(args, device)
    settings = settings_for(model, **given)
    if min(prompts.factors) < 1:
        _need_kinds("--keep" if args.keep is not None else "--only", assessor, args.assessor)
    judge = partial(assess, assessor, cache=ScoreCache(cache_folder()))
    chain = Chain(model, judge, prompts, settings, temporal, assumed)
    report = restore_clip_file(chain, args.input, args.output, [args.model, args.mode, args.assessor, args.assessor_bits])
    if args.json:
        print(json.dumps(report | {"steps": settings.steps, "peak_rss_mb": _peak_rss_mb()}), flush=True)
    return 0


def _restore_file(
    model: Restorer,
    assessor: Assessor,
    source: Path,
    target: Path,
    prompts: PromptSettings,
    settings: RestoreSettings,
    assumed: Mapping[str, float],
) -> dict:
    """Restore one file; ``seconds`` are those of assessing and restoring, not of files and the second score."""
    picture = read_picture(source)
    start = time.perf_counter()
    result, before = _restored(model, assessor, picture, prompts, settings, source.name, assumed)
    seconds = time.perf_counter() - start
    del picture
    after = float(_judged(assessor, result.picture, source.name).mean)
    write_picture(result.picture, target, colour_profile(source))
    return {
        "picture": source.name,
        "seconds": round(seconds, 3),
        "mean_quality_before": round(before, 4),
        "mean_quality_after": round(after, 4),
        "tiles_total": result.tiles_total,
        "tiles_run": result.tiles_run,
    }


def _quality(args: argparse.Namespace) -> int:
    device = _device(args.device)
    height, width = picture_shape(args.input)[1:]
    outputs = [path for path in (args.map, args.heatmap) if path is not None]
    for path in outputs:
        check_output(path, 3, height, width)
        if path.resolve() == args.input.resolve():
            raise PictureError(f"{path}: would replace the input; write to another place")
    if args.map is not None and args.map.suffix.lower() != ".png":
        raise PictureError(f"{args.map}: the map is exact numbers; end its name in .png")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise PictureError(f"{args.map}: given for --map and --heatmap; give two names")
    if args.by_kind and args.heatmap is None:
        raise UsageError("--by-kind: says what the heatmap shows; give --heatmap OUT.png too")
    assessor = open_assessor(args.assessor, device, args.assessor_bits)
    if args.by_kind:
        _need_kinds("--by-kind", assessor, args.assessor)
    picture = read_picture(args.input)
    quality = _judged(assessor, picture, args.input.name)
    del picture
    if args.map is not None:
        write_picture(grey_map(quality), args.map)
    if args.heatmap is not None:
        write_picture(kinds_sheet(quality) if args.by_kind else heatmap(quality), args.heatmap)
    scores = quality.scores
    found = {
        "mean": round(float(quality.mean), 4),
        "min": round(float(scores.min()), 4),
        "max": round(float(scores.max()), 4),
        "shape": list(scores.shape[-2:]),
        "kinds": _mean_kinds(quality),
    }
    say(f"{args.input}: mean quality {found['mean']:.2f}, from {found['min']:.2f} to {found['max']:.2f}")
    if args.json:
        print(json.dumps(found), flush=True)
    return 0


def _mean_kinds(quality: QualityMap) -> dict[str, float] | None:
    """Mean severity of each kind of damage in the one picture of a map; None where the map names no kinds."""
    kinds = quality.kind_cells()
    return None if kinds is None else {kind: round(float(kinds[:, i].mean()), 4) for i, kind in enumerate(KINDS)}


def _degrade(args: argparse.Namespace) -> int:
    kinds = _parsed(parse_kinds, "--kinds", args.kinds)
    if not 0 <= args.severity <= 1:
        raise UsageError(f"--severity: {args.severity}; give a number from 0 (untouched) to 1 (worst)")
    if not 0 <= args.seed < 2**64:
        raise UsageError(f"--seed: {args.seed}; give a whole number from 0 to 2^64 - 1")
    _check_jobs([(args.input, args.output)])
    picture = read_picture(args.input)
    picture[0, :3] = degrade(picture[0, :3], kinds, args.severity, seed=args.seed).picture
    write_picture(picture, args.output)
    say(f"{args.output}: {', '.join(kinds)} at severity {args.severity:g}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    given, prompts = {} if args.steps is None else {"steps": args.steps}, PromptSettings()
    _settings(RestoreSettings, **given)
    device = _device(args.device)
    pairs = find_pairs(args.clean, args.degraded)
    model, assessor = _models(args, device)
    settings = settings_for(model, **given)

    def restored(picture: torch.Tensor) -> tuple[torch.Tensor, float, float]:
        result, before = _restored(model, assessor, picture, prompts, settings, "restoring", {})
        return result.picture, before, float(_judged(assessor, result.picture, "restored").mean)

    groups: dict[str, list] = {}
    for pair in tqdm(pairs, desc="pictures", unit="picture", disable=None):
        groups.setdefault(pair.group, []).append(measure(pair, restored))
    say(table(groups))
    if args.json:
        everything = [one for group in groups.values() for one in group]
        classes = {name: {"pictures": len(group)} | asdict(average(group)) for name, group in groups.items()}
        total = {"pictures": len(everything)} | asdict(average(everything))
        print(json.dumps({"steps": settings.steps, "classes": classes, "average": total}), flush=True)
    return 0


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


def _train(argv: list[str]) -> int:
    """``adaqual train``: the training package comes with a source checkout (``make setup``), and only there."""
    try:
        from adaqual_training.__main__ import add_arguments, run
    except ModuleNotFoundError as missing:
        if missing.name.partition(".")[0] != "adaqual_training":
            raise
        raise UsageError("train: needs the training package; clone the repository and run make setup first") from None

    parser = _Parser(prog="adaqual train", description="Train a restorer or an assessor; runs are resumable.")
    add_arguments(parser)
    run(parser.parse_args(argv))
    return 0


def _complain(problem: BaseException) -> None:
    message = " ".join(str(problem).split())
    if not isinstance(problem, (ValueError, OSError, RuntimeError, MemoryError)):
        frame = problem.__traceback__
        while frame.tb_next:
            frame = frame.tb_next
        place = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}"
        message = f"internal error, please report it: {type(problem).__name__} at {place}: {message}"
    message = message or {MemoryError: "not enough memory; use a smaller --tile, --patch-batch or picture"}.get(
        type(problem), type(problem).__name__
    )
    print(f"adaqual: error: {message}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["train"]:
            return _train(argv[1:])
        args = build_parser().parse_args(argv)
        return args.run(args)
    except KeyboardInterrupt:
        print("adaqual: interrupted", file=sys.stderr, flush=True)
        return 130
    except UsageError as problem:
        _complain(problem)
        return 2
    except Exception as problem:
        _complain(problem)
        return 1
