"""Run by test_inputs.py inside ComfyUI's Python: what each node does with tensors of every layout, range and size.

Each ``check_`` function is one promise; the script prints the names of those that held.
"""

import inspect
import sys
import traceback

import torch

# inside starts ComfyUI, so it comes first
# isort: off
from inside import differ, randomised, refused
import comfy.sd
import comfy.taesd.taesd
from comfy.cli_args import LatentPreviewMethod
from comfy_execution.graph import ExecutionBlocker
from pack.adaqual_core.quality.map import QualityMap
from pack.nodes.assessing import AdaQualScoreAndSort
from pack.nodes.blending import AdaQualBestPerRegion, AdaQualBlend
from pack.nodes.common import previews_wanted
from pack.nodes.damage_kinds import AdaQualDamageKinds, AdaQualSetDamage
from pack.nodes.degradation import AdaQualDegrade
from pack.nodes.models import MODELS, open_network
from pack.nodes.quality import AdaQualEditQuality, AdaQualEstimateQuality, AdaQualMaskToQuality
from pack.nodes.prompting import AdaQualBuildPrompt
from pack.nodes.restoration import AdaQualRestore
from pack.nodes.sampling import AdaQualSampler

H, W = 48, 80


def picture(height: int = H, width: int = W, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(torch.rand(batch, 3, 4, 5, generator=generator), (height, width), mode="bicubic")
    return (coarse + 0.1 * torch.randn(coarse.shape, generator=generator)).clamp(0, 1).movedim(1, -1).contiguous()


def flat(image: torch.Tensor, score: float) -> QualityMap:
    return QualityMap(torch.full((1, 1, 1, 1), score), *image.shape[1:3], "test")


def prompt(image: torch.Tensor, score: float = 1.0):
    return AdaQualBuildPrompt.execute(image, flat(image, score), 1.0, 1.0, 16.0, 4.5).args[0]


def sample(image: torch.Tensor, score: float = 1.0) -> torch.Tensor:
    network = open_network(MODELS)
    return AdaQualSampler.execute(network, image, prompt(image, score), 0, 1, "auto", 0.0, 1.0, 512, 64).args[0]


def degrade(image: torch.Tensor, mask=None, severity: float = 0.7, kind: str = "noise") -> tuple:
    return AdaQualDegrade.execute(image, kind, "haze", severity, 1, mask).args


def blended(original: torch.Tensor, processed: torch.Tensor, score: float = 3.0, levels: int = 3) -> torch.Tensor:
    return AdaQualBlend.execute(original, processed, flat(original, score), 4.5, levels).args[0]


def sort(images: list, threshold: float = 3.0, order: str = "best first") -> tuple:
    return AdaQualScoreAndSort.execute(images, [threshold], [order]).args


# What each node that takes an IMAGE makes of it, as tensors and numbers.
NODES = {
    "Estimate Quality Map": lambda image: AdaQualEstimateQuality.execute(image).args[1:],
    "Restore Image": lambda image: AdaQualRestore.execute(image, 1.0, 5.0, 0, 1).args,
    "AdaQual Sampler": lambda image: (sample(image),),
    "Degrade Image": lambda image: degrade(image),
    "Quality Blend": lambda image: (blended(image, image.flip(1), 1.0),),
    "Best Per Region": lambda image: AdaQualBestPerRegion.execute(image, 3, image.flip(1)).args,
    "Mask to Quality Map": lambda image: (AdaQualMaskToQuality.execute(torch.rand(1, 9, 9), image).args[0].cells(),),
    "Score and Sort Images": lambda image: (sort([image], 1.0)[2][0],),
}
GIVE_PICTURES = ("Restore Image", "AdaQual Sampler", "Degrade Image", "Quality Blend", "Best Per Region")


def check_one_channel_is_grey():
    grey = picture()[..., :1]
    for name, node in NODES.items():
        torch.manual_seed(0)
        one = node(grey)
        torch.manual_seed(0)
        three = node(grey.expand(-1, -1, -1, 3))
        for a, b in zip(one, three, strict=True):
            assert torch.equal(torch.as_tensor(a), torch.as_tensor(b)), name


def check_grey_comes_back_exactly_grey():
    grey = picture()[..., :1].expand(-1, -1, -1, 3)
    for image in (grey, torch.cat((grey, torch.full((1, H, W, 1), 0.5)), -1)):
        for name in GIVE_PICTURES:
            (found, *_) = NODES[name](image)
            assert torch.equal(found[..., 0], found[..., 1]) and torch.equal(found[..., 1], found[..., 2]), name
            assert found[..., 3:].numel() == 0 or torch.allclose(found[..., 3:], torch.tensor(0.5)), name
        assert differ(sample(image)[..., :3], grey) > 0.01


def check_wrong_images_are_refused_in_comfyuis_layout():
    good = picture()
    wrong = {
        "shape [1, 48, 80, 2]; an IMAGE is [batch, height, width, channels]": good[..., :2],
        "shape [48, 80, 3]; an IMAGE is [batch, height, width, channels]": good[0],
        "shape [1, 3, 48, 80]; an IMAGE is [batch, height, width, channels]": good.movedim(-1, 1),
        "shape [0, 48, 80, 3] holds no picture": good[:0],
        "torch.uint8; an IMAGE holds floating-point values": (good * 255).to(torch.uint8),
        "whole numbers up to": (good * 255).round(),
        "holds NaN": good / 0 * 0,
    }
    for message, image in wrong.items():
        for node in NODES.values():
            refused(message, lambda node=node, image=image: node(image))
    refused("processed: shape", lambda: blended(good, good[0]))
    refused("image_2: shape", lambda: AdaQualBestPerRegion.execute(good, 3, good[0]))


def check_masks_of_every_layout():
    mask = torch.rand(1, H, W, generator=torch.Generator().manual_seed(0)).round()
    image, map_of = picture(), AdaQualMaskToQuality.execute
    users = {
        "mask": lambda given: map_of(given).args[0].scores,
        "override": lambda given: AdaQualEditQuality.execute(flat(image, 5.0), 1.0, 1.0, 5.0, 1.0, 0.0, given).args[0].scores,
        "mask ": lambda given: degrade(image, given)[0],
        " mask": lambda given: AdaQualSetDamage.execute(flat(image, 5.0), "haze", 0.5, given).args[0].painted["haze"],
    }
    for name, use in users.items():
        wanted = use(mask)
        for given in (mask[0], mask[None], mask[..., None], mask.double(), mask.half(), mask.bool(), mask.to(torch.uint8)):
            assert torch.equal(use(given), wanted), (name, given.shape, given.dtype)
        for message, given in {
            "shape [2, 3, 48, 80]; a MASK is [batch, height, width]": mask.expand(2, 3, -1, -1),
            "shape [80]; a MASK is": mask[0, 0],
            "shape [0, 48, 80] holds no mask": mask[:0],
            "torch.uint8 up to 255; a MASK goes from 0 to 1": (mask * 255).to(torch.uint8),
            "holds NaN": mask / 0 * 0,
        }.items():
            refused(f"{name.strip()}: {message}", lambda use=use, given=given: use(given))


def check_a_mask_of_the_crop_that_vae_encode_makes_lies_on_the_crop():
    image = picture(50, 75)
    mask = torch.ones(1, 48, 72)  # cropped to multiples of 8
    wanted = torch.zeros(1, 50, 75)
    wanted[:, 1:49, 1:73] = 1
    assert torch.equal(AdaQualMaskToQuality.execute(mask, image).args[0].scores, 5 - 4 * wanted[:, None])
    assert torch.equal(degrade(image, mask)[1] > 0, wanted > 0)
    small = AdaQualMaskToQuality.execute(torch.ones(1, 9, 9), image).args[0]  # any other size is for the whole picture
    assert (small.height, small.width) == (50, 75) and torch.equal(small.scores, torch.ones(1, 1, 9, 9))


def check_values_above_one_are_kept_where_the_picture_is():
    image = picture() * 3
    assert torch.equal(sample(image, 5.0), image)
    assert torch.equal(AdaQualRestore.execute(image, 1.0, 1.0, 0, 1).args[0], image)
    assert torch.equal(degrade(image, severity=0.0)[0], image)
    assert differ(blended(image, image * 0, 5.0), image) <= 1e-5
    assert torch.equal(sort([image], 1.0)[0][0], image)


def check_hidden_colours_are_seen_by_no_node():
    image = torch.cat((picture(), torch.ones(1, H, W, 1)), -1)
    image[:, :20, :30, 3] = 0
    other = image.clone()
    other[:, :20, :30, :3] = torch.rand(20, 30, 3, generator=torch.Generator().manual_seed(5))
    hidden = image[..., 3] == 0
    for name in ("Estimate Quality Map", "Restore Image", "Score and Sort Images"):
        for a, b in zip(NODES[name](image)[1:] or NODES[name](image), NODES[name](other)[1:] or NODES[name](other), strict=True):
            assert torch.equal(torch.as_tensor(a), torch.as_tensor(b)), name
    for name in ("Restore Image", "AdaQual Sampler", "Degrade Image"):
        first, second = NODES[name](image)[0], NODES[name](other)[0]
        assert torch.equal(first[~hidden], second[~hidden]), name
        assert torch.equal(first[hidden], image[hidden]) and torch.equal(second[hidden], other[hidden]), name
    processed = image.clone()
    processed[..., :3] = 1 - processed[..., :3]
    for score in (5.0, 1.0, 4.3):
        first, second = (blended(one, processed, score) for one in (image, other))
        assert differ(first[~hidden], second[~hidden]) <= 1e-6
        assert score != 5.0 or differ(second[hidden], other[hidden]) <= 1e-6
    first, second = (AdaQualBestPerRegion.execute(one, 4, one.flip(0).clamp(0, 0.9)).args[0] for one in (image, other))
    assert differ(first[~hidden], second[~hidden]) <= 1e-6


def check_lists_are_sorted_as_wholes():
    clean = [picture(40, 50, 2, seed=1), picture(64, 33, 1, seed=2), picture(40, 50, 1, seed=3)]
    every = [one[i : i + 1] for one in clean for i in range(len(one))]
    scores = [sort([one], 1.0)[2][0] for one in every]
    threshold = sorted(scores)[1] + 1e-4
    for order, key in (("best first", lambda i: -scores[i]), ("worst first", lambda i: scores[i]), ("as given", lambda i: i)):
        kept, rejected, kept_scores, rejected_scores, report = sort(clean, threshold, order)
        numbers = sorted(range(4), key=key)
        sides = [[i for i in numbers if (scores[i] >= threshold) == wanted] for wanted in (True, False)]
        for images, told, side in ((kept, kept_scores, sides[0]), (rejected, rejected_scores, sides[1])):
            assert len(side) == 2 and told == [scores[i] for i in side]
            assert all(torch.equal(one, every[i]) for one, i in zip(images, side, strict=True))
        assert [int(line.split()[1].strip(":")) - 1 for line in report.splitlines()] == numbers
    kept, rejected, kept_scores, rejected_scores, _ = sort(clean, 1.0)
    assert len(kept) == len(kept_scores) == 4
    assert isinstance(rejected, ExecutionBlocker) and isinstance(rejected_scores, ExecutionBlocker)
    (batch,) = sort([clean[0]], 1.0)[0]
    assert batch.shape == clean[0].shape  # one batch stays one
    refused("threshold: 2 different values", lambda: AdaQualScoreAndSort.execute(clean, [1.0, 2.0], ["as given"]))


def check_masks_and_maps_of_another_number_are_refused():
    one, three, masks = picture(), picture(batch=3), torch.rand(2, H, W)
    refused(
        "override: 2 masks for 1 maps; give one mask",
        lambda: AdaQualEditQuality.execute(flat(one, 5.0), 1.0, 1.0, 5.0, 1.0, 0.0, masks),
    )
    refused("mask: 2 masks for 1 maps; give one mask", lambda: AdaQualSetDamage.execute(flat(one, 5.0), "haze", 0.5, masks))
    for image in (one, three):
        refused(f"mask: 2 masks for {len(image)} pictures; give one mask", lambda image=image: degrade(image, masks))
        maps = AdaQualEstimateQuality.execute(picture(batch=2)).args[0]
        refused(
            f"quality: 2 maps for {len(image)} pictures; give one map",
            lambda image=image, maps=maps: AdaQualBuildPrompt.execute(image, maps, 1.0, 1.0, 16.0, 4.5),
        )


def check_pictures_of_every_float_type_and_of_one_pixel():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        image = picture().to(dtype)
        for name, node in NODES.items():
            torch.manual_seed(0)
            found = node(image)
            torch.manual_seed(0)
            for a, b in zip(found, node(image.float()), strict=True):
                assert torch.equal(torch.as_tensor(a), torch.as_tensor(b)), (name, dtype)
    for height, width in ((1, 1), (1, 9), (9, 1), (7, 300)):
        for name in GIVE_PICTURES:
            assert NODES[name](picture(height, width))[0].shape == (1, height, width, 3), name


def check_tensors_of_every_layout_give_the_same_and_stay_as_they_are():
    image = picture(batch=2)
    wide = torch.zeros(2, 2 * H, 3 * W, 3)
    wide[:, ::2, ::3] = image
    layouts = {
        "channels first in memory": image.movedim(-1, 1).contiguous().movedim(1, -1),
        "every second row": wide[:, ::2, ::3],
        "one picture as a batch": image[:1].expand(2, -1, -1, -1),
        "with a gradient": image.clone().requires_grad_(True),
    }
    for name in (*GIVE_PICTURES, "Score and Sort Images"):
        if name == "AdaQual Sampler":
            continue  # its prompts are of one picture
        for layout, given in layouts.items():
            before = given.detach().clone()
            with torch.inference_mode():
                torch.manual_seed(0)
                found = NODES[name](given)
                torch.manual_seed(0)
                wanted = NODES[name](before.contiguous())
            assert torch.equal(given.detach(), before), (name, layout)
            for a, b in zip(found, wanted, strict=True):  # convolutions of another layout in memory round differently
                assert torch.allclose(torch.as_tensor(a).float(), torch.as_tensor(b).float(), atol=1e-4), (name, layout)


def check_lists_of_grey_colour_and_alpha_are_sorted_as_they_are():
    mixed = [
        picture(40, 50),
        torch.cat((picture(40, 50, seed=2), torch.rand(1, 40, 50, 1)), -1),
        picture(30, 20)[..., :1],
        picture(1, 900),
    ]
    kept, rejected, scores, _, report = sort(mixed, 1.0, "as given")
    assert all(torch.equal(one, given) for one, given in zip(kept, mixed, strict=True))
    assert isinstance(rejected, ExecutionBlocker) and len(scores) == 4 and report.count("kept") == 4


def check_unknown_choices_are_refused():
    refused("order: 'best' is not offered; choose one of best first", lambda: sort([picture()], order="best"))
    refused("kind: 'fog' is not offered", lambda: degrade(picture(), kind="fog"))
    refused("kind: 'fog' is not offered", lambda: AdaQualSetDamage.execute(flat(picture(), 5.0), "fog", 0.5))
    network, image = open_network(MODELS), picture()
    refused(
        "schedule: 'karras' is not offered",
        lambda: AdaQualSampler.execute(network, image, prompt(image), 0, 1, "karras", 0.0, 1.0, 512, 64),
    )


def check_the_heatmaps_of_a_video_are_small():
    video = picture(64, 96, 12)
    edited = AdaQualEditQuality.execute(AdaQualEstimateQuality.execute(video).args[0], 1.0, 1.0, 5.0, 1.0, 0.0).args[1]
    for heat in (AdaQualEstimateQuality.execute(video).args[2], AdaQualRestore.execute(video, 0.0, 5.0, 0, 1).args[1], edited):
        assert heat.shape[0] == 12 and heat.shape[2] == 24 and heat.numel() <= video.numel() / 8
    painted = AdaQualSetDamage.execute(AdaQualEstimateQuality.execute(video).args[0], "haze", 0.7, torch.ones(1, 64, 96)).args[0]
    sheets = AdaQualDamageKinds.execute(painted).args[8]
    first = AdaQualDamageKinds.execute(painted.index(0)).args[8]
    assert len(sheets) == 12 and sheets[0].numel() <= first.numel() / 15
    alone = AdaQualEstimateQuality.execute(video[:1]).args[2]
    assert alone.shape[2] == 96 and alone.shape[1] > 64


def check_previews_are_shown_unless_declined():
    none, auto = LatentPreviewMethod.NoPreviews, LatentPreviewMethod.Auto
    assert previews_wanted(none, ["main.py", "--cpu"]) and previews_wanted(auto, ["main.py", "--preview-method", "auto"])
    assert not previews_wanted(none, ["main.py", "--preview-method", "none"])
    assert not previews_wanted(none, ["main.py", "--preview-method=none"])


def check_what_vae_encode_crops_is_blended_at_its_place():
    torch.manual_seed(0)
    vae = comfy.sd.VAE(sd=comfy.taesd.taesd.TAESD().state_dict())
    randomised(vae.first_stage_model)
    for height, width, batch in ((50, 75, 2), (97, 131, 1), (64, 81, 1)):
        original = picture(height, width, batch, seed=height)
        crop = vae.vae_encode_crop_pixels(original)
        assert crop.shape[1:3] == (height // 8 * 8, width // 8 * 8)
        for score in (1.0, 3.0, 5.0):
            assert differ(blended(original, crop, score), original) <= 1e-5
        assert blended(original, vae.decode(vae.encode(original)), 1.0).shape == original.shape
        best, _ = AdaQualBestPerRegion.execute(crop, 3, original).args
        assert differ(best, original) <= 1e-5
        quality = AdaQualEstimateQuality.execute(original).args[0]
        AdaQualBuildPrompt.execute(crop, quality, 1.0, 1.0, 16.0, 4.5)
    refused(
        "connect the map of image",
        lambda: AdaQualBuildPrompt.execute(picture(90, 61), flat(picture(61, 64), 3.0), 1.0, 1.0, 16.0, 4.5),
    )


def check_a_map_of_another_picture_is_refused_before_the_processed_picture_is_made():
    image = picture()
    assert AdaQualBlend.check_lazy_status(image, flat(image, 3.0), 4.5, 4) == ["processed"]
    refused("connect the map of the original", lambda: AdaQualBlend.check_lazy_status(image, flat(picture(90, 50), 3.0), 4.5, 4))


checks = [name for name, one in globals().items() if name.startswith("check_") and inspect.isfunction(one)]
failed = 0
for name in checks:
    try:
        globals()[name]()
        print(name, "holds")
    except Exception:
        failed += 1
        print(name, "FAILS")
        traceback.print_exc()
sys.exit(failed)
