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
from adaqual_core.quality.bundled import AssessorNet
from adaqual_core.networks.denoiser import Denoiser
from adaqual_core.networks.adaqual_diff import OfficialConfig, OfficialNet
from adaqual_core.image_statistics import STATISTICS
from adaqual_core.networks.weather_diffusion import WeatherConfig, WeatherNet
cells, pixels = torch.rand(1, 1, 4, 4), torch.rand(1, 3, 64, 64)
given = [pixels, pixels, torch.tensor([999]), torch.tensor([0.1]), cells, 16 * cells, torch.rand(1, STATISTICS)]
official = OfficialConfig(16, (1, 1, 1, 1), 1, (1, 1, 1, 1), 8, projections=(256,))
patches = [torch.rand(2, 6, 16, 16), torch.tensor([500])]
for network, sizes, inputs in (
    (Denoiser, [], given), (AssessorNet, [], [pixels]), (OfficialNet, [official, "prompted"], given),
    (WeatherNet, [WeatherConfig(32, (32, 64), 1, (False, True), 64, 16)], patches),
):
    torch.manual_seed(0)
    plain = network(*sizes)
    for stored, tolerance in ((torch.float32, 0), (torch.float16, 0.01), (torch.bfloat16, 0.05)):
        cast = network(*(sizes or [plain.config]), operations=comfy.ops.manual_cast)
        cast.load_state_dict(plain.state_dict())
        cast.to(stored)
        with torch.inference_mode():
            wanted, found = plain(*inputs), cast(*inputs)
            assert found.dtype == torch.float32, stored
            assert (wanted - found).abs().max() <= tolerance * wanted.abs().max(), stored
            assert cast(*(x.to("meta") for x in inputs)).device.type == "meta", stored
"""


def test_networks_follow_their_input_under_manual_cast():
    """Weights of any type may stay on the CPU: every layer computes where its input is, in its type (low VRAM)."""
    command = [sys.executable, "-c", UNDER_MANUAL_CAST]
    done = subprocess.run(command, cwd=comfyui_folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
