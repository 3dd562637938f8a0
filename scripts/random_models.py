"""This script writes model files with random weights for tests and benchmarks, with ComfyUI's modules: ``PYTHONPATH=COMFYUI
python scripts/random_models.py MODELS_FOLDER small|full``.

Kinds, names of weights and everything that ComfyUI recognises a family by are those of the published files. In small files
diffusion models have fewer and narrower blocks, text encoders are zero (identity) from the third layer on, and the VAE is
ComfyUI's tiny one. "full" writes one checkpoint with all that Stable Diffusion 1.5 has.
"""

import sys
from pathlib import Path

MODELS, SIZE = Path(sys.argv[1]), sys.argv[2]
sys.argv = ["random_models", "--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.cldm.cldm  # noqa: E402
import comfy.ldm.models.autoencoder  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models  # noqa: E402
import comfy.taesd.taesd  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

UNET = {"image_size": 32, "in_channels": 4, "model_channels": 320, "use_spatial_transformer": True, "legacy": False}
SD15 = UNET | {
    "out_channels": 4,
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "channel_mult": [1, 1],
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "num_heads": 8,
    "adm_in_channels": None,
    "use_temporal_attention": False,
}
FULL_SD15 = SD15 | {
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "channel_mult": [1, 2, 4, 4],
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
SDXL = UNET | {
    "out_channels": 4,
    "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0] * 9,
    "transformer_depth_middle": -1,
    "channel_mult": [1, 1, 1],
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_heads": -1,
    "num_head_channels": 64,
    "adm_in_channels": 2816,
    "num_classes": "sequential",
    "use_temporal_attention": False,
}


def filled(weights: dict) -> dict:
    """Give a network random weights that keep the size of the values that pass through it."""
    result = {}
    for name, weight in weights.items():
        shape, layer = weight.shape, name.partition(".encoder.layers.")[2].partition(".")[0]
        if SIZE == "small" and layer and int(layer) >= 2:
            result[name] = torch.zeros(shape).to(torch.float8_e4m3fn)  # torch 2.4 cannot fill this type
        elif weight.ndim >= 2:
            result[name] = (torch.randn(shape) / weight[0].numel() ** 0.5).half()
        else:
            result[name] = (torch.ones if name.endswith(("weight", "scale")) else torch.zeros)(shape, dtype=torch.float16)
    return result


def place(*path: str) -> Path:
    """Return the path of a file, and make its folder."""
    MODELS.joinpath(*path).parent.mkdir(parents=True, exist_ok=True)
    return MODELS.joinpath(*path)


def save(weights: dict, *path: str) -> None:
    save_file({name: weight.contiguous() for name, weight in weights.items()}, place(*path))


def checkpoint(kind, unet: dict, vae: torch.nn.Module, name: str) -> None:
    config = kind(dict(unet))
    config.set_inference_dtype(torch.float16, None)
    network = config.get_model({}, "", device="meta").diffusion_model
    clip = config.clip_target()
    text = filled(clip.clip(device="meta", dtype=torch.float16).state_dict())
    weights = config.process_unet_state_dict_for_saving(filled(network.state_dict()))
    weights |= config.process_clip_state_dict_for_saving(text)
    weights |= {f"first_stage_model.{k}": v for k, v in filled(vae.state_dict()).items()}
    save(weights, "checkpoints", name)


def upscaler(width: int = 8) -> dict:
    """Return the weights of an ESRGAN of one block, under the names that Real-ESRGAN uses."""
    shapes = {"conv_first": (width, 3), "conv_body": (width, width), "conv_up1": (width, width), "conv_up2": (width, width)}
    shapes |= {"conv_hr": (width, width), "conv_last": (3, width)}
    for block in range(1, 4):
        for i in range(5):
            shapes[f"body.0.rdb{block}.conv{i + 1}"] = (width if i == 4 else 32, width + 32 * i)
    weights = {f"{name}.weight": torch.randn(*shape, 3, 3) / (9 * shape[1]) ** 0.5 for name, shape in shapes.items()}
    return weights | {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}


torch.manual_seed(0)
if SIZE == "full":
    vae = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=VAE, embed_dim=4)
    checkpoint(comfy.supported_models.SD15, FULL_SD15, vae, "v1-5-pruned-emaonly-fp16.safetensors")
else:
    vae = comfy.taesd.taesd.TAESD()
    checkpoint(comfy.supported_models.SD15, SD15, vae, "v1-5-pruned-emaonly-fp16.safetensors")
    checkpoint(comfy.supported_models.SDXL, SDXL, vae, "sd_xl_base_1.0.safetensors")
    control = {name: value for name, value in SD15.items() if name not in ("out_channels", "transformer_depth_output")}
    control = comfy.cldm.cldm.ControlNet(**control, hint_channels=3, device="meta", operations=comfy.ops.disable_weight_init)
    save(
        {f"control_model.{k}": v for k, v in filled(control.state_dict()).items()},
        "controlnet",
        "control_v11f1e_sd15_tile_fp16.safetensors",
    )
    torch.save({"params_ema": upscaler()}, place("upscale_models", "RealESRGAN_x4plus.pth"))
