"""ComfyUI-AdaQual: quality maps and the restoration they steer, as ComfyUI nodes (V3 API)."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """What ComfyUI calls to learn the nodes; nothing is imported before, so that tools can load this file."""
    from .nodes import AdaQualExtension

    return AdaQualExtension()
