"""Malformed model files, drawn from seeds: each is refused with a CheckpointError that names it, or gives a sound network."""

import argparse
import json
import math
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import assessor, official, restorer, save_lightning, save_weatherdiffusion, weather
from torch import Tensor

from adaqual_core.errors import CheckpointError
from adaqual_core.published.golden import check_golden
from adaqual_core.published.read import convert, load_restorer
from adaqual_core.quality.assess import kind_of, open_assessor
from adaqual_core.weight_files import save_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns of types that no network has

SECONDS = 5
"""Longest time that a reader may take for one of these small files."""

ODD = (
    None,
    True,
    -1,
    0,
    1,
    3,
    0.5,
    -2.5,
    1e400,
    float("nan"),
    10**9,
    2**70,
    "",
    "two",
    [],
    {},
    [10**9],
    [-1, 2],
    [1.5],
    [[1]],
    ["x"],
)
"""JSON values that a damaged header may hold in place of any other."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, bytes]:
    """The bytes of a sound small file of every kind, by name."""
    folder = tmp_path_factory.mktemp("sound")
    models = {"own": restorer(), "assessor": assessor()}
    for name, model in models.items():
        save_model(model, folder / f"{name}.safetensors", {})
    save_lightning(folder / "lightning.ckpt")
    save_weatherdiffusion(folder / "weather.pth.tar")
    convert(folder / "lightning.ckpt", folder / "lightning.safetensors")
    convert(folder / "weather.pth.tar", folder / "weather.safetensors")
    for path in (Path(__file__).parent / "golden").iterdir():
        if f"golden_{path.name}" in OWN:
            shutil.copy(path, folder / f"golden_{path.name}")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def cut(content: bytes, rng: random.Random) -> bytes:
    """The file cut off, or with a part missing."""
    start = rng.randrange(len(content))
    return content[:start] + (content[start + rng.randint(1, 5000) :] if rng.random() < 0.5 else b"")


def overwritten(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, half of the time near the beginning, where headers are."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(min(len(content), 3000) if rng.random() < 0.5 else len(content))] = rng.randrange(256)
    return bytes(changed)


def another_value(value: object, rng: random.Random) -> object:
    """A JSON value with one place in it, or all of it, made odd."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.15:
            return {name: entry for name, entry in value.items() if name != key}
        if kind < 0.3:
            return {(name + rng.choice((".x", "7", ".999999999.0")) if name == key else name): e for name, e in value.items()}
        return value | {key: another_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [another_value(entry, rng) if number == place else entry for number, entry in enumerate(value)]
    if isinstance(value, str) and value[:1] in "{[" and rng.random() < 0.8:
        return json.dumps(another_value(json.loads(value), rng))
    return rng.choice((*ODD, "F64", "I64", "BOOL", "BF16", "F8_E4M3", "C64"))


def header_changed(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header says something else; other files are overwritten."""
    if content[8:9] != b"{":
        return overwritten(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if rng.random() < 0.5 and "__metadata__" in header:
        stated = another_value(header["__metadata__"], rng)
        if isinstance(stated, dict):  # safetensors holds nothing but text there
            stated = {key: value if isinstance(value, str) else json.dumps(value) for key, value in stated.items()}
        header["__metadata__"] = stated
    else:
        header = another_value(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


CHANGES = (cut, overwritten, header_changed, header_changed, header_changed)


def check_network(network: torch.nn.Module) -> None:
    """A network that was loaded must be float32, finite, on the CPU and for evaluation."""
    for tensor in network.state_dict().values():
        assert tensor.dtype == torch.float32 and tensor.device.type == "cpu" and bool(torch.isfinite(tensor).all())
    assert not network.training


def check_converted(path: Path) -> None:
    """Convert a file; what was written must load, and nothing else may be left."""
    target = path.with_name("converted.safetensors")
    try:
        convert(path, target)
        check_network(load_restorer(target))
    finally:
        target.unlink(missing_ok=True)
        assert [file.name for file in path.parent.iterdir()] == [path.name]


READERS: dict[str, Callable[[Path], object]] = {
    "restorer": lambda path: check_network(load_restorer(path)),
    "prompted": lambda path: check_network(load_restorer(path, mode="prompted")),
    "assessor": lambda path: check_network(open_assessor(path)),
    "kind": kind_of,
    "converted": check_converted,
    "golden": check_golden,
}
OWN = {
    "own.safetensors": "restorer",
    "assessor.safetensors": "assessor",
    "lightning.ckpt": "prompted",
    "lightning.safetensors": "restorer",
    "weather.pth.tar": "converted",
    "weather.safetensors": "restorer",
    "golden_adaqual_official_b.safetensors": "golden",
    "golden_deqa_a.safetensors": "golden",
}
"""The reader that each sound file is for."""


def refused_or_good(reader: str, path: Path) -> str | None:
    """Give a file to a reader; what it said where it refused it."""
    start, said = time.process_time(), None  # a busy machine makes no reader slow
    try:
        READERS[reader](path)
    except CheckpointError as problem:
        said = str(problem)
        assert path.name in said and "\n" not in said, said
    assert time.process_time() - start < SECONDS
    return said


@pytest.mark.parametrize("name", list(OWN))
def test_sound_files_are_read_by_their_reader_and_refused_by_others(sound, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(sound[name])
    assert refused_or_good(OWN[name], path) is None
    assert refused_or_good("assessor" if OWN[name] != "assessor" else "restorer", path) is not None


@pytest.mark.parametrize("seed", range(150))
def test_damaged_files_are_refused_or_give_a_sound_network(sound, tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / rng.choice(list(OWN))
    path.write_bytes(rng.choice(CHANGES)(sound[path.name], rng))
    for reader in {OWN[path.name], rng.choice(list(READERS))}:
        refused_or_good(reader, path)


@pytest.mark.parametrize("name", ["own.safetensors", "assessor.safetensors"])
def test_every_odd_size_in_a_configuration_is_refused_at_once(sound, tmp_path, name):
    """No size or count makes a reader build layers without end, and none is taken that computes NaN."""
    path = tmp_path / name
    path.write_bytes(sound[name])
    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors, config = load_file(path), json.loads(header["config"])
    for field, value in config.items():
        for odd in ODD:
            changed = [odd, *value[1:]] if isinstance(value, list) and not isinstance(odd, list) else odd
            if changed == value or (isinstance(value, float) and isinstance(odd, int | float) and math.isfinite(odd)):
                continue
            save_file(tensors, path, {**header, "config": json.dumps(config | {field: changed})})
            said = refused_or_good(OWN[name], path)
            assert said is not None or field in ("heads", "dilations"), (field, changed)


def odd_entry(value: Tensor, rng: random.Random) -> object:
    """Something else in place of a tensor of a checkpoint."""
    return rng.choice(
        (
            value.double(),
            value.half(),
            value.to(torch.complex64),
            value.long(),
            value.bool(),
            value.to_sparse(),
            value.to("meta"),
            value[None],
            value.flatten(),
            value[:0],
            torch.full_like(value, float("nan")),
            torch.zeros_like(value),
            torch.zeros(1).expand(value.shape),
            value.flip(0),
            torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            None,
            "text",
            [value],
            {"weight": value},
            7,
            torch.nn.Parameter(value),
        )
    )


def odd_name(key: str, rng: random.Random) -> object:
    """Another key in place of a checkpoint's."""
    return rng.choice(
        (key + ".x", "module." + key, key.replace(".0.", ".999999999."), key.replace(".0.", ".1."), "", 7, None, ("a", 1))
    )


@pytest.mark.parametrize("seed", range(100))
def test_odd_checkpoints_are_refused_or_give_a_sound_network(tmp_path, seed):
    rng = random.Random(seed)
    weights = dict(rng.choice((official, weather))().state_dict())
    for key in rng.sample(sorted(weights), rng.choice((0, 1, 1, 2, 5))):
        weights[key] = odd_entry(weights[key], rng)
    for key in rng.sample(sorted(weights), rng.choice((0, 0, 1, 2))):
        weights[odd_name(key, rng)] = weights.pop(key)
    config = argparse.Namespace(data=argparse.Namespace(image_size=rng.choice((*ODD, 16, 32, 48))))
    content = rng.choice(
        (
            weights,
            {"state_dict": weights},
            {"state_dict": weights, "ema_helper": weights, "config": config},
            [weights],
            {"ema_helper": rng.choice(ODD), "state_dict": weights},
            {"state_dict": rng.choice(ODD), "x": weights},
            rng.choice(ODD),
        )
    )
    path = tmp_path / "odd.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.5)
    if rng.random() < 0.2:
        path.write_bytes(rng.choice((cut, overwritten))(path.read_bytes(), rng))
    for reader in ("restorer", rng.choice(list(READERS))):
        refused_or_good(reader, path)
