"""The nodes' interface, which saved workflows depend on, and the texts that come with it."""

import json
import urllib.request

from comfy_server import PACK, REPOSITORY, get_json
from make_texts import english, help_page, lacking

GROUPS = ("required", "optional")

# For ever: a saved workflow stores widget values by their order. New inputs and outputs are appended to these, never
# inserted; nothing is renamed, retyped or removed.
INTERFACE = {
    "AdaQualRestore": (
        "image:IMAGE strength:FLOAT preserve:FLOAT seed:INT steps:INT",
        "model:ADAQUAL_MODEL assessor:ADAQUAL_ASSESSOR temporal:INT",
        "image:IMAGE heatmap:IMAGE quality_before:FLOAT",
    ),
    "AdaQualLoadModel": ("model_name:COMBO", "mode:COMBO", "model:ADAQUAL_MODEL"),
    "AdaQualLoadAssessor": ("assessor_name:COMBO", "weights:COMBO", "assessor:ADAQUAL_ASSESSOR"),
    "AdaQualEstimateQuality": (
        "image:IMAGE",
        "assessor:ADAQUAL_ASSESSOR temporal:INT",
        "quality:ADAQUAL_QUALITY severity:MASK heatmap:IMAGE mean_quality:FLOAT",
    ),
    "AdaQualEditQuality": (
        "quality:ADAQUAL_QUALITY override_quality:FLOAT minimum:FLOAT maximum:FLOAT gain:FLOAT blur:FLOAT",
        "override:MASK kind:COMBO",
        "quality:ADAQUAL_QUALITY heatmap:IMAGE",
    ),
    "AdaQualQualityToMask": ("quality:ADAQUAL_QUALITY", "", "severity:MASK"),
    "AdaQualMaskToQuality": ("mask:MASK", "image:IMAGE", "quality:ADAQUAL_QUALITY"),
    "AdaQualBuildPrompt": (
        "image:IMAGE quality:ADAQUAL_QUALITY gamma:FLOAT min_length:FLOAT max_length:FLOAT preserve:FLOAT",
        "low:FLOAT rain:FLOAT snow:FLOAT haze:FLOAT raindrops:FLOAT blur:FLOAT noise:FLOAT jpeg:FLOAT temporal:INT",
        "prompt:ADAQUAL_PROMPT restored_region:MASK",
    ),
    "AdaQualSampler": (
        "model:ADAQUAL_MODEL image:IMAGE prompt:ADAQUAL_PROMPT seed:INT steps:INT schedule:COMBO eta:FLOAT "
        "strength:FLOAT tile:INT overlap:INT",
        "stride:INT patch_batch:INT",
        "image:IMAGE",
    ),
    "AdaQualDegrade": (
        "image:IMAGE kind:COMBO second_kind:COMBO severity:FLOAT seed:INT",
        "mask:MASK",
        "image:IMAGE severity:MASK",
    ),
    "AdaQualAdaptiveConditioning": (
        "clip:CLIP quality:ADAQUAL_QUALITY bands:INT softness:FLOAT global_text:STRING caption:STRING "
        "preserve_text:STRING directives:STRING strength_good:FLOAT strength_bad:FLOAT",
        "samples:LATENT",
        "conditioning:CONDITIONING masks:MASK prompt:STRING",
    ),
    "AdaQualGuider": (
        "model:MODEL quality:ADAQUAL_QUALITY positive:CONDITIONING low:FLOAT high:FLOAT gamma:FLOAT "
        "preservation:FLOAT preserve:FLOAT",
        "negative:CONDITIONING",
        "guider:GUIDER",
    ),
    "AdaQualDenoiseMask": (
        "samples:LATENT quality:ADAQUAL_QUALITY low:FLOAT high:FLOAT gamma:FLOAT",
        "",
        "latent:LATENT",
    ),
    "AdaQualBlend": (
        "original:IMAGE processed:IMAGE quality:ADAQUAL_QUALITY preserve:FLOAT levels:INT",
        "",
        "image:IMAGE",
    ),
    "AdaQualBestPerRegion": (
        "image_1:IMAGE levels:INT",
        "image_2:IMAGE image_3:IMAGE image_4:IMAGE assessor:ADAQUAL_ASSESSOR",
        "image:IMAGE choice:MASK",
    ),
    "AdaQualScoreAndSort": (
        "image:IMAGE threshold:FLOAT order:COMBO",
        "assessor:ADAQUAL_ASSESSOR",
        "kept:IMAGE rejected:IMAGE kept_scores:FLOAT rejected_scores:FLOAT report:STRING",
    ),
    "AdaQualDamageKinds": (
        "quality:ADAQUAL_QUALITY",
        "",
        "low:MASK rain:MASK snow:MASK haze:MASK raindrops:MASK blur:MASK noise:MASK jpeg:MASK sheet:IMAGE",
    ),
    "AdaQualSetDamage": ("quality:ADAQUAL_QUALITY kind:COMBO severity:FLOAT", "mask:MASK", "quality:ADAQUAL_QUALITY"),
    "AdaQualRestoreVideo": (
        "video:VIDEO strength:FLOAT preserve:FLOAT seed:INT steps:INT",
        "model:ADAQUAL_MODEL assessor:ADAQUAL_ASSESSOR temporal:INT",
        "video:VIDEO quality_before:FLOAT",
    ),
    "AdaQualScaleToMultiple": ("image:IMAGE multiple:INT", "", "image:IMAGE"),
}


