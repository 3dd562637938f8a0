"""Prompts for a real ComfyUI: their nodes, the pictures they load and save, and how a run went."""

import asyncio
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import numpy as np
from comfy_server import fetch, images, run
from PIL import Image

SHIPPED = "adaqual nano (shipped)"
"""What the loader calls the shipped restorer."""


def node(class_type: str, /, **given) -> dict:
    return {"class_type": class_type, "inputs": given}


def picture(server, name: str, size: tuple[int, int], seed: int = 0) -> str:
    """A soft random picture in the server's input folder; its file name."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.BICUBIC).save(server.base / "input" / name)
    return name


def chain(name: str, amount: int = 1, mask: float = 1.0, **sampler) -> dict:
    """Load a picture, call all of it damaged, and restore it with the separate nodes."""
    settings = {"seed": 0, "steps": 2, "schedule": "trailing", "eta": 0.0, "strength": 1.0, "tile": 512, "overlap": 64}
    length = {"gamma": 1.0, "min_length": 1.0, "max_length": 16.0, "preserve": 5.0}
    return {
        "load": node("LoadImage", image=name),
        "batch": node("RepeatImageBatch", image=["load", 0], amount=amount),
        "mask": node("SolidMask", value=mask, width=64, height=64),
        "map": node("AdaQualMaskToQuality", mask=["mask", 0], image=["batch", 0]),
        "build": node("AdaQualBuildPrompt", image=["batch", 0], quality=["map", 0], **length),
        "model": node("AdaQualLoadModel", model_name=SHIPPED),
        "sample": node("AdaQualSampler", model=["model", 0], image=["batch", 0], prompt=["build", 0], **settings | sampler),
        "save": node("SaveImage", images=["sample", 0], filename_prefix="chain"),
    }


def results(server, prompt: dict, prefix: str) -> list[Image.Image]:
    """The pictures that a prompt saves under a prefix, in order."""
    found = [image for image in images(run(server.address, prompt)) if image["filename"].startswith(prefix)]
    return [Image.open(io.BytesIO(fetch(server.address, image))) for image in found]


def watch(server, prompt: dict, cancel_after: int | None = None) -> tuple[str, list[float], list[tuple[int, int]]]:
    """Run a prompt as the front end does: how it ended, the sampler's progress, and the sizes of the previews."""

    async def follow() -> tuple[str, list[float], list[tuple[int, int]]]:
        moved, previews = [], []
        async with aiohttp.ClientSession(server.address, timeout=aiohttp.ClientTimeout(120)) as session:
            async with session.ws_connect("/ws?clientId=watcher") as socket:
                await session.post("/prompt", json={"prompt": prompt, "client_id": "watcher"})
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        assert struct.unpack(">II", message.data[:8]) == (1, 1)  # a preview, as JPEG
                        previews.append(Image.open(io.BytesIO(message.data[8:])).size)
                        continue
                    told = json.loads(message.data)
                    if told["type"] == "progress" and told["data"]["node"] == "sample":
                        moved.append(told["data"]["value"] / told["data"]["max"])
                        if len(moved) == cancel_after:
                            await session.post("/interrupt")
                    if told["type"] in ("execution_success", "execution_interrupted", "execution_error"):
                        return told["type"], moved, previews
        raise AssertionError("the server closed the connection")

    with ThreadPoolExecutor(1) as thread:  # playwright keeps an event loop running in this one
        return thread.submit(asyncio.run, follow()).result()
