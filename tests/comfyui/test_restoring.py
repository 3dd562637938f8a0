"""What the nodes that restore promise while they run in a real ComfyUI: batches, tiles, alpha, progress and cancelling."""

import numpy as np
import pytest
from comfy_server import ServerError, run
from PIL import Image
from prompts import chain, node, picture, results, watch


def test_a_batch_comes_back_whole_and_each_picture_as_if_alone(server):
    name = picture(server, "batch.png", (211, 123))
    (alone,) = results(server, chain(name), "chain")
    three = results(server, chain(name, amount=3), "chain")
    assert [one.size for one in three] == [(211, 123)] * 3
    assert all(np.array_equal(np.asarray(one), np.asarray(alone)) for one in three)


def test_tiles_do_not_show(server):
    name = picture(server, "tiles.png", (250, 140))
    whole, tiled = (results(server, chain(name, tile=tile, steps=1), "chain")[0] for tile in (1024, 128))
    assert np.abs(np.asarray(whole, int) - np.asarray(tiled, int)).max() <= 1


def test_nothing_damaged_means_nothing_changed(server):
    name = picture(server, "clean.png", (130, 70))
    (same,) = results(server, chain(name, mask=0.0), "chain")
    with Image.open(server.base / "input" / name) as before:
        assert np.array_equal(np.asarray(same), np.asarray(before))


def test_alpha_is_carried_through_every_node_that_gives_pictures(server):
    name = picture(server, "rgba.png", (90, 61))
    prompt = {
        "load": node("LoadImage", image=name),
        "mask": node("SolidMask", value=0.25, width=90, height=61),
        "rgba": node("JoinImageWithAlpha", image=["load", 0], alpha=["mask", 0]),
        "degrade": node("AdaQualDegrade", image=["rgba", 0], kind="noise", second_kind="blur", severity=0.5, seed=1),
        "restore": node("AdaQualRestore", image=["degrade", 0], strength=1.0, preserve=5.0, seed=0, steps=1),
        "save": node("SaveImage", images=["restore", 0], filename_prefix="rgba"),
    }
    (saved,) = results(server, prompt, "rgba")
    assert saved.mode == "RGBA" and saved.size == (90, 61)
    assert np.unique(np.asarray(saved)[..., 3]).tolist() == [191]


def test_colours_that_a_files_alpha_hides_change_nothing_and_come_back(server):
    rng, seen = np.random.default_rng(0), {}
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((96, 64), Image.BICUBIC)).copy()
    hidden = np.zeros((64, 96), bool)
    hidden[:24, :40] = hidden[40:44, 60:90] = True
    for colour in (0, 255):
        pixels[hidden] = colour
        file = np.dstack((pixels, np.where(hidden, 0, 255).astype(np.uint8)))
        Image.fromarray(file).save(server.base / "input" / f"cutout{colour}.png")
        prompt = {
            "load": node("LoadImage", image=f"cutout{colour}.png"),
            "rgba": node("JoinImageWithAlpha", image=["load", 0], alpha=["load", 1]),
            "sort": node("AdaQualScoreAndSort", image=["rgba", 0], threshold=1.0, order="as given"),
            "sample": node("AdaQualRestore", image=["sort", 0], strength=1.0, preserve=5.0, seed=0, steps=1),
            "save": node("SaveImage", images=["sample", 0], filename_prefix=f"cutout{colour}"),
            "score": node("PreviewAny", source=["sample", 2]),
        }
        outputs = run(server.address, prompt)
        (saved,) = (server.base / "output" / one["filename"] for one in outputs["save"]["images"])
        found = np.asarray(Image.open(saved))
        assert np.array_equal(found[hidden], file[hidden]) and not np.array_equal(found, file)
        seen[colour] = found[~hidden].tobytes(), outputs["score"]["text"], outputs["sort"]["text"]
    assert seen[0] == seen[255]


def test_another_pictures_prompt_is_refused(server):
    prompt = chain(picture(server, "any.png", (64, 64)))
    prompt["batch2"] = node("RepeatImageBatch", image=["load", 0], amount=2)
    prompt["sample"]["inputs"]["image"] = ["batch2", 0]
    with pytest.raises(ServerError, match="built for 1 pictures, but image holds 2"):
        run(server.address, prompt)


def test_progress_moves_and_previews_show_the_whole_picture(server):
    prompt = chain(picture(server, "preview.png", (192, 128)), amount=2, tile=64, steps=3)
    ended, moved, previews = watch(server, prompt)
    assert ended == "execution_success"
    assert moved == sorted(moved) and moved[-1] == 1
    assert moved[0] < 0.2 and len(set(moved)) >= 3  # newer servers leave out some of what comes within 0.1 s
    assert set(previews) == {(192, 128)}


def test_one_bar_counts_judging_and_restoring(server):
    name = picture(server, "one_bar.png", (1100, 64))  # two tiles to judge, more to restore
    prompt = {
        "load": node("LoadImage", image=name),
        "batch": node("RepeatImageBatch", image=["load", 0], amount=2),
        "sample": node("AdaQualRestore", image=["batch", 0], strength=1.0, preserve=5.0, seed=0, steps=2),
        "save": node("PreviewImage", images=["sample", 0]),
    }
    ended, moved, previews = watch(server, prompt)
    assert ended == "execution_success" and moved == sorted(moved) and moved[-1] == 1
    judging = [place for place in moved if place <= 1 / 8]
    # two tiles of each picture; newer servers leave out some of what comes within 0.1 s
    assert judging[0] == 1 / 32 and set(judging) <= {1 / 32, 1 / 16, 3 / 32, 1 / 8} and len(set(moved) - set(judging)) >= 2
    assert previews and moved.count(1) <= 2


def test_cancel_ends_the_run_at_once(server):
    prompt = chain(picture(server, "cancel.png", (512, 512)), amount=4, tile=64, seed=2)
    ended, moved, _ = watch(server, prompt, cancel_after=3)
    assert ended == "execution_interrupted" and len(moved) < 12
