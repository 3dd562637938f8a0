"""What a file carries beside its pixels goes through the command into every format that can hold it, and is named where not."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageCms, IptcImagePlugin, PngImagePlugin

from adaqual_core.pictures.containers import read_png_chunks
from adaqual_core.pictures.exif import upright_exif
from adaqual_core.pictures.formats import WRITTEN
from adaqual_core.pictures.header import read_header
from adaqual_core.pictures.metadata import Metadata, png_text
from adaqual_core.pictures.reading import read_frames, read_still
from adaqual_core.pictures.writing import write_still

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1" note="kept"/></x:xmpmeta>'
DEEP = np.random.default_rng(1).integers(0, 65536, (24, 40, 3), np.uint16)
HOLDS = {written.name: written.holds for written in WRITTEN}
NAMES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tif", "AVIF": "avif", "GIF": "gif", "BMP": "bmp"}


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132], exif[0x0112] = "Maker", "Model", "2024:01:02 03:04:05", orientation
    exif[0x8769] = {0x829A: (1, 125), 0x8827: 400, 0xA002: 40, 0xA003: 24, 0x927C: bytes(range(64))}
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    return exif.tobytes()[6:]


FULL = Metadata(
    profile=PROFILE,
    exif=exif_block(),
    xmp=XMP,
    dpi=(300.0, 150.0),
    comment=b"a comment",
    text=(("prompt", '{"3": {"class_type": "KSampler"}}'), ("workflow", '{"nodes": ["ä", "中"]}')),
)


def carried(path) -> dict:
    """What a file holds, as another reader sees it."""
    with Image.open(path) as file:
        file.load()
        found = {"profile": file.info.get("icc_profile"), "comment": file.info.get("comment")}
        dpi = file.info.get("dpi")
        found["dpi"] = None if dpi is None else tuple(round(float(value)) for value in dpi)
        exif = file.getexif()
        inner = exif.get_ifd(0x8769)
        found["exif"] = (exif.get(0x010F), exif.get(0x0132), inner.get(0x8827), inner.get(0x927C), exif.get_ifd(0x8825).get(1))
        found["text"] = getattr(file, "text", {})
        if file.format == "PNG":
            found["comment"] = found["text"].get("Comment", "").encode() or None
    found["xmp"] = next(read_frames(read_header(path))).metadata.xmp
    return found


@pytest.mark.parametrize("name, holds", HOLDS.items(), ids=list(HOLDS))
def test_the_formats_hold_what_the_table_says(tmp_path, name, holds):
    path = tmp_path / f"a.{NAMES[name]}"
    write_still(PIXELS, path, FULL)
    found = carried(path)
    assert (found["profile"] == PROFILE) == ("profile" in holds)
    assert (found["exif"] == ("Maker", "2024:01:02 03:04:05", 400, bytes(range(64)), "N")) == ("exif" in holds)
    assert (found["xmp"] == XMP) == ("xmp" in holds)
    assert (found["dpi"] == (300, 150)) == ("dpi" in holds)
    assert (found["comment"] == b"a comment") == ("comment" in holds)
    assert ({key: found["text"].get(key) for key in ("prompt", "workflow")} == dict(FULL.text)) == ("text" in holds)


@pytest.mark.parametrize("source, target", list(itertools.product(("PNG", "JPEG", "WEBP", "TIFF"), HOLDS)))
def test_everything_that_both_formats_hold_goes_through_the_command(adaqual, tmp_path, source, target):
    first, second = f"a.{NAMES[source]}", f"b.{NAMES[target]}"
    write_still(PIXELS, tmp_path / first, FULL)
    status, _, err = adaqual("restore", first, second)
    assert status == 0
    before, after = carried(tmp_path / first), carried(tmp_path / second)
    words = {"profile": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution", "text": "text", "comment": "comment"}
    for name in HOLDS[source]:
        if name in HOLDS[target]:
            assert after[name] == before[name], name
            assert f"{words[name]} is left out" not in err
        elif before[name]:
            assert f"{words[name]} is left out" in err, name


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_files_keep_it_too(adaqual, tmp_path, suffix):
    write_still(DEEP, tmp_path / f"a.{suffix}", FULL)
    status, _, err = adaqual("restore", f"a.{suffix}", f"b.{suffix}", "--preserve", 1)
    assert (status, err) == (0, "")
    assert carried(tmp_path / f"a.{suffix}") == carried(tmp_path / f"b.{suffix}")
    assert carried(tmp_path / f"b.{suffix}")["exif"][3] == bytes(range(64))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_upright_and_says_so(adaqual, tmp_path, suffix, orientation):
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0" + exif_block(orientation), dpi=(300, 150))
    assert adaqual("restore", f"a.{suffix}", f"b.{suffix}", "--preserve", 1)[0] == 0
    with Image.open(tmp_path / f"b.{suffix}") as after:
        exif = after.getexif()
        assert after.size == ((24, 40) if orientation > 4 else (40, 24))
        assert exif.get(0x0112, 1) == 1
        inner = exif.get_ifd(0x8769)
        if suffix != "tif":
            assert (inner[0xA002], inner[0xA003]) == after.size
        if suffix in ("png", "jpg", "tif"):
            assert tuple(round(float(value)) for value in after.info["dpi"]) == ((150, 300) if orientation > 4 else (300, 150))
    assert np.array_equal(read_still(tmp_path / f"b.{suffix}").pixels, read_still(tmp_path / f"a.{suffix}").pixels) or suffix in (
        "jpg",
        "webp",
    )


def test_a_thumbnail_of_the_old_picture_is_unlinked():
    """EXIF with a second directory: its thumbnail shows the picture before it was turned and restored."""
    first = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + (26).to_bytes(4, "little")
    second = b"\x01\0" + b"\x03\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)
    upright = upright_exif(first + second, 6)
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + upright)
    assert dict(exif) == {0x0112: 1}
    assert upright[22:26] == bytes(4) and len(upright) == len(first + second)


@pytest.mark.parametrize("block", [b"", b"II", b"XX*\0\x08\0\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_broken_exif_is_dropped_rather_than_passed_on(block):
    assert upright_exif(block, 6) is None


def test_damaged_exif_is_said(adaqual, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    status, _, err = adaqual("restore", "a.jpg", "b.jpg")
    assert status == 0 and err == "adaqual: note: b.jpg: damaged EXIF is left out\n"


def test_a_large_graph_in_compressed_text(adaqual, tmp_path):
    info = PngImagePlugin.PngInfo()
    graph = '{"nodes": [' + "1, " * 1_000_000 + "1]}"
    info.add_text("workflow", graph, zip=True)
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    assert adaqual("restore", "a.png", "b.png")[::2] == (0, "")
    assert read_still(tmp_path / "b.png").metadata.text == (("workflow", graph),)


@pytest.mark.parametrize("suffix", ["png", "webp", "avif"])
def test_animations_keep_it_too(adaqual, tmp_path, suffix):
    options = {"pnginfo": png_text(FULL), "dpi": FULL.dpi} if suffix == "png" else {"xmp": XMP}
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(
        tmp_path / f"a.{suffix}",
        save_all=True,
        append_images=frames[1:],
        duration=40,
        icc_profile=PROFILE,
        exif=b"Exif\0\0" + exif_block(),
        **options,
    )
    assert adaqual("restore", f"a.{suffix}", f"b.{suffix}")[::2] == (0, "")
    before, after = carried(tmp_path / f"a.{suffix}"), carried(tmp_path / f"b.{suffix}")
    assert after["profile"] == PROFILE and after["exif"][0] == "Maker" and after["exif"][3] == bytes(range(64))
    assert after["xmp"] == XMP and after["text"] == before["text"]


def test_orientation_in_xmp_alone(adaqual, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode().replace('tiff:Orientation="1"', 'tiff:Orientation="6"'))
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    assert adaqual("restore", "a.png", "b.png", "--preserve", 1)[0] == 0
    once, again = read_still(tmp_path / "a.png").pixels, read_still(tmp_path / "b.png").pixels
    assert np.array_equal(once, again)
    assert read_still(tmp_path / "b.png").metadata.xmp == XMP


def test_text_and_exif_behind_the_pixels_of_a_png(adaqual, tmp_path):
    """Programs that add metadata to a finished PNG write it at the end."""
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "{}", zip=False)
    info.add(b"teSt", b"private", after_idat=True)
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info, exif=b"Exif\0\0" + exif_block(6))
    data = (tmp_path / "a.png").read_bytes()
    with open(tmp_path / "a.png", "rb") as file:
        chunks = {kind: (kind, body) for kind, body in read_png_chunks(file, (b"eXIf", b"tEXt"))}
    for kind, body in chunks.values():
        whole = len(body).to_bytes(4, "big") + kind + body
        place = data.index(whole)
        crc = data[place + len(whole) : place + len(whole) + 4]
        data = data.replace(whole + crc, b"")
        data = data[:-12] + whole + crc + data[-12:]
    (tmp_path / "late.png").write_bytes(data)
    assert adaqual("restore", "late.png", "b.png", "--preserve", 1)[0] == 0
    found = carried(tmp_path / "b.png")
    assert found["text"]["workflow"] == "{}" and found["exif"][0] == "Maker"
    with Image.open(tmp_path / "b.png") as after:
        assert after.size == (24, 40)


def test_iptc_of_a_jpeg(adaqual, tmp_path):
    record = b"\x1c\x02\x78" + (7).to_bytes(2, "big") + b"caption"
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", extra=b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block)
    assert adaqual("restore", "a.jpg", "b.jpg")[::2] == (0, "")
    with Image.open(tmp_path / "b.jpg") as file:
        assert IptcImagePlugin.getiptcinfo(file)[(2, 120)] == b"caption"
    assert "IPTC is left out" in adaqual("restore", "a.jpg", "b.png")[2]


def test_the_meaning_of_a_pngs_colours(adaqual, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100000).to_bytes(4, "big"))
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    assert adaqual("restore", "a.png", "b.png")[2] == ""
    with open(tmp_path / "b.png", "rb") as file:
        assert read_png_chunks(file, (b"gAMA",)) == [(b"gAMA", (100000).to_bytes(4, "big"))]
    assert "gAMA" in adaqual("restore", "a.png", "b.jpg")[2]


def test_too_much_for_a_jpeg_is_said(adaqual, tmp_path):
    write_still(PIXELS, tmp_path / "a.png", Metadata(xmp=b"<x>" + b" " * 70000 + b"</x>"))
    status, _, err = adaqual("restore", "a.png", "b.jpg")
    assert status == 0 and "XMP is left out" in err


def test_no_resolution_is_invented(adaqual, tmp_path):
    for name in ("a.jpg", "a.png", "a.tif"):
        Image.fromarray(PIXELS).save(tmp_path / name)
        assert adaqual("restore", name, "b.png")[0] == 0
        assert carried(tmp_path / "b.png")["dpi"] is None, name
