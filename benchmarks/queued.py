"""``python -m benchmarks.queued [--minutes 120]`` watches the memory of a ComfyUI that works through a long queue.

It starts a real ComfyUI with this pack and queues small graphs one after the other. Each damages and restores another crop of the
example, 128 to 256 px a side, so that nothing comes from ComfyUI's cache, and each uses other models than the one before: the
shipped restorer and assessor, and small files with random weights of every other family. After each prompt it reads the server's
memory. After every 40th prompt, and at least 30 times in a run, it also lets the server unload all models and collect garbage
(ComfyUI's /free), clears the history that ComfyUI keeps of its prompts, and reads again.

Two numbers are read. "in use" is what the program has asked the C library for and not given back (mallinfo2: uordblks +
hblkhd): a leak makes it grow. "resident" is what the system counts, with code, and with memory that was given back but that the
C library keeps, between pieces in use, for the next request. It grows with every new mixture of sizes, ever more slowly.

It prints one JSON object. "at 10 %" is the median over the second tenth of the run, "at half" that over the sixth, "at the end"
that over the last. The slope is that of a straight line through all readings from 10 % on. The status is 1 if the memory in use
at the end is more than 5 % above that at 10 %, with models or without. It needs Linux with glibc 2.33 or newer.
"""

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from adaqual_core.kinds import KINDS
from adaqual_core.weight_files import save_model

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path += [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests")]
import comfy_server as c  # noqa: E402
import small  # noqa: E402

SHIPPED = "adaqual nano (shipped)"
EMBEDDED = "embedded (shipped)"
CLEAN_EVERY = 40
ALLOWED_GROWTH = 0.05
LEAST_MINUTES = 20
SAVERS: dict[str, Callable[[Path], None]] = {
    "adaqual/restorer.safetensors": lambda path: save_model(small.restorer(), path, {}),
    "adaqual/WeatherDiff64.pth.tar": small.save_weatherdiffusion,
    "adaqual/adaqual.ckpt": small.save_lightning,
    "adaqual_quality/estimator.safetensors": lambda path: save_model(small.assessor(), path, {}),
}
"""The files that lie beside the shipped ones: what writes each with small random weights, by folder and name."""
TURNS = (
    (SHIPPED, EMBEDDED),
    ("restorer.safetensors", "estimator.safetensors"),
    (None, None),
    ("WeatherDiff64.pth.tar", EMBEDDED),
    ("adaqual.ckpt", "estimator.safetensors"),
)
"""Restorer and assessor of each graph in turn; None is Restore Image with nothing connected."""


PROBE = """
import ctypes
from aiohttp import web
from server import PromptServer

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

library = ctypes.CDLL("libc.so.6")
library.mallinfo2.restype = Info

@PromptServer.instance.routes.get("/adaqual_in_use")
async def in_use(request):
    info = library.mallinfo2()
    return web.json_response(info.uordblks + info.hblkhd)

NODE_CLASS_MAPPINGS = {}
"""
"""A pack for the server that tells the bytes in use."""


@dataclass(frozen=True)
class Reading:
    """This class holds the server's ``resident`` memory and its memory ``in_use`` in MB, the ``seconds`` since the first prompt,
    and whether all models had been ``unloaded``.
    """

    seconds: float
    resident: float
    in_use: float
    unloaded: bool


def node(class_type: str, **inputs: object) -> dict:
    """Return one node of a prompt in the form of ComfyUI's API."""
    return {"class_type": class_type, "inputs": inputs}


def graph(number: int, file: str, draw: random.Random) -> dict:
    """Return the prompt number ``number``: a picture is damaged, judged and restored with the models whose turn it is."""
    restorer, assessor = TURNS[number % len(TURNS)]
    seed = draw.randrange(2**32)
    kind, severity = draw.choice(KINDS), draw.uniform(0.3, 1)
    prompt = {
        "load": node("LoadImage", image=file),
        "damage": node("AdaQualDegrade", image=["load", 0], kind=kind, second_kind="none", severity=severity, seed=seed),
        "show": node("PreviewImage", images=["restore", 0]),
    }
    if restorer is None:
        prompt["restore"] = node("AdaQualRestore", image=["damage", 0], strength=1.0, preserve=4.5, seed=seed, steps=0)
        return prompt
    sampling = {"seed": seed, "steps": 2, "schedule": "auto", "eta": 0.0, "strength": 1.0, "tile": 128, "overlap": 64}
    lengths = {"gamma": 1.0, "min_length": 1.0, "max_length": 16.0, "preserve": 4.5}
    prompt |= {
        "model": node("AdaQualLoadModel", model_name=restorer),
        "assessor": node("AdaQualLoadAssessor", assessor_name=assessor),
        "map": node("AdaQualEstimateQuality", image=["damage", 0], assessor=["assessor", 0]),
        "prompt": node("AdaQualBuildPrompt", image=["damage", 0], quality=["map", 0], **lengths),
        "restore": node("AdaQualSampler", model=["model", 0], image=["damage", 0], prompt=["prompt", 0], **sampling),
        "heatmap": node("PreviewImage", images=["map", 2]),
    }
    return prompt


def resident(server: c.Server) -> float:
    """Return the server's resident memory in MB (2^20 bytes)."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(f"ComfyUI has ended; its log ends with\n{c.tail(server.log)}")
    return int(found[1]) / 1024


def add_probe(base: Path) -> None:
    """Put the pack that tells the bytes in use into a server's base directory, before the server starts."""
    probe = base / "custom_nodes" / "adaqual_probe" / "__init__.py"
    probe.parent.mkdir(parents=True)
    probe.write_text(PROBE)


def read(server: c.Server, seconds: float, unloaded: bool) -> Reading:
    """Return the memory of the server now."""
    with urllib.request.urlopen(f"{server.address}/adaqual_in_use", timeout=60) as answer:
        in_use = json.load(answer) / 2**20
    return Reading(seconds, resident(server), in_use, unloaded)


def post(server: c.Server, path: str, body: dict) -> None:
    """Send a JSON object to the server."""
    request = urllib.request.Request(server.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60):
        pass


def unload(server: c.Server) -> None:
    """Let the server unload all models, collect garbage and forget its history; return when that is done."""
    post(server, "/history", {"clear": True})
    post(server, "/free", {"unload_models": True, "free_memory": True})
    time.sleep(3)


def readings(server: c.Server, seconds: float, draw: random.Random) -> Iterator[Reading]:
    """Run prompts for that many seconds, and yield the memory after each and after each unloading."""
    start, number, unloaded = time.monotonic(), 0, 0.0
    with Image.open(REPOSITORY / "pictures" / "example_clean.png") as opened:
        example = opened.convert("RGB")
    while (passed := time.monotonic() - start) < seconds:
        width, height = draw.randint(128, 256), draw.randint(128, 256)
        left, top = draw.randint(0, example.width - width), draw.randint(0, example.height - height)
        picture = server.base / "input" / f"queued_{number}.png"
        example.crop((left, top, left + width, top + height)).save(picture)
        outputs = c.run(server.address, graph(number, picture.name, draw))
        yield read(server, passed, False)
        for shown in c.images(outputs):
            (server.base / "temp" / shown["filename"]).unlink()
        picture.unlink()
        number += 1
        if number % CLEAN_EVERY == 0 or passed - unloaded > seconds / 30:
            unloaded = passed
            unload(server)
            yield read(server, time.monotonic() - start, True)


def _median(found: list[Reading], kind: str, seconds: float, tenth: int) -> float:
    """Return the median memory of that kind in one tenth (0 to 9) of a run of that many seconds."""
    inside = [getattr(one, kind) for one in found if tenth * seconds / 10 <= one.seconds < (tenth + 1) * seconds / 10]
    if not inside:
        raise ValueError(f"No reading in tenth {tenth + 1} of {seconds / 60:g} minutes; give --minutes more")
    return statistics.median(inside)


def change(found: list[Reading], kind: str, seconds: float) -> dict:
    """Return the memory of a kind (``resident`` or ``in_use``) at 10 %, at half and at the end of a run of that many seconds, its
    growth since the first two as shares, and its slope."""
    early, half, late = (_median(found, kind, seconds, tenth) for tenth in (1, 5, 9))
    later = [one for one in found if one.seconds >= 0.1 * seconds]
    line = statistics.linear_regression([one.seconds / 3600 for one in later], [getattr(one, kind) for one in later])
    return {
        "MB at 10 %": round(early),
        "MB at half": round(half),
        "MB at the end": round(late),
        "MB at most": round(max(getattr(one, kind) for one in found)),
        "growth since 10 %": round(late / early - 1, 4),
        "growth since half": round(late / half - 1, 4),
        "slope, MB per hour": round(line.slope, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the queue; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queued", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0, help="seed of the crops and their damage")
    args = parser.parse_args(argv)
    if args.minutes < LEAST_MINUTES:
        parser.error(f"--minutes {args.minutes:g} is too short for readings in every tenth; give at least {LEAST_MINUTES}")
    seconds, found = 60 * args.minutes, []
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        for name, save in SAVERS.items():
            file = base / "models" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            save(file)
        add_probe(base)
        with c.running(base) as server:
            for reading in readings(server, seconds, random.Random(args.seed)):
                found.append(reading)
                if len(found) % 100 == 0:
                    said = f"{reading.seconds / 60:.0f} min, {len(found)} readings, {reading.in_use:.0f} MB in use"
                    print(said, file=sys.stderr, flush=True)
    groups = {
        "with models": [one for one in found if not one.unloaded],
        "models unloaded": [one for one in found if one.unloaded],
    }
    in_use, held = ({name: change(group, kind, seconds) for name, group in groups.items()} for kind in ("in_use", "resident"))
    print(
        json.dumps({"minutes": args.minutes, "prompts": len(groups["with models"]), "in use": in_use, "resident": held}, indent=1)
    )
    return int(any(one["growth since 10 %"] > ALLOWED_GROWTH for one in in_use.values()))


if __name__ == "__main__":
    sys.exit(main())