def inputs(info: dict, group: str) -> list[str]:
    """The inputs of a group as "name:TYPE", in order."""
    return [f"{name}:{info['input'][group][name][0]}" for name in info["input_order"].get(group, [])]


def test_the_interface_is_frozen(object_info):
    for name, (required, optional, outputs) in INTERFACE.items():
        info = object_info[name]
        for group, frozen in zip(GROUPS, (required.split(), optional.split()), strict=True):
            assert inputs(info, group)[: len(frozen)] == frozen, (name, group)
        now = [f"{label}:{kind}" for label, kind in zip(info["output_name"], info["output"], strict=True)]
        assert now[: len(outputs.split())] == outputs.split(), name


def test_every_node_is_frozen_documented_and_translated(server, object_info):
    ours = {name: info for name, info in object_info.items() if info["python_module"].endswith(PACK)}
    assert set(ours) == set(INTERFACE)
    texts = {path.parent.name: json.loads(path.read_text("utf-8")) for path in REPOSITORY.glob("locales/*/nodeDefs.json")}
    assert texts["en"] == english(ours, texts["en"]), "locales/en is out of date: run scripts/make_texts.py"
    assert not lacking(texts["en"], texts["de"])
    served = get_json(server.address, "/i18n")
    for name, info in ours.items():
        for language in texts:
            path = f"{name}.md" if language == "en" else f"{name}/{language}.md"
            with urllib.request.urlopen(f"{server.address}/extensions/{PACK}/docs/{path}", timeout=60) as answer:
                page = answer.read().decode()
            current = help_page(info, page, texts[language][name], language)
            assert page == current, f"web/docs/{path} is out of date: run scripts/make_texts.py"
            assert served[language]["nodeDefs"][name] == texts[language][name]


def test_rarely_used_inputs_of_the_sampler_are_marked_where_comfyui_knows_how(server, object_info):
    version = get_json(server.address, "/system_stats")["system"]["comfyui_version"]
    given = [one for group in GROUPS for one in object_info["AdaQualSampler"]["input"].get(group, {}).items()]
    marked = {name for name, (_, *options) in given if options and options[0].get("advanced")}
    knows = tuple(map(int, version.split(".")[:2])) >= (0, 10)
    assert marked == ({"schedule", "eta", "overlap", "stride", "patch_batch"} if knows else set())


def test_the_template_browser_finds_workflow_and_picture(server):
    for path in (REPOSITORY / "workflows").glob("*.*"):
        with urllib.request.urlopen(f"{server.address}/api/workflow_templates/{PACK}/{path.name}", timeout=60) as answer:
            assert answer.read() == path.read_bytes()
