"""Graphs about quality maps alone, in a real ComfyUI."""

import numpy as np
from comfy_server import run
from prompts import node, picture, results


def test_an_unpainted_mask_edits_nothing(server):
    name = picture(server, "unpainted.png", (160, 100))
    edit = {"override_quality": 1.0, "minimum": 1.0, "maximum": 5.0, "gain": 1.0, "blur": 0.0}
    prompt = {
        "load": node("LoadImage", image=name),
        "map": node("AdaQualEstimateQuality", image=["load", 0]),
        "edit": node("AdaQualEditQuality", quality=["map", 0], override=["load", 1], **edit),
        "before": node("SaveImage", images=["map", 2], filename_prefix="unpainted_before"),
        "after": node("SaveImage", images=["edit", 1], filename_prefix="unpainted_after"),
    }
    (before,) = results(server, prompt, "unpainted_before")
    prompt["after"]["inputs"]["filename_prefix"] = "unpainted_again"  # the rest comes from ComfyUI's cache
    (after,) = results(server, prompt, "unpainted_again")
    assert np.array_equal(np.asarray(before), np.asarray(after))


def test_a_graph_may_end_at_a_map_or_at_scores(server):
    prompt = {
        "load": node("LoadImage", image=picture(server, "ending.png", (96, 64))),
        "map": node("AdaQualEstimateQuality", image=["load", 0]),
        "sort": node("AdaQualScoreAndSort", image=["load", 0], threshold=3.0, order="as given"),
    }
    outputs = run(server.address, prompt)
    assert set(outputs) == {"map", "sort"} and outputs["map"]["images"] and "picture 1: " in outputs["sort"]["text"][0]
    edit = {"override_quality": 1.0, "minimum": 1.0, "maximum": 5.0, "gain": 1.0, "blur": 0.0}
    del prompt["sort"]
    prompt["edit"] = node("AdaQualEditQuality", quality=["map", 0], **edit)
    assert run(server.address, prompt)["edit"]["images"]
