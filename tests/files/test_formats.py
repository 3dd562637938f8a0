"""The table of docs/files.md says what the code holds."""

from comfy_server import REPOSITORY

from adaqual_core.pictures.formats import ONLY_READ, SUFFIXES, WRITTEN

FRAMES = {"one": "one", "moving": "animation", "pages": "pages"}
NAMES = ("profile", "exif", "xmp", "dpi", "text", "comment")


def test_the_table_of_formats_is_current():
    text = (REPOSITORY / "docs" / "files.md").read_text(encoding="utf-8")
    for known in WRITTEN:
        bits = ", ".join("float" if bits == 32 else str(bits) for bits in known.bits)
        held = ", ".join(name for name in NAMES if name in known.holds)
        alpha = "yes" if known.alpha else "no"
        row = f"| {known.name} | {', '.join(known.suffixes)} | yes | {bits} | {alpha} | {FRAMES[known.frames]} | {held} |"
        assert row in text, row
    rest = next(line for line in text.splitlines() if line.startswith("| MPO"))
    assert all(name in rest for name in ONLY_READ)
    assert {suffix for suffix in SUFFIXES if f"{suffix}," in text or f"{suffix} |" in text} == SUFFIXES
