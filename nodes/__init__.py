"""This package holds the nodes. They are schemas, layout conversion, progress and memory management around :mod:`adaqual_core`,
and compute nothing themselves.
"""

from comfy_api.latest import ComfyExtension, io

from .assessing import AdaQualScoreAndSort
from .blending import AdaQualBestPerRegion, AdaQualBlend, AdaQualScaleToMultiple
from .conditioning import AdaQualAdaptiveConditioning
from .damage_kinds import AdaQualDamageKinds, AdaQualSetDamage
from .degradation import AdaQualDegrade
from .loaders import AdaQualLoadAssessor, AdaQualLoadModel
from .prompting import AdaQualBuildPrompt
from .quality import AdaQualEditQuality, AdaQualEstimateQuality, AdaQualMaskToQuality, AdaQualQualityToMask
from .restoration import AdaQualRestore
from .sampling import AdaQualSampler
from .steering import AdaQualDenoiseMask, AdaQualGuider
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
    """This extension is what ComfyUI asks for the nodes of the pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node, in the order of NODES."""
        return NODES
