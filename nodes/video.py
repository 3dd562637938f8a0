"""This module restores a VIDEO frame by frame from file to file, so that a clip need not fit into memory."""

import shutil
import uuid
from functools import partial
from pathlib import Path

import folder_paths
from comfy.model_patcher import ModelPatcher
from comfy_api.input import VideoInput
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.latest import io
from comfy_api.util import VideoComponents
from torch import Tensor

from ..adaqual_core.prompt import PromptSettings
from ..adaqual_core.quality.map import QualityMap
from ..adaqual_core.quality.naming import with_kinds
from ..adaqual_core.sampling.settings import settings_for, working_memory
from ..adaqual_core.video.clip import Chain
from ..adaqual_core.video.names import TEMPORAL, written_suffix
from .assessing import judged, namer_beside, ready
from .common import check_connected, reporter, schema, stop_if_cancelled
from .models import MODELS, open_network, use
from .restoration import chain_inputs, judge_and_restore


def _file_of(video: VideoInput, beside: Path) -> Path | None:
    """Return the file of a VIDEO; None for frames in memory.

    A VIDEO that is only a part of a file is written to a new one, whose name begins like ``beside``.
    """
    if not isinstance(video, VideoFromFile):
        return None
    source = video.get_stream_source() if hasattr(video, "get_stream_source") else None
    if isinstance(source, str) and VideoFromFile(source).get_duration() == video.get_duration():
        return Path(source)
    copied = beside.with_name(f"{beside.stem}_source.mp4")
    video.save_to(str(copied))
    return copied


def _restored_file(chain: Chain, source: Path, beside: Path) -> tuple[VideoInput, float]:
    """Restore the clip at ``source`` into a file named like ``beside``; return it and the mean quality found in ``source``."""
    try:
        from ..adaqual_core.video.segments import restore_clip
    except ImportError as missing:
        raise ValueError(f"video: clips need PyAV 18 or newer ({missing}); update the package av in ComfyUI's Python") from None
    target = beside.with_suffix(written_suffix(source).lower())
    try:
        report = restore_clip(chain, source, target, {}, partial(reporter(1), 0))
    finally:
        shutil.rmtree(target.with_name(f".{target.name}.parts"), ignore_errors=True)
    return VideoFromFile(str(target)), report.mean_quality_before


class AdaQualRestoreVideo(io.ComfyNode):
    """This node is the whole chain for a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the names, types, defaults and tooltips of the inputs and outputs."""
        return schema(
            node_id="AdaQualRestoreVideo",
            display_name="Restore Video",
            description=(
                "Restores a clip of any length: frame by frame from file to file, with little flicker, with its sound, time "
                "stamps and colours. It finds the damage itself and leaves clean frames alone."
            ),
            search_aliases=["video restoration", "denoise video", "deflicker", "dehaze", "low light"],
            inputs=[
                io.Video.Input("video", tooltip="The clip to restore, from Load Video or any other node."),
                *chain_inputs(TEMPORAL),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The restored clip, for Save Video."),
                io.Float.Output(display_name="quality_before", tooltip="Mean quality of the input over all frames, 1 to 5."),
            ],
        )

    @classmethod
    def execute(
        cls,
        video: VideoInput,
        strength: float,
        preserve: float,
        seed: int,
        steps: int,
        model: ModelPatcher | None = None,
        assessor: ModelPatcher | None = None,
        temporal: int = TEMPORAL,
    ) -> io.NodeOutput:
        """Restore a file as a stream, and frames that are in memory already as a batch."""
        check_connected(video=(video, object))
        folder = Path(folder_paths.get_temp_directory())
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"adaqual_{uuid.uuid4().hex}"
        source = _file_of(video, beside)
        if source is None:
            parts = video.get_components()
            restored, quality = judge_and_restore(parts.images, strength, preserve, seed, steps, model, assessor, temporal)
            made = VideoComponents(images=restored, audio=parts.audio, frame_rate=parts.frame_rate)
            return io.NodeOutput(VideoFromComponents(made), float(quality.mean.mean()))
        restorer, assessed_by = model or open_network(MODELS), ready(assessor)
        settings = settings_for(restorer.model, steps=steps or None, seed=seed, strength=strength)
        width, height = video.get_dimensions()
        namer = namer_beside(assessed_by)
        use(restorer, assessed_by, memory=working_memory(restorer.model, settings, height, width))

        def judge(picture: Tensor) -> QualityMap:
            return with_kinds(judged(assessed_by, picture, stop_if_cancelled), picture, namer)

        chain = Chain(restorer.model, judge, PromptSettings(preserve=preserve), settings, temporal)
        return io.NodeOutput(*_restored_file(chain, source, beside))
