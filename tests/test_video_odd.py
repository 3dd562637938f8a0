"""Odd clips: each is kept as it was, or refused or named in words; nothing gets lost without a word."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.sidedata.sidedata import Type
from clips import packets, shown
from odd_clips import cover_of, streams_of, write_odd
from small import restorer, undamaged

from adaqual_core.errors import PictureError
from adaqual_core.prompt import PromptSettings
from adaqual_core.sampling.settings import RestoreSettings
from adaqual_core.video.clip import Chain
from adaqual_core.video.pixels import picture_of
from adaqual_core.video.segments import ClipReport, restore_clip

MIRROR = (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
HDR10 = "log-level=error:pools=none:hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
EARLY = tuple(range(-4, 6))
"""Stamps of which four lie before the start: MP4 keeps these frames and hides them by an edit list."""


@pytest.fixture(scope="module")
def chain() -> Chain:
    """A chain that finds nothing to restore: these tests are about files."""
    return Chain(restorer(), lambda picture: undamaged(*picture.shape[-2:]), PromptSettings(), RestoreSettings(), 3)


def restored(chain: Chain, source: Path, suffix: str) -> tuple[Path, ClipReport]:
    target = source.with_name(f"out{suffix}")
    return target, restore_clip(chain, source, target, {})


def lead(path: Path) -> tuple[list[Fraction], list[bytes]]:
    """The frames' times from the first sound on, in seconds to a millisecond, and the packets of the first sound.

    AAC packets of a transport stream have headers of their own, which are left out.
    """
    sound = packets(path, "audio")
    headers = 7 if path.suffix == ".ts" else 0
    return [round(frame.pts * frame.time_base - sound[0][0], 3) for frame in shown(path)], [one[2][headers:] for one in sound]


KEPT = {
    "edit list": ("in.mp4", {"stamps": EARLY, "sounds": ["aac"]}, ".mp4"),
    "edit list into Matroska": ("in.mp4", {"stamps": EARLY, "sounds": ["aac"]}, ".mkv"),
    "later frames first": ("in.mkv", {"options": {"bf": "3", "g": "5"}, "sounds": ["aac"]}, ".mp4"),
    "transport stream": ("in.ts", {"sounds": ["aac"]}, ".mp4"),
    "Flash": ("in.flv", {"sounds": ["aac"]}, ".mkv"),
    "one frame": ("in.mp4", {"stamps": [0], "sounds": ["aac"]}, ".mp4"),
    "sound longer than pictures": ("in.mp4", {"sounds": ["aac"], "seconds": 3.0}, ".mkv"),
    "three sounds": ("in.mkv", {"sounds": ["aac", "flac", "libopus"]}, ".mkv"),
    "Motion JPEG in AVI": ("in.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p", "sounds": ["pcm_s16le"]}, ".mkv"),
    "odd sides": ("in.avi", {"codec": "mpeg4", "size": (37, 51), "sounds": ["libmp3lame"]}, ".mp4"),
}


@pytest.mark.parametrize("case", KEPT)
def test_pictures_and_sound_stay_together(chain, tmp_path, case):
    name, given, suffix = KEPT[case]
    source = write_odd(tmp_path / name, **given)
    target, report = restored(chain, source, suffix)
    assert report.left_out == () and report.frames == len(shown(source))
    (before, heard), (after, still) = lead(source), lead(target)
    assert still == heard and after == pytest.approx(before, abs=0.0015)
    assert streams_of(target) == streams_of(source)
    assert (shown(target)[0].width, shown(target)[0].height) == (shown(source)[0].width, shown(source)[0].height)


ENCODED = {
    "h264": ("libx264", "yuv420p", ".mkv"),
    "hevc": ("libx265", "yuv420p10le", ".mp4"),
    "vp9": ("libvpx-vp9", "yuv420p", ".webm"),
    "av1": ("libsvtav1", "yuv420p", ".mp4"),
    "ffv1": ("ffv1", "yuv422p12le", ".mkv"),
    "prores": ("prores_ks", "yuv422p10le", ".mov"),
}


@pytest.mark.parametrize("codec", ENCODED)
def test_every_codec_comes_back_with_its_times_over_segments(chain, tmp_path, codec):
    encoder, pixel_format, suffix = ENCODED[codec]
    quiet = {"x265-params": "log-level=error:pools=none"} if codec == "hevc" else {}
    film = {"stamps": range(7, 57), "time_base": Fraction(1001, 30000), "size": (64, 64), "options": quiet}
    source = write_odd(tmp_path / f"in{suffix}", encoder, pixel_format, **film)
    target, report = restored(chain, source, suffix)
    assert report.frames == 50 and report.left_out == ()
    assert [frame.time for frame in shown(target)] == [frame.time for frame in shown(source)]
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
    assert shown(target)[0].format.name == shown(source)[0].format.name == pixel_format


@pytest.mark.parametrize(("name", "suffix"), [("in.mp4", ".mp4"), ("in.mp4", ".mkv"), ("in.mkv", ".mkv"), ("in.mkv", ".mp4")])
@pytest.mark.parametrize("kind", ["png", "mjpeg"])
def test_a_cover_comes_along(chain, tmp_path, kind, name, suffix):
    source = write_odd(tmp_path / "first.mp4", cover=kind, sounds=["aac"])
    if name == "in.mkv":
        source = restored(chain, source, ".mkv")[0].rename(tmp_path / name)
    target, report = restored(chain, source, suffix)
    assert report.left_out == () and report.frames == 10
    assert cover_of(target) == cover_of(source) == cover_of(tmp_path / "first.mp4") and cover_of(source)
    assert packets(target, "audio") and shown(target)[0].width == 64


def test_a_mirrored_clip_stays_mirrored(chain, tmp_path):
    source = write_odd(tmp_path / "in.mp4", matrix=MIRROR)
    target, _ = restored(chain, source, ".mp4")
    before, after = (bytes(shown(path)[0].side_data.get(Type.DISPLAYMATRIX)) for path in (source, target))
    assert after == before


def test_prores_keeps_its_transparency(chain, tmp_path):
    source = write_odd(tmp_path / "in.mov", "prores_ks", "yuva444p10le")
    target, report = restored(chain, source, ".mov")
    assert report.left_out == ("is encoded as yuva444p10le, which loses bits of its yuva444p12le",)
    before, after = (picture_of(shown(path)[3])[:, 3] for path in (source, target))
    assert (after - before).abs().max() < 0.01 and before.min() < 0.6


TOLD = {
    "interlaced": ("in.mkv", {"options": {"x264-params": "interlaced=1:tff=1"}}, ".mkv", "is interlaced: "),
    "HDR10": (
        "in.mkv",
        {"codec": "libx265", "pixel_format": "yuv420p10le", "colours": (1, 9, 9, 16), "options": {"x265-params": HDR10}},
        ".mkv",
        "the mastering display of HDR10 is not carried over",
    ),
    "VP9's transparency": (
        "in.webm",
        {"codec": "libvpx-vp9", "pixel_format": "yuva420p"},
        ".webm",
        "its transparency (vp9) is not carried over; convert it",
    ),
    "transparency": ("in.mkv", {"codec": "ffv1", "pixel_format": "yuva420p"}, ".webm", "yuv420p, which loses transparency"),
    "12 bits": ("in.mkv", {"codec": "ffv1", "pixel_format": "yuv420p12le"}, ".mov", "which loses bits of its yuv420p12le"),
    "cover": ("in.mp4", {"cover": "png"}, ".mov", "stream 1 (video, png) is not carried over"),
    "cut off": (
        "in.mkv",
        {"stamps": range(100), "sounds": ["aac"], "seconds": 4.0, "part": 0.5},
        ".mkv",
        "was cut off: ",
    ),
    "cut off behind its index": (
        "in.mp4",
        {"stamps": range(100), "part": 0.5, "container_options": {"movflags": "faststart"}},
        ".mp4",
        "was cut off: ",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_gets_lost_is_said(chain, tmp_path, case):
    name, given, suffix, words = TOLD[case]
    _, report = restored(chain, write_odd(tmp_path / name, **given), suffix)
    assert report.frames > 0 and any(words in line for line in report.left_out), report.left_out


def test_a_second_picture_is_copied_and_named(chain, tmp_path):
    source = write_odd(tmp_path / "in.mkv", cover="mjpeg")  # which Matroska takes for a track where it is no attachment
    target, report = restored(chain, source, ".mkv")
    assert report.left_out == ("stream 1 (video, mjpeg) is a second picture: it is copied, not restored",)
    assert streams_of(target) == streams_of(source)


REFUSED = {
    "sound without a layout": (
        "in.avi",
        {"codec": "mjpeg", "pixel_format": "yuvj420p", "sounds": ["pcm_s16le"]},
        ".mp4",
        r"cannot hold the source's audio \(pcm_s16le\) .*; write .mkv",
    ),
    "no stamps": (
        "in.mkv",
        {"stamps": EARLY, "options": {"bf": "0"}, "container_options": {"avoid_negative_ts": "disabled"}},
        ".mkv",
        "a frame has no time stamp; rewrite the file",
    ),
    "cut off before its index": (
        "in.mp4",
        {"stamps": range(100), "part": 0.6},
        ".mp4",
        "not a clip that can be read .*; get the file again",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_before_work(chain, tmp_path, case):
    name, given, suffix, words = REFUSED[case]
    source = write_odd(tmp_path / name, **given)
    with pytest.raises(PictureError, match=words):
        restored(chain, source, suffix)
    assert [path.name for path in tmp_path.iterdir()] == [name]
