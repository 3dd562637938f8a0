"""The shipped workflows that need no other models through the API of a real ComfyUI (those that do: test_model_workflows.py)."""

import io

import av
import numpy as np
import pytest
from comfy_server import REPOSITORY, ServerError, fetch, images, run
from comfy_workflow import to_prompt
from lacking import HAS_CLIPS
from make_example_clip import CLIP, true_frames
from PIL import Image

EXAMPLES = REPOSITORY / "pictures"
LEAST_GAIN = 1.0  # dB over the damaged example
KEEPERS = ("SaveImage", "PreviewImage", "SaveVideo")
RESTORATIONS = ("adaqual_restored", "adaqual_upscaled")
SORTED = ("adaqual_kept", "adaqual_rejected")


def decode(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture file as [H, W, 3] in [0, 1], averaged down to (width, height) if a size is wanted."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture.resize(size, Image.BOX) if size else picture, np.float64) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(max(((a - b) ** 2).mean(), 1e-10)))


def test_pictures_travel_unchanged(server, object_info):
    plain = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "adaqual_example.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}},
    }
    (saved,) = images(run(server.address, plain))
    example = decode((EXAMPLES / "example.png").read_bytes())
    assert np.array_equal(decode(fetch(server.address, saved)), example)


def test_a_refused_prompt_names_the_node(server):
    wrong = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "missing.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    with pytest.raises(ServerError, match=r"node 1 \(LoadImage\)"):
        run(server.address, wrong)


def crop_of_the_example(server) -> np.ndarray:
    """A damaged picture so small that 25 steps take no time, in the server's input folder as crop.png."""
    with Image.open(EXAMPLES / "example.png") as example:
        small = example.convert("RGB").crop((200, 200, 296, 280))
    small.save(server.base / "input" / "crop.png")
    return np.asarray(small, np.float64) / 255


def gain_of_the_clip(restored: bytes) -> float:
    """Mean gain in PSNR of a restored example clip over the shipped one, in dB."""
    truth, gains = true_frames().movedim(1, -1).numpy(), []
    with av.open(str(CLIP)) as before, av.open(io.BytesIO(restored)) as after:
        for true, old, new in zip(truth, before.decode(video=0), after.decode(video=0), strict=True):
            one, other = (frame.to_ndarray(format="rgb24") / 255 for frame in (old, new))
            gains.append(psnr(other, true) - psnr(one, true))
    return float(np.mean(gains))


def test_workflow_gives_its_pictures(server, object_info, complete_workflow):
    prompt = to_prompt(complete_workflow, object_info)
    if not HAS_CLIPS and any(one["class_type"] == "AdaQualRestoreVideo" for one in prompt.values()):
        pytest.skip("clips need PyAV 18")
    chosen = {n["inputs"]["model_name"] for n in prompt.values() if n["class_type"] == "AdaQualLoadModel"}
    random_weights = any(not name.endswith("(shipped)") for name in chosen)
    if random_weights:  # they restore nothing, but they must run and change the picture
        small = crop_of_the_example(server)
        for one in prompt.values():
            if one["class_type"] == "LoadImage":
                one["inputs"]["image"] = "crop.png"
    outputs = run(server.address, prompt)
    keepers = {node for node, wanted in prompt.items() if wanted["class_type"] in KEEPERS}
    assert keepers and keepers <= set(outputs)
    clean = decode((EXAMPLES / "example_clean.png").read_bytes())
    before = psnr(decode((EXAMPLES / "example.png").read_bytes()), clean)
    restorations, parted = 0, {name: [] for name in SORTED}
    for image in images(outputs):
        data = fetch(server.address, image)
        if image["filename"].endswith(".mp4"):
            restorations += 1
            gain = gain_of_the_clip(data)
            assert gain >= LEAST_GAIN, f"{image['filename']}: {gain:.2f} dB"
            continue
        assert decode(data).std() > 0.01, f"{image['filename']} is flat"
        if random_weights and image["type"] == "output":
            restorations += 1
            assert decode(data).shape == small.shape and np.abs(decode(data) - small).max() > 0.01
        elif image["filename"].startswith(RESTORATIONS):
            restorations += 1
            after = psnr(decode(data, size=clean.shape[1::-1]), clean)
            assert after >= before + LEAST_GAIN, f"{image['filename']}: {before:.2f} dB became {after:.2f} dB"
        elif image["filename"].startswith(SORTED):
            parted[image["filename"].rsplit("_", 2)[0]].append(psnr(decode(data), clean))
    if any(node["class_type"] == "AdaQualScoreAndSort" for node in prompt.values()):
        kept, rejected = parted.values()
        assert len(kept) == len(rejected) == 2 and min(kept) > max(rejected) and kept == sorted(kept, reverse=True)
    else:
        assert restorations


def test_workflows_ship_with_a_picture_each():
    workflows = sorted((REPOSITORY / "workflows").glob("*.json"))
    assert len(workflows) >= 6
    for path in workflows:
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert min(picture.size) >= 200
