"""This module plans what a command reads and writes. It checks names and headers before torch or any model is loaded."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import PictureError
from ..pictures.folders import Files, find_files, nothing_found, subfolders
from ..pictures.formats import GIVE, UNREAD_SUFFIXES, WRITTEN
from ..pictures.header import Header, read_header
from ..pictures.opening import allow_megapixels
from ..pictures.pairs import Pair, find_pairs
from ..pictures.writing import check_output
from ..video.names import is_clip, looks_like_clip, written_suffix
from .messages import UsageError, complain, note


@dataclass(frozen=True)
class Job:
    """A job is one picture to read and the files to write from it. ``name`` is what reports call it."""

    name: str
    header: Header
    targets: tuple[Path, ...]


@dataclass(frozen=True)
class ClipJob:
    """A clip job is one clip to read and the file to write from it. ``name`` is what reports call it."""

    name: str
    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """A plan holds the pictures and clips of one call.

    ``failed`` and ``skipped`` are names of files of a folder that cannot be read or written, and of those whose output is there
    already. Where the call names a single file, failures are raised instead.
    """

    jobs: list[Job]
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    clips: list[ClipJob] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Return the number of pictures and clips, without the skipped ones."""
        return len(self.jobs) + len(self.clips) + len(self.failed)

    @property
    def noun(self) -> str:
        """Return what messages call the files."""
        return "pictures and clips" if self.clips else "pictures"


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of a file, which are equal for all names of one file; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_distinct(inputs: Sequence[Path], targets: Sequence[Path]) -> None:
    """Raise :class:`PictureError` where an output is an input or another output."""
    originals = {_identity(path) for path in inputs} - {None}
    names: set[str] = set()
    for target in targets:
        if _identity(target) in originals:
            raise PictureError(f"{target}: would replace an input; write to another place")
        real = os.path.realpath(target)
        if real in names:
            raise PictureError(f"{target}: would be written twice; give two names")
        names.add(real)


def check_job(header: Header, target: Path) -> None:
    """Raise :class:`PictureError` unless ``target`` can be written and can hold the picture."""
    check_output(target, header.channels, header.height, header.width, header.frames, header.moving)


def plan_picture(source: Path, target: Path, skip_existing: bool = False) -> Plan:
    """Return the plan for one picture; where ``target`` is a folder, the output goes there under the picture's own name.

    Raises :class:`PictureError` for a picture that cannot be read, and for a target that cannot be written or cannot hold it.
    """
    header = read_header(source)
    if os.path.isdir(target):
        written = any(source.suffix.lower() in known.suffixes for known in WRITTEN)
        target = target / (source.name if written else f"{source.stem}.png")
    _check_distinct([source], [target])
    if skip_existing and os.path.exists(target):
        return Plan([], skipped=[source.name])
    check_job(header, target)
    return Plan([Job(source.name, header, (target,))])


def plan_clip(source: Path, target: Path) -> Plan:
    """Return the plan for one clip; where ``target`` is a folder, the output goes there under the clip's own name."""
    if os.path.isdir(target):
        target = target / f"{source.stem}{written_suffix(source)}"
    return Plan([], clips=[ClipJob(source.name, source, target)])


