"""Run by test_steering.py inside ComfyUI's Python: the Quality Guider beside LoRA, ControlNet and Differential Diffusion.

Each comes from ComfyUI's own node, and the guided result is compared with ComfyUI's own guider under the same patches.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

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
untouched = CASE.steered(CASE.halves())


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
    network = comfy.cldm.cldm.ControlNet(**settings, hint_channels=3, dtype=torch.float32, device="cpu",
                                         operations=comfy.ops.disable_weight_init)  # fmt: skip
    device = torch.device("cpu")
    control = comfy.controlnet.ControlNet(randomised(network), load_device=device, manual_cast_dtype=None)
    hint = torch.rand(1, 64, 64, 3)
    texts = nodes.ControlNetApplyAdvanced().apply_controlnet(case.positive, case.negative, control, hint, 0.8, 0.0, 1.0)
    return replace(case, positive=texts[0], negative=texts[1])


def with_differential(case: Case) -> Case:
    return replace(case, model=DifferentialDiffusion.execute(case.model).args[0])


lora, control = with_lora(CASE), with_control(CASE)
both = with_lora(control)
for name, case in (("LoRA", lora), ("ControlNet", control), ("LoRA and ControlNet", both)):
    found = guided_as_by_hand(name, case)
    assert differ(found, untouched) > 1e-2, f"{name} has no effect"
assert differ(CASE.steered(CASE.halves()), untouched) <= 1e-5  # the model itself is as before

# graded noise mask: what is half damaged joins in the middle of the run, what is perfect never
thirds = torch.tensor([5.0, 5.0, 5.0, 3.0, 3.0, 1.0, 1.0, 1.0]).expand(1, 1, 8, 8)
mask = AdaQualDenoiseMask.execute({"samples": CASE.latent}, CASE.map(thirds), 0.0, 1.0, 1.0).args[0]["noise_mask"]
assert mask.shape == (1, 1, 8, 8) and mask[0, 0, 0].tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0]
for name, case in (("Differential Diffusion", with_differential(CASE)), ("all three", with_differential(both))):
    guided_as_by_hand(name, case, denoise_mask=mask)
    masks, ours = [], case.model.model_options["denoise_mask_function"]

    def spy(*given, ours=ours, masks=masks, **more):
        masks.append(ours(*given, **more))
        return masks[-1]

    spied = case.model.clone()
    spied.set_model_denoise_mask_function(spy)
    found = replace(case, model=spied).steered(CASE.map(thirds), 6, denoise_mask=mask)
    moving = [[bool(step[0, 0, 0, column]) for step in masks] for column in (0, 3, 7)]
    print(name, moving)
    assert moving[0] == [False] * 6 and moving[2] == [True] * 6 and moving[1] == sorted(moving[1]) and 1 <= sum(moving[1]) <= 5
    assert differ(found[..., :3], CASE.latent[..., :3]) <= 1e-5
    assert differ(found[..., 5:], CASE.latent[..., 5:]) > 1e-2 and differ(found[..., 3:5], CASE.latent[..., 3:5]) > 1e-2

# all good: nothing is denoised; all bad: as without a mask
for score, wanted in ((5.0, CASE.latent), (1.0, CASE.plain(7.0, 3))):
    masked = AdaQualDenoiseMask.execute({"samples": CASE.latent}, CASE.flat(score), 0.0, 1.0, 1.0).args[0]
    for case in (CASE, with_differential(CASE)):
        assert differ(case.steered(case.flat(score), 3, denoise_mask=masked["noise_mask"]), wanted) <= 1e-5

# a patch with a guidance function of its own that also reads the whole picture
rescaled = replace(CASE, model=RescaleCFG().patch(CASE.model, 0.7)[0])
nearly = CASE.map(torch.full((1, 1, 8, 8), 3.0).index_fill(3, torch.tensor([0]), 3.0 - 1e-6))
assert differ(rescaled.steered(nearly, 2), rescaled.plain(4.5, 2)) <= 1e-4
assert differ(rescaled.plain(4.5, 2), CASE.plain(4.5, 2)) > 1e-2
