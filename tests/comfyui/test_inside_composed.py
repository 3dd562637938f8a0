"""Run inside ComfyUI's Python (see tests/inside_items.py): the Quality Guider beside LoRA, ControlNet and Differential Diffusion.

Each comes from ComfyUI's own node, and the guided result is compared with ComfyUI's own guider under the same patches.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

# inside starts ComfyUI, so it comes first
# isort: off
from inside import UNET, Case, comfy, differ, guided_as_by_hand, randomised, sd15
import comfy.cldm.cldm
import comfy.controlnet
import comfy.ops
import folder_paths
import nodes
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_model_advanced import RescaleCFG
from pack.nodes.steering import AdaQualDenoiseMask

CASE = sd15()


def with_lora(case: Case) -> Case:
    """Rank 4 on every attention layer, from a file."""
    layers = {}
    for name, weight in case.model.model.state_dict().items():
        if ".attn" in name and name.endswith(".weight"):
            base = "lora_unet_" + name.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
            layers[f"{base}.lora_up.weight"] = torch.randn(weight.shape[0], 4) / 2
            layers[f"{base}.lora_down.weight"] = torch.randn(4, weight.shape[1]) / weight.shape[1] ** 0.5
            layers[f"{base}.alpha"] = torch.tensor(4.0)
    with tempfile.TemporaryDirectory() as folder:
        save_file(layers, Path(folder) / "small.safetensors")
        folder_paths.add_model_folder_path("loras", folder)
        (model,) = nodes.LoraLoaderModelOnly().load_lora_model_only(case.model, "small.safetensors", 1.0)
    return replace(case, model=model)


def with_control(case: Case) -> Case:
    """A ControlNet of the network's own kind, with one hint for both pictures."""
    settings = {name: value for name, value in UNET.items() if name not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(
        **settings, hint_channels=3, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init
    )
    device = torch.device("cpu")
    control = comfy.controlnet.ControlNet(randomised(network), load_device=device, manual_cast_dtype=None)
    hint = torch.rand(1, 64, 64, 3)
    texts = nodes.ControlNetApplyAdvanced().apply_controlnet(case.positive, case.negative, control, hint, 0.8, 0.0, 1.0)
    return replace(case, positive=texts[0], negative=texts[1])


def with_differential(case: Case) -> Case:
    """Differential Diffusion, which reads a noise mask as the time from which a cell joins."""
    return replace(case, model=DifferentialDiffusion.execute(case.model).args[0])


def with_lora_and_control(case: Case) -> Case:
    """Both of these."""
    return with_lora(with_control(case))


PATCHES = pytest.mark.parametrize("patch", [with_lora, with_control, with_lora_and_control])


@PATCHES
def test_guidance_is_as_by_hand_beside(patch):
    untouched = CASE.steered(CASE.halves())
    assert differ(guided_as_by_hand(patch.__name__, patch(CASE)), untouched) > 1e-2, "the patch has no effect"
    assert differ(CASE.steered(CASE.halves()), untouched) <= 1e-5  # the model itself is as before


THIRDS = torch.tensor([5.0, 5.0, 5.0, 3.0, 3.0, 1.0, 1.0, 1.0]).expand(1, 1, 8, 8)


def graded(score_map: torch.Tensor) -> torch.Tensor:
    """The noise mask of these scores."""
    return AdaQualDenoiseMask.execute({"samples": CASE.latent}, CASE.map(score_map), 0.0, 1.0, 1.0).args[0]["noise_mask"]


@pytest.mark.parametrize("patch", [lambda case: case, with_lora_and_control], ids=["alone", "with LoRA and ControlNet"])
def test_a_graded_mask_lets_half_damaged_cells_join_in_the_middle_of_the_run(patch):
    """What is half damaged joins in the middle of the run, what is perfect never."""
    case, mask = with_differential(patch(CASE)), graded(THIRDS)
    assert mask.shape == (1, 1, 8, 8) and mask[0, 0, 0].tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0]
    guided_as_by_hand("Differential Diffusion", case, denoise_mask=mask)
    masks, theirs = [], case.model.model_options["denoise_mask_function"]

    def recording(*given, **more) -> torch.Tensor:
        masks.append(theirs(*given, **more))
        return masks[-1]

    spied = case.model.clone()
    spied.set_model_denoise_mask_function(recording)
    found = replace(case, model=spied).steered(CASE.map(THIRDS), 6, denoise_mask=mask)
    good, middle, bad = ([bool(step[0, 0, 0, column]) for step in masks] for column in (0, 3, 7))
    print(good, middle, bad)
    assert good == [False] * 6 and bad == [True] * 6 and middle == sorted(middle) and 1 <= sum(middle) <= 5
    assert differ(found[..., :3], CASE.latent[..., :3]) <= 1e-5
    assert differ(found[..., 5:], CASE.latent[..., 5:]) > 1e-2 and differ(found[..., 3:5], CASE.latent[..., 3:5]) > 1e-2


@pytest.mark.parametrize("patch", [lambda case: case, with_differential], ids=["plain", "with Differential Diffusion"])
def test_an_all_good_picture_is_not_denoised_and_an_all_bad_one_wholly(patch):
    case = patch(CASE)
    for score, wanted in ((5.0, CASE.latent), (1.0, CASE.plain(7.0, 3))):
        mask = graded(torch.full((1, 1, 1, 1), score))
        assert differ(case.steered(case.flat(score), 3, denoise_mask=mask), wanted) <= 1e-5


def test_a_guidance_patch_that_reads_the_whole_picture_stays_in_force():
    rescaled = replace(CASE, model=RescaleCFG().patch(CASE.model, 0.7)[0])
    nearly = CASE.map(torch.full((1, 1, 8, 8), 3.0).index_fill(3, torch.tensor([0]), 3.0 - 1e-6))
    assert differ(rescaled.steered(nearly, 2), rescaled.plain(4.5, 2)) <= 3e-4  # of values up to 18: six digits
    assert differ(rescaled.plain(4.5, 2), CASE.plain(4.5, 2)) > 1e-2