def _places(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the place of each picture's output below the output folder, without the ending.

    The place is the picture's own path below ``folder`` without its ending. Pictures whose places would be the same keep it: the
    outputs of one.jpg and one.png are one.jpg.png and one.png.png. So does then a third picture one.jpg.png, as one.jpg.png.png.
    """
    inside = {path: path.relative_to(folder) for path in paths}
    places = {path: place.with_suffix("") for path, place in inside.items()}
    while True:
        counts = Counter(str(place).lower() for place in places.values())
        same = {path: inside[path] for path, place in places.items() if counts[str(place).lower()] > 1 and place != inside[path]}
        if not same:
            return places
        places |= same


def _some(paths: Sequence[Path], folder: Path) -> str:
    """Return up to three of the paths as they lie below ``folder``, joined by commas."""
    return ", ".join(str(path.relative_to(folder)) for path in paths[:3]) + ("…" if len(paths) > 3 else "")


def _note_left_out(folder: Path, found: Files, clips: Sequence[Path], below: Sequence[Path]) -> None:
    """Write a line for each group of files in ``folder`` that is not worked on though a user may expect it.

    The groups are clips other than ``clips``, the subfolders ``below``, linked subfolders, and files that cannot be read.
    """
    films = [path for path in found.others if looks_like_clip(path) and path not in clips]
    unread = [path for path in found.others if path.suffix.lower() in UNREAD_SUFFIXES]
    for paths, said in (
        (below, "subfolders are left out ({}); add --recursive"),
        (found.linked, "linked subfolders are left out ({}); name each of them as IN"),
        (films, "clips are left out ({}); adaqual restore takes them, quality only pictures"),
        (unread, f"files are left out ({{}}), whose formats cannot be read; export them as {GIVE}"),
    ):
        if paths:
            note(f"{folder}: {len(paths)} {said.format(_some(paths, folder))}")


def _plan_folder(
    folder: Path,
    outputs: Sequence[Path],
    recursive: bool,
    targets_of: Callable[[Header, Path], tuple[Path, ...]],
    clips_too: bool = False,
) -> Plan:
    """Return the plan for all pictures of a folder, and its clips where ``clips_too``, whose results go into ``outputs``.

    ``targets_of`` is given a header and the picture's place below the folder, without its ending. It returns the checked
    targets, or none for a picture to skip. A picture that cannot be read or written counts as failed, and one line on stderr
    says why. A clip keeps its name; where its format is not written, ``.mkv`` follows the name.
    """
    for path in outputs:
        if os.path.exists(path) and not os.path.isdir(path):
            raise PictureError(f"{path}: is a file; give a folder, as {folder} is one")
    found = find_files(folder, recursive, outputs)
    paths, clips = found.pictures, [path for path in found.others if clips_too and looks_like_clip(path)]
    _note_left_out(folder, found, clips, [] if recursive else subfolders(folder, outputs))
    if not (paths or clips or found.closed):
        raise nothing_found(folder, recursive)
    places = _places(paths, folder) if outputs else dict.fromkeys(paths, folder)
    _check_distinct(paths, [output / f"{place}.png" for output in outputs for place in places.values()])
    plan = Plan([])
    for path in found.closed:
        complain(PictureError(f"{path}: permission denied; allow this user to read the folder"))
        plan.failed.append(str(path.relative_to(folder)))
    for path, place in places.items():
        name = str(path.relative_to(folder))
        try:
            header = read_header(path)
            targets = targets_of(header, place)
        except (PictureError, OSError) as problem:
            complain(problem)
            plan.failed.append(name)
            continue
        if outputs and not targets:
            plan.skipped.append(name)
        else:
            plan.jobs.append(Job(name, header, targets))
    for path in clips:
        inside = path.relative_to(folder)
        more = "" if written_suffix(path) == path.suffix else written_suffix(path)
        plan.clips.append(ClipJob(str(inside), path, outputs[0] / f"{inside}{more}"))
    targets = [target for job in plan.jobs for target in job.targets] + [job.target for job in plan.clips]
    _check_distinct(paths + clips, targets)
    return plan


def plan_restore(folder: Path, output: Path, recursive: bool, skip_existing: bool) -> Plan:
    """Return the plan for restoring all pictures and clips of a folder, each written into ``output`` under its own name.

    Pictures become PNG, except pages and floats: PNG cannot hold these, so they stay TIFF.
    """

    def targets_of(header: Header, place: Path) -> tuple[Path, ...]:
        pages = header.frames > 1 and not header.moving
        target = output / f"{place}{'.tif' if pages or header.bits == 32 else '.png'}"
        if skip_existing and os.path.exists(target):
            return ()
        check_job(header, target)
        return (target,)

    planned = _plan_folder(folder, [output], recursive, targets_of, clips_too=True)
    there = [job for job in planned.clips if skip_existing and os.path.exists(job.target)]
    clips = [job for job in planned.clips if job not in there]
    return replace(planned, clips=clips, skipped=sorted(planned.skipped + [job.name for job in there]))


def plan_quality(source: Path, maps: Path | None, heatmaps: Path | None, recursive: bool) -> Plan:
    """Return the plan for judging a picture or a folder; the targets are the grey map and the heatmap, where they are asked
    for.

    Raises :class:`PictureError` for a picture that cannot be read, and for a target that cannot be written.
    """
    outputs = [path for path in (maps, heatmaps) if path is not None]

    def targets_of(header: Header, place: Path) -> tuple[Path, ...]:
        targets = tuple(output / f"{place}.png" for output in outputs)
        for target in targets:
            check_output(target, 3, header.height, header.width)
        return targets

    if os.path.isdir(source):
        return _plan_folder(source, outputs, recursive, targets_of)
    if maps is not None and maps.suffix.lower() != ".png":
        raise PictureError(f"{maps}: the map is exact numbers; end its name in .png")
    header = read_header(source)
    _check_distinct([source], outputs)
    for target in outputs:
        check_output(target, 3, header.height, header.width)
    return Plan([Job(source.name, header, tuple(outputs))])


def raise_failures(plan: Plan, failed: Sequence[str], rest: str) -> None:
    """Raise :class:`PictureError` that lists the files of a folder that failed, where any did.

    ``failed`` are those that failed during the work, beside those of the plan; ``rest`` says what became of the other files.
    """
    names = [*plan.failed, *failed]
    if names:
        rest = f"; {rest}" if len(names) < plan.count else ""
        raise PictureError(f"{len(names)} of {plan.count} {plan.noun} failed: {', '.join(names)}{rest}")


def _plan_file(args: argparse.Namespace) -> Plan:
    """Return the plan for the one picture or clip that is restored, or the one picture that is damaged."""
    if args.command == "restore" and is_clip(args.input):
        return plan_clip(args.input, args.output)
    return plan_picture(args.input, args.output, getattr(args, "skip_existing", False))


def plan(args: argparse.Namespace) -> Plan | list[Pair] | None:
    """Return what the command of the options is to do.

    That is None for commands about other files than pictures and clips. Raises :class:`PictureError` for files that cannot be
    read or written.
    """
    if getattr(args, "max_megapixels", None) is not None:
        allow_megapixels(args.max_megapixels)
    if getattr(args, "assume_mask", None) is not None:
        if os.path.isdir(args.input):
            raise UsageError(f"--assume-mask: is for one picture or clip, but {args.input} is a folder; restore one at a time")
        read_header(args.assume_mask)
    if args.command == "restore" and os.path.isdir(args.input):
        return plan_restore(args.input, args.output, args.recursive, args.skip_existing)
    if args.command in ("restore", "degrade"):
        planned = _plan_file(args)
        if getattr(args, "assume_mask", None) is not None:
            _check_distinct([args.assume_mask], [target for job in planned.jobs for target in job.targets])
        return planned
    if args.command == "quality":
        return plan_quality(args.input, args.map, args.heatmap, args.recursive)
    return find_pairs(args.clean, args.degraded) if args.command == "evaluate" else None
