"""``python -m benchmarks.queued [--minutes 120]`` watches the memory of a ComfyUI that works through a long queue.

It starts a real ComfyUI with this pack and queues small graphs one after the other. Each damages and restores another crop of the
example, 128 to 256 px a side, so that nothing comes from ComfyUI's cache, and each uses other models than the one before: the
shipped restorer and assessor, and small files with random weights of every other family. After each prompt it reads the server's
resident memory. After every 40th prompt it also lets the server unload all models and collect garbage (ComfyUI's /free), clears
the history that ComfyUI keeps of its prompts, and reads again.

It prints one JSON object. "at 10 %" is the median over the second tenth of the run, "at the end" that over the last tenth. The
slope is that of a straight line through all readings from 10 % on. The status is 1 if the memory at the end is more than 5 %
above that at 10 %, with models or without.
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
    "adaqual_quality/estimator.safetensors": lambda path: save_model(small.estimator(), path, {}),
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


@dataclass(frozen=True)
class Reading:
    """This class holds the server's resident memory in MB, the seconds since the first prompt, and whether all models had been
    unloaded.
    """

    seconds: float
    megabytes: float
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
    start, number = time.monotonic(), 0
    with Image.open(REPOSITORY / "pictures" / "example_clean.png") as opened:
        example = opened.convert("RGB")
    while (passed := time.monotonic() - start) < seconds:
        width, height = draw.randint(128, 256), draw.randint(128, 256)
        left, top = draw.randint(0, example.width - width), draw.randint(0, example.height - height)
        picture = server.base / "input" / f"queued_{number}.png"
        example.crop((left, top, left + width, top + height)).save(picture)
        outputs = c.run(server.address, graph(number, picture.name, draw))
        yield Reading(passed, resident(server), False)
        for shown in c.images(outputs):
            (server.base / "temp" / shown["filename"]).unlink()
        picture.unlink()
        number += 1
        if number % CLEAN_EVERY == 0:
            unload(server)
            yield Reading(time.monotonic() - start, resident(server), True)


def change(found: list[Reading], seconds: float) -> dict:
    """Return memory at 10 % and at the end of a run of that many seconds, its growth as a share, and the slope between them."""
    early = [one.megabytes for one in found if 0.1 * seconds <= one.seconds < 0.2 * seconds]
    late = [one.megabytes for one in found if one.seconds >= 0.9 * seconds]
    later = [one for one in found if one.seconds >= 0.1 * seconds]
    if not early or not late:
        raise ValueError(f"No reading in the second or the last tenth of {seconds / 60:g} minutes; give --minutes more")
    before, after = statistics.median(early), statistics.median(late)
    line = statistics.linear_regression([one.seconds / 3600 for one in later], [one.megabytes for one in later])
    return {
        "readings": len(found),
        "MB at 10 %": round(before),
        "MB at the end": round(after),
        "MB at most": round(max(one.megabytes for one in found)),
        "growth": round(after / before - 1, 4),
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
        with c.running(base) as server:
            for reading in readings(server, seconds, random.Random(args.seed)):
                found.append(reading)
                if len(found) % 100 == 0:
                    said = f"{reading.seconds / 60:.0f} min, {len(found)} readings, {reading.megabytes:.0f} MB"
                    print(said, file=sys.stderr, flush=True)
    changes = {
        "with models": change([one for one in found if not one.unloaded], seconds),
        "models unloaded": change([one for one in found if one.unloaded], seconds),
    }
    prompts = sum(not one.unloaded for one in found)
    print(json.dumps({"minutes": args.minutes, "prompts": prompts} | changes, indent=1))
    return int(any(one["growth"] > ALLOWED_GROWTH for one in changes.values()))


if __name__ == "__main__":
    sys.exit(main())
