"""The nodes: schema, layout, progress and memory management around :mod:`adaqual_core`, and nothing else."""

from comfy_api.latest import ComfyExtension, io

from .assessing import AdaQualScoreAndSort
from .blending import AdaQualBestPerRegion, AdaQualBlend, AdaQualScaleToMultiple
from .damage_kinds import AdaQualDamageKinds, AdaQualSetDamage
from .degradation import AdaQualDegrade
from .loaders import AdaQualLoadAssessor, AdaQualLoadModel
from .quality import AdaQualEditQuality, AdaQualEstimateQuality, AdaQualMaskToQuality, AdaQualQualityToMask
from .restoration import AdaQualBuildPrompt, AdaQualRestore, AdaQualSampler
from .steering import AdaQualAdaptiveConditioning, AdaQualDenoiseMask, AdaQualGuider
from .video import AdaQualRestoreVideo

NODES: list[type[io.ComfyNode]] = [
    AdaQualRestore,
    AdaQualLoadModel,
    AdaQualLoadAssessor,
    AdaQualEstimateQuality,
    AdaQualEditQuality,
    AdaQualQualityToMask,
    AdaQualMaskToQuality,
    AdaQualBuildPrompt,
    AdaQualSampler,
    AdaQualDegrade,
    AdaQualAdaptiveConditioning,
    AdaQualGuider,
    AdaQualDenoiseMask,
    AdaQualBlend,
    AdaQualBestPerRegion,
    AdaQualScoreAndSort,
    AdaQualDamageKinds,
    AdaQualSetDamage,
    AdaQualRestoreVideo,
    AdaQualScaleToMultiple,
]


class AdaQualExtension(ComfyExtension):
    """The pack as ComfyUI sees it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node, in the order of the README."""
        return NODES
