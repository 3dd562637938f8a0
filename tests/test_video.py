"""Clips as files: everything but the restored pixels comes back as it was, and a run that was stopped goes on."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import packets, shown, write_clip
from small import assessor, restorer, undamaged

from adaqual_core import cli
from adaqual_core.errors import PictureError
from adaqual_core.prompt import PromptSettings
from adaqual_core.quality.assess import assess
from adaqual_core.sampling.settings import RestoreSettings
from adaqual_core.video.clip import Chain
from adaqual_core.video.pixels import frame_of, picture_of
from adaqual_core.video.segments import (
    join_parts,
    judged_segments,
    missing_segments,
    open_parts,
    parts_folder,
    remember_segments,
    restore_clip,
    restore_segments,
)
from adaqual_core.weight_files import save_model


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain(restorer(), partial(assess, assessor()), PromptSettings(), RestoreSettings(), temporal=3)


@pytest.fixture
def keeping(chain) -> Chain:
    """A chain that finds nothing to restore."""
    return Chain(chain.model, lambda picture: undamaged(*picture.shape[-2:]), PromptSettings(), RestoreSettings(), 3)


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    rows = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    deep = 2 if frame.format.components[0].bits > 8 else 1
    return [data[: p.height, : p.width * deep].copy() for data, p in zip(rows, frame.planes, strict=True)]


UNEVEN = [0, 3000, 6001, 6500, 15000, 15100, 20000, 40000, 41000, 50000]
CASES = {
    "film": {"rate": Fraction(24000, 1001), "sound": "aac"},
    "uneven": {"time_base": Fraction(1, 90000), "stamps": UNEVEN, "options": {"bf": "0"}},
    "late": {"time_base": Fraction(1, 600), "stamps": [300 + 20 * i for i in range(10)], "rate": Fraction(30)},
    "turned": {"rotation": -90, "rate": Fraction(25)},
    "wide colours": {"codec": "libx265", "pixel_format": "yuv420p10le", "colours": (1, 9, 9, 14), "rate": Fraction(50)},
    "full range": {"pixel_format": "yuvj420p", "colours": (2, 6, 6, 6), "size": (40, 52)},
    "fine chroma": {"pixel_format": "yuv444p10le"},
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_not_a_pixel_is_carried_through(chain, tmp_path, case, suffix):
    source = write_clip(tmp_path / f"in{suffix}", **CASES[case])
    target = tmp_path / f"out{suffix}"
    report = restore_clip(chain, source, target, {})
    assert report.frames == 10 and report.tiles_run > 0 and report.left_out == ()
    before, after = shown(source), shown(target)
    assert [frame.time for frame in after] == [frame.time for frame in before]
    if suffix == ".mp4":  # Matroska gives every frame the mean duration
        assert [one[:2] for one in packets(target, "video")] == [one[:2] for one in packets(source, "video")]
    for name in ("width", "height", "rotation", "colorspace", "color_range", "color_primaries", "color_trc"):
        assert getattr(after[0], name) == getattr(before[0], name), name
    assert after[0].format.name == before[0].format.name
    assert any((a != b).any() for a, b in zip(planes(after[5]), planes(before[5]), strict=True))
    with av.open(str(source)) as a, av.open(str(target)) as b:
        assert b.metadata["title"] == "squares"
        assert b.streams.video[0].codec_context.name == a.streams.video[0].codec_context.name
        assert b.streams.video[0].average_rate == a.streams.video[0].average_rate
    if "sound" in CASES[case]:
        assert packets(target, "audio") == packets(source, "audio")
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name]


def test_frames_of_the_same_time_follow_each_other(chain, tmp_path):
    stamps = [0, 3000, 3001, 6000]  # Matroska counts in thousandths of a second, where the second and third are one
    source = write_clip(tmp_path / "in.mkv", 4, time_base=Fraction(1, 90000), stamps=stamps, options={"bf": "0"})
    restore_clip(chain, source, tmp_path / "out.mkv", {})
    assert [frame.pts for frame in shown(tmp_path / "out.mkv")] == [0, 33, 34, 67]


def test_subtitles_are_carried_through_or_refused_before_work(chain, tmp_path):
    (tmp_path / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nhello\n")
    source = write_clip(tmp_path / "in.mkv", subtitles=tmp_path / "words.srt")
    restore_clip(chain, source, tmp_path / "out.mkv", {})
    assert packets(tmp_path / "out.mkv", "subtitle") == packets(source, "subtitle") != []
    with pytest.raises(PictureError, match="cannot hold the source's subtitle .*write .mkv"):
        restore_clip(chain, source, tmp_path / "out.mp4", {})
    assert not (tmp_path / "out.mp4").exists() and not (tmp_path / ".out.mp4.parts").exists()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p", "bgr0", "gray", "yuva420p"])
def test_frames_without_damage_come_back_bit_by_bit(keeping, tmp_path, pixel_format):
    given = {"codec": "ffv1", "pixel_format": pixel_format, "size": (37, 51), "options": {"context": "1"}}
    source = write_clip(tmp_path / "in.mkv", 3, colours=(2, 0, 1, 1) if pixel_format == "bgr0" else (1, 1, 1, 1), **given)
    report = restore_clip(keeping, source, tmp_path / "out.mkv", {})
    assert report.tiles_run == 0
    for before, after in zip(shown(source), shown(tmp_path / "out.mkv"), strict=True):
        assert after.format.name == before.format.name
        assert all((a == b).all() for a, b in zip(planes(after), planes(before), strict=True))


@pytest.mark.parametrize("colours", [(1, 1), (2, 1), (1, 6), (2, 6), (1, 9)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p", "gbrp", "gray", "rgb24", "yuva420p"])
def test_only_samples_of_changed_pixels_change(pixel_format, colours):
    rng = np.random.default_rng(1)
    blocks = np.kron(rng.integers(70, 180, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)[:41, :59]
    frame = av.VideoFrame.from_ndarray(blocks.copy(), format="rgb24")
    frame = frame.reformat(format=pixel_format, dst_colorspace=colours[1], dst_color_range=colours[0])
    frame.color_range, frame.colorspace = colours
    before = picture_of(frame)
    assert before.shape == (1, 4 if pixel_format == "yuva420p" else 3, 41, 59) and 0.2 < before[:, :3].mean() < 0.8
    same = frame_of(before.clone(), frame, before)
    assert all((a == b).all() for a, b in zip(planes(same), planes(frame), strict=True))
    brighter = before.clone()
    brighter[:, :3, 10:20, 10:30] += 0.1
    found = frame_of(brighter, frame, before)
    change = picture_of(found)[:, :3] - before[:, :3]
    assert (change[..., 12:18, 12:28].mean() - 0.1).abs() < 0.003
    assert all(part.abs().max() == 0 for part in (change[..., :4, :], change[..., 28:, :], change[..., 38:]))


def stopped(chain: Chain, source: Path, target: Path, at: int) -> None:
    """Run until ``at`` frames are done, then stop as Ctrl-C does."""

    def progress(done: int, total: int, preview) -> None:
        assert total == 110 and 0 <= done <= total
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_clip(chain, source, target, {"seed": "0"}, progress)


def test_a_run_stopped_three_times_goes_on_and_ends_equal(chain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 110, (16, 24), sound="aac")
    whole = restore_clip(chain, source, tmp_path / "whole.mp4", {"seed": "0"})
    target, seen = tmp_path / "out.mp4", []
    for at in (30, 70, 109):
        stopped(chain, source, target, at)
        assert not target.exists()
    (tmp_path / ".out.mp4.parts" / "000002.partial").write_bytes(b"half a segment of a killed run")
    report = restore_clip(chain, source, target, {"seed": "0"}, lambda done, total, preview: seen.append(done))
    assert min(seen) == 96 and report == whole
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not (tmp_path / ".out.mp4.parts").exists()


def test_segments_of_other_work_are_not_used(chain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 110, (16, 24))
    stopped(chain, source, tmp_path / "out.mp4", 100)
    seen = []
    restore_clip(chain, source, tmp_path / "out.mp4", {"seed": "1"}, lambda done, total, preview: seen.append(done))
    assert min(seen) == 0


def test_segments_restored_in_any_order_from_memories_are_those_of_one_run(chain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 110, (16, 24), sound="aac")
    whole = restore_clip(chain, source, tmp_path / "whole.mp4", {})
    parts = open_parts(source, tmp_path / "out.mp4", {})
    assert judged_segments(parts.folder) == 0
    assert remember_segments(chain, parts) == judged_segments(parts_folder(tmp_path / "out.mp4")) == 3
    (parts.folder / "000002.safetensors").unlink()  # as a run leaves it that was stopped before the last memory
    assert remember_segments(chain, parts) == 3 and missing_segments(parts, 3) == [0, 1, 2]
    restore_segments(chain, parts, 2)
    restore_segments(chain, parts, 0, 1)
    assert missing_segments(parts, 3) == [1]
    restore_segments(chain, parts, 1, 2)
    assert join_parts(parts) == whole and not parts.folder.exists()
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_what_cannot_be_done_is_said_before_work(chain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 3)
    (tmp_path / "text.mp4").write_text("no clip")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        wave.sample_rate = 48000
        container.mux(stream.encode(wave) + stream.encode(None))
    for given, target, message in (
        (source, "out.gif", "clips are written as .mp4"),
        (source, "in.mp4", "would replace the input"),
        (tmp_path / "text.mp4", "out.mp4", "not a clip that can be read"),
        (tmp_path / "sound.mkv", "out.mkv", "holds no moving picture"),
        (tmp_path / "none.mp4", "out.mp4", "no such file"),
    ):
        with pytest.raises(PictureError, match=message):
            restore_clip(chain, given, tmp_path / target, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "sound.mkv", "text.mp4"]


def test_the_command_line_restores_a_clip(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(restorer(), Path("model.safetensors"), {})
    save_model(assessor(), Path("assessor.safetensors"), {})
    write_clip(Path("in.mp4"), 6)
    models = ["--model", "model.safetensors", "--assessor", "assessor.safetensors", "--device", "cpu"]

    def restored(name: str, *options: str) -> torch.Tensor:
        assert cli.main(["restore", "in.mp4", name, *models, *options]) == 0
        return torch.cat([picture_of(frame) for frame in shown(Path(name))])

    steady, single = restored("a.mp4"), restored("b.mp4", "--temporal", "0")
    assert not torch.equal(restored("d.mp4", "--assume", "low=0.9"), steady)
    out = capsys.readouterr().out
    assert "a.mp4: 6 frames, quality " in out and "tiles run" in out
    assert steady.shape == single.shape and not torch.equal(steady, single)
    assert cli.main(["restore", "in.mp4", "c.mp4", *models, "--temporal", "-1"]) == 2
    assert "--temporal: -1; give a whole number, 0" in capsys.readouterr().err
    assert cli.main(["restore", "in.png", "c.png", *models, "--temporal", "3"]) == 2
    assert "in.png is no clip" in capsys.readouterr().err
