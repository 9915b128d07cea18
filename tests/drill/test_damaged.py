"""Damaged: bytes flipped and files cut. Each is harmless or named; no wrong figure comes out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genptq_core import profile
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import measured_figures
from genptq_core.bitmaps.file import read_bit_map, write_bit_map
from genptq_core.bitmaps.schema import REMEDY, SCHEMA, VERSIONS, parse
from genptq_core.cli import health
from genptq_core.errors import BitMapError, GenPTQError
from genptq_core.export.export import export
from genptq_core.formats import export_file
from genptq_core.loading import load_model
from genptq_core.measurement import store
from genptq_core.storage.cache import read_cached, write_cached
from genptq_core.storage.digests import sha256, sha256_array
from genptq_core.storage.json_files import read_json
from tests.core import synthetic
from tests.drill import ledger

PROFILE = synthetic.profile(3, units=12, rates=(2.5,))


@dataclass(frozen=True)
class Kind:
    """Something that can be damaged.

    Attributes:
        make: writes it into a folder.
        read: reads it as the program does, and gives a value that holds all of its content.
        repaired: whether `doctor --repair` leaves something that reads.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    repaired: bool = False


def content(value: Any) -> Any:
    """A value as JSON, arrays by their digest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: content(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return sha256_array(value)
    if isinstance(value, torch.Tensor):
        return sha256_array(value.numpy())
    if isinstance(value, dict):
        return {key: content(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [content(part) for part in value]
    return value


def _records() -> list[store.Measured]:
    transcript = [(sha256(b"a"), "what was said", "what was set")]
    return [
        synthetic.measured(PROFILE, width, wer_increase=0.01 * width, transcripts=transcript * 9)
        for width in (2, 3, 4, 6, 8)
    ]


def _measure(folder: Path) -> None:
    for record in _records():
        store.save_measured(folder, PROFILE.digest, record)


def _maps(folder: Path) -> None:
    chosen = bit_map(PROFILE, [2, 3, 4, 6] * 3)
    known = measured_figures(_records()[0])
    write_bit_map(folder / "bitmap.json", PROFILE, chosen, predicted_loss=0.25, measured=known)


def _read_map(folder: Path) -> Any:
    path = folder / "bitmap.json"
    document = read_json(path, SCHEMA, VERSIONS, BitMapError, REMEDY)
    return parse(document, path).model_dump(exclude={"sha256"}), read_bit_map(path, PROFILE)


def _entries(folder: Path, name: str = "entry.safetensors") -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{i}": torch.randn(40, 30, generator=generator) for i in range(4)}
    tensors["half"] = torch.ones(7, dtype=torch.float16)
    write_cached(folder / name, tensors, [["a text", [1, 2, 3]]])


KINDS = {
    "profile": Kind(
        lambda folder: profile.save(dataclasses.replace(PROFILE, seconds=12.5), folder),
        profile.load_profile,
    ),
    "measurements that ship": Kind(
        lambda folder: store.ship(folder, _records()),
        lambda folder: store.load_measured(folder, PROFILE.digest),
    ),
    "measurement store": Kind(
        _measure, lambda folder: store.load_measured(folder, PROFILE.digest), repaired=True
    ),
    "bit map": Kind(_maps, _read_map),
    "cache entry": Kind(_entries, lambda folder: read_cached(folder / "entry.safetensors")),
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One bit flipped, or the end cut off."""
    if rng.random() < 0.25:
        return data[: int(rng.integers(len(data)))]
    place = int(rng.integers(len(data)))
    flipped = data[place] ^ (1 << int(rng.integers(8)))
    return data[:place] + bytes([flipped]) + data[place + 1 :]


def strikes(sound: Path, tmp_path: Path, count: int, seed: int) -> Iterator[tuple[Path, Path]]:
    """Copies of a folder with one damaged file each: the copy, and that file in it."""
    rng = np.random.default_rng(seed)
    names = sorted(p.relative_to(sound) for p in sound.rglob("*") if p.is_file())
    # Half of the time any file, else any byte of the folder: small files matter as well.
    sizes = np.array([(sound / name).stat().st_size for name in names], dtype=float)
    chances = 0.5 / len(names) + 0.5 * sizes / sizes.sum()
    for index in range(count):
        copy = tmp_path / f"{index}"
        shutil.copytree(sound, copy)
        victim = copy / names[int(rng.choice(len(names), p=chances))]
        victim.write_bytes(damaged(victim.read_bytes(), rng))
        yield copy, victim


def drill(name: str, kind: Kind, sound: Path, tmp_path: Path, count: int) -> list[str]:
    """Damage something many times; what went wrong, one line each."""
    expected = content(kind.read(sound))
    wrong = []
    for copy, victim in strikes(sound, tmp_path, count, seed=len(name)):
        try:
            value = content(kind.read(copy))
            outcome = ledger.HARMLESS if value == expected else ledger.FAILED
            if value is None:  # a cache entry that counts as absent is computed again
                outcome = ledger.CONTINUED
            message = f"{victim}: another content came out"
        except GenPTQError as error:
            message = str(error)
            named = victim.name in message and bool(error.hint)
            outcome = ledger.NAMED if named else ledger.FAILED
        if outcome == ledger.NAMED:
            _, problems = health.examine(copy)
            if not any(victim.name in problem for problem in problems):
                outcome, message = ledger.FAILED, f"the doctor does not find: {message}"
            if kind.repaired:
                health.repair(copy)
                repaired = content(kind.read(copy))
                if not all(record in expected for record in repaired) or health.examine(copy)[1]:
                    outcome, message = ledger.FAILED, f"the repair went wrong: {message}"
        ledger.note(f"damaged: {name}", outcome)
        if outcome == ledger.FAILED:
            wrong.append(message)
        shutil.rmtree(copy)
    return wrong


COUNTS = [10, pytest.param(100, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_harmless_or_named(kind: str, count: int, tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    sound.mkdir()
    KINDS[kind].make(sound)
    assert drill(kind, KINDS[kind], sound, tmp_path / "copies", count) == []


@pytest.mark.parametrize("count", COUNTS)
def test_damage_to_an_export_is_named(count: int, random_whisper: Path, tmp_path: Path) -> None:
    model = load_model(str(random_whisper))
    tiny = synthetic.profile_of(model, bits=(2, 3), group_size=(8,))
    export(tiny, bit_map(tiny, ["3/8"] * len(tiny.units)), None, tmp_path / "out", model)
    kind = Kind(export, export_file.verify)
    assert drill("native export", kind, tmp_path / "out", tmp_path / "copies", count) == []


@pytest.mark.parametrize("ending", [0, 1, -1])
def test_a_damaged_cache_entry_is_found_and_deleted(cache: Path, ending: int) -> None:
    path = cache / "baselines" / f"{'ab' * 16}.safetensors"
    path.parent.mkdir()
    _entries(path.parent, path.name)
    assert not [p for p in health.examine()[1] if str(path) in p]
    data = bytearray(path.read_bytes())
    data[ending or len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [p for p in health.examine()[1] if str(path) in p and "computed again" in p]
    assert [d for d in health.repair() if str(path) in d]
    assert not path.exists()
    assert not [p for p in health.examine()[1] if str(path) in p]


def test_a_store_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    import contextlib
    import sqlite3

    _measure(tmp_path)
    path = tmp_path / store.SQLITE_NAME
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version=99")
    assert "version 99" in health.examine(tmp_path)[1][0]
    assert health.repair(tmp_path) == []
    assert path.exists()
