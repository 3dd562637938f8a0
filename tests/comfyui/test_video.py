"""Restore Video in a real ComfyUI: from file to file, and of frames in memory; cancelled at once."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import packets, shown, write_clip
from comfy_server import ServerError, fetch, images, run
from lacking import HAS_CLIPS, needs_clips
from prompts import node, watch

SETTINGS = {"strength": 1.0, "preserve": 5.0, "seed": 0, "steps": 1}


def saved(server, prompt: dict, tmp_path: Path) -> Path:
    """The clip that the node SaveVideo of a prompt leaves."""
    (clip,) = [one for one in images(run(server.address, prompt)) if one["filename"].startswith("clip")]
    path = tmp_path / clip["filename"]
    path.write_bytes(fetch(server.address, clip))
    return path


def through(source: dict, **settings) -> dict:
    """A prompt that restores and saves the VIDEO of the node ``source``."""
    return {
        "source": source,
        "sample": node("AdaQualRestoreVideo", video=["source", 0], **SETTINGS | settings),
        "save": node("SaveVideo", video=["sample", 0], filename_prefix="clip", format="auto", codec="auto"),
    }


@needs_clips
def test_a_clip_keeps_its_times_sound_and_colours(server, tmp_path):
    source = server.base / "input" / "clip.mp4"
    write_clip(source, 8, (64, 96), rate=Fraction(30000, 1001), sound="aac", options={"bf": "0", "crf": "4"})
    found = saved(server, through(node("LoadVideo", file="clip.mp4"), temporal=3), tmp_path)
    assert packets(found, "audio") == packets(source, "audio")
    assert [one[:2] for one in packets(found, "video")] == [one[:2] for one in packets(source, "video")]
    before, after = shown(source), shown(found)
    assert (after[0].colorspace, after[0].color_range) == (before[0].colorspace, before[0].color_range)
    changes = [
        np.abs(a.to_ndarray(format="rgb24").astype(int) - b.to_ndarray(format="rgb24"))
        for a, b in zip(after, before, strict=True)
    ]
    assert all(0.5 < change.mean() < 60 for change in changes)


@pytest.mark.skipif(HAS_CLIPS, reason="this PyAV is new enough")
def test_an_older_pyav_is_named_with_the_one_that_is_needed(server):
    write_clip(server.base / "input" / "clip.mp4", 2, (64, 96))
    with pytest.raises(ServerError, match="clips need PyAV 18 or newer"):
        run(server.address, through(node("LoadVideo", file="clip.mp4")))


def test_frames_in_memory_and_their_sound_come_back(server, tmp_path):
    write_clip(server.base / "input" / "parts.mp4", 5, (64, 96), rate=Fraction(10), sound="aac")
    prompt = through(node("CreateVideo", images=["parts", 0], audio=["parts", 1], fps=10.0))
    prompt["load"] = node("LoadVideo", file="parts.mp4")
    prompt["parts"] = node("GetVideoComponents", video=["load", 0])
    found = saved(server, prompt, tmp_path)
    assert len(shown(found)) == 5 and packets(found, "audio")


def test_the_batch_nodes_average_over_frames(server):
    write_clip(server.base / "input" / "batch.mp4", 3, (64, 96))
    prompt = {
        "load": node("LoadVideo", file="batch.mp4"),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "map": node("AdaQualEstimateQuality", image=["parts", 0], temporal=2),
        "mask": node("MaskToImage", mask=["map", 1]),
        "restore": node("AdaQualRestore", image=["parts", 0], temporal=2, **SETTINGS),
        "saved": node("SaveImage", images=["mask", 0], filename_prefix="steady"),
        "result": node("SaveImage", images=["restore", 0], filename_prefix="restored"),
    }
    names = [image["filename"] for image in images(run(server.address, prompt))]
    assert sum(name.startswith("steady") for name in names) == sum(name.startswith("restored") for name in names) == 3


@needs_clips
def test_cancel_ends_a_clip_at_once_and_leaves_nothing(server):
    write_clip(server.base / "input" / "long.mp4", 60, (256, 256))
    before = set((server.base / "temp").glob("adaqual_*"))
    ended, moved, previews = watch(server, through(node("LoadVideo", file="long.mp4")), cancel_after=3)
    assert ended == "execution_interrupted" and len(moved) < 12
    assert set((server.base / "temp").glob("*adaqual_*")) <= before
