"""Networks under ComfyUI's manual cast, in ComfyUI's folder."""

import subprocess
import sys

from comfy_server import comfyui_folder

UNDER_MANUAL_CAST = """
import sys
sys.argv = ["test", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import comfy.ops, torch
from adaqual_core.image_statistics import STATISTICS
from adaqual_core.kinds import KINDS
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.networks.bilateral_grid import CHANNELS, VIEW, BilateralGrid
from adaqual_core.networks.restorer import PRESETS, Conditioner, Denoiser
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
from adaqual_core.quality.estimator import EstimatorConfig, QualityEstimator

def listed(result):
    return result if isinstance(result, tuple) else (result,)

torch.manual_seed(0)
config, estimator = PRESETS["nano"], EstimatorConfig(widths=(8, 8, 8, 16), blocks=(1, 1, 1), dilations=(1,), picture_width=8)
cells, kinds, pixels = torch.rand(1, 1, 4, 4), torch.rand(1, len(KINDS), 4, 4), torch.rand(1, 3, 64, 64)
time, about = (torch.tensor([999]), torch.tensor([0.1])), torch.rand(1, STATISTICS)
width, tokens = config.condition_width, 4
told = [torch.rand(1, width), torch.rand(1, tokens, width), torch.rand(1, tokens, 4, 4)]
official = OfficialConfig(16, (1, 1, 1, 1), 1, (1, 1, 1, 1), 8, projections=(256,))
for network, sizes, inputs in (
    (Conditioner, [config], [about, kinds.mean((2, 3)), cells, kinds, 16 * cells]),
    (Denoiser, [config], [pixels, pixels, pixels, *time, torch.cat((cells, kinds), 1), *told]),
    (BilateralGrid, [config.grid_widths, config.grid_blocks, config.grid_levels], [torch.rand(1, CHANNELS, VIEW, VIEW)]),
    (QualityEstimator, [estimator], [pixels]),
    (OfficialNet, [official, "prompted"], [pixels, pixels, *time, cells, 16 * cells, about]),
    (WeatherNet, [WeatherConfig(32, (32, 64), 1, (False, True), 64, 16)], [torch.rand(2, 6, 16, 16), torch.tensor([500])]),
):
    plain = network(*sizes)
    with torch.no_grad():
        for weight in plain.parameters():
            weight.copy_(torch.randn(weight.shape) * (weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1))
    for stored, tolerance in ((torch.float32, 0), (torch.float16, 0.01), (torch.bfloat16, 0.05)):
        cast = network(*sizes, operations=comfy.ops.manual_cast)
        cast.load_state_dict(plain.state_dict())
        cast.to(stored)
        with torch.inference_mode():
            for wanted, found in zip(listed(plain(*inputs)), listed(cast(*inputs)), strict=True):
                assert found.dtype == torch.float32, (network, stored)
                assert (wanted - found).abs().max() <= tolerance * wanted.abs().max(), (network, stored)
            meta = listed(cast(*(x.to("meta") for x in inputs)))
            assert all(found.device.type == "meta" for found in meta), (network, stored)
"""


def test_networks_follow_their_input_under_manual_cast():
    """Weights of any type may stay on the CPU: every layer computes where its input is, in its type (low VRAM)."""
    command = [sys.executable, "-c", UNDER_MANUAL_CAST]
    done = subprocess.run(command, cwd=comfyui_folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
