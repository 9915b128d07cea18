"""Hostile files: none breaks a parser, is read without end, or makes anything outside its folder.

Besides the corpus below, each parser is fuzzed with 40 documents made by Hypothesis, 400 in the
slow form.
"""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genptq_core import profile
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import read_bit_map, write_bit_map
from genptq_core.errors import GenPTQError
from genptq_core.formats import export_file, native
from genptq_core.measurement import store
from genptq_core.speech.sources import load_speech
from genptq_core.speech.utterances import load_audio, utterance
from genptq_core.storage.cache import read_cached
from genptq_core.storage.digests import sha256_file, sha256_json
from genptq_core.storage.json_files import sealed
from tests.core import synthetic
from tests.drill import ledger

PROFILE = synthetic.profile(3, units=8)

NASTY: list[Any] = [
    None, True, -1, 2**31, 2**63, 2**70, -(2**70), 1e308, float("nan"), float("inf"), "", "\0",
    "\x1b[2J", "<script>alert(1)</script>", "../../etc/passwd", "/etc/passwd", "\ud800", "a" * 9999,
    [], {}, [[]], {"a": {"b": []}}, [float("nan")],
]  # fmt: skip
"""Values that a field does not expect."""


def take(fault: str, path: Path, read: Callable[[], object], most: float = 120.0) -> None:
    """Read something: it must come out or be named, soon, within 300 MB, and write nothing."""
    before = sorted(path.parent.rglob("*"))
    started = time.process_time()
    tracemalloc.start()
    try:
        read()
        outcome = ledger.HARMLESS
    except GenPTQError as error:
        assert error.message, path
        outcome = ledger.NAMED
    except BaseException:
        ledger.note(fault, ledger.FAILED)
        raise
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    ledger.note(fault, outcome)
    assert time.process_time() - started < most
    assert peak < 300e6
    appeared = [p for p in sorted(path.parent.rglob("*")) if p not in before]
    assert not [p for p in appeared if not p.name.startswith(store.SQLITE_NAME)]


def swapped(document: Any, rng: np.random.Generator) -> Any:
    """A document with one value, somewhere, that does not belong there."""
    if isinstance(document, dict | list) and document and rng.random() < 0.8:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = keys[int(rng.integers(len(keys)))]
        copy = dict(document) if isinstance(document, dict) else list(document)
        copy[key] = swapped(document[key], rng)
        return copy
    return NASTY[int(rng.integers(len(NASTY)))]


TEXTS = {
    "empty": b"",
    "nul": b"\0" * 100,
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "long number": b"9" * 100_000,
    "not UTF-8": b"\xff\xfe\x00{",
    "half a surrogate": b'"\\ud800"',
    "markup": b'{"schema": "<img src=x onerror=alert(1)>", "version": 1}',
    "controls": b'{"schema": "\\u001b[2J", "version": "\\u0000"}',
}


def _readers(folder: Path) -> dict[Path, Callable[[], object]]:
    return {
        folder / "bitmap.json": lambda: read_bit_map(folder / "bitmap.json", PROFILE),
        folder / profile.JSON_NAME: lambda: profile.load_profile(folder),
        folder / store.JSON_NAME: lambda: store.load_measured(folder, PROFILE.digest),
        folder / store.SQLITE_NAME: lambda: store.load_measured(folder, PROFILE.digest),
        folder / export_file.NAME: lambda: export_file.verify(folder),
        folder / "speech.jsonl": lambda: load_speech(folder / "speech.jsonl"),
        folder / "speech.csv": lambda: load_speech(folder / "speech.csv"),
        folder / native.NAME: lambda: native.read(folder / native.NAME),
        folder / "entry.safetensors": lambda: read_cached(folder / "entry.safetensors"),
        folder / "a.flac": lambda: load_audio(utterance(folder / "a.flac")),
        folder / "a.raw": lambda: load_audio(utterance(folder / "a.raw")),
    }


@pytest.mark.parametrize("kind", TEXTS)
def test_no_parser_breaks_on_any_text(kind: str, tmp_path: Path) -> None:
    for path, read in _readers(tmp_path).items():
        path.write_bytes(TEXTS[kind])
        take("hostile: text", path, read)
        path.unlink()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "sparse"])
def test_no_parser_reads_without_end(kind: str, tmp_path: Path) -> None:
    for path, read in _readers(tmp_path).items():
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        else:
            with path.open("wb") as handle:
                handle.truncate(600_000_000)
        take("hostile: no plain file", path, read)
        path.rmdir() if kind == "folder" else path.unlink()


def _export(files: dict[str, str]) -> export_file.ExportFile:
    return export_file.ExportFile(
        target="native",
        model="m",
        family="whisper",
        model_digest="d",
        profile_digest="p",
        map_digest="b",
        bytes=1,
        files=files,
    )


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["profile", "bit map", "measurements", "export", "speech"])
def test_values_that_do_not_belong_are_refused(kind: str, count: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    profile.save(PROFILE, tmp_path)
    store.ship(tmp_path, [synthetic.measured(PROFILE, 3)])
    write_bit_map(tmp_path / "bitmap.json", PROFILE, bit_map(PROFILE, [3] * 8))
    (tmp_path / "file").write_bytes(b"x")
    export_file.write(tmp_path, _export({"file": "0" * 64}))
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    (tmp_path / "speech.jsonl").write_text('{"audio": "a.wav", "text": "t", "speaker": "s"}')
    names = {
        "profile": profile.JSON_NAME, "bit map": "bitmap.json", "measurements": store.JSON_NAME,
        "export": export_file.NAME, "speech": "speech.jsonl",
    }  # fmt: skip
    path = tmp_path / names[kind]
    sound = json.loads(path.read_text())
    sound.pop("sha256", None)
    for _ in range(count):
        document = swapped(sound, rng)
        if kind == "profile" and isinstance(document, dict):
            apart = ("schema", "version", "digest", "seconds")
            # The author of a hostile file knows how to make its digests right.
            content = {k: v for k, v in document.items() if k not in apart}
            document["digest"] = sha256_json(content)
        if isinstance(document, dict) and kind != "speech":
            document = sealed(document)
        path.write_text(json.dumps(document))
        take(f"hostile: {kind}", path, _readers(tmp_path)[path])


def test_an_export_cannot_name_files_outside_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("../secret", str(tmp_path / "secret"), "a/../../secret"):
        files = {name: sha256_file(tmp_path / "secret")}
        export_file.write(folder, _export(files))
        with pytest.raises(GenPTQError, match="a file elsewhere"):
            export_file.verify(folder)
        ledger.note("hostile: export", ledger.NAMED)


def _layouts() -> list[Any]:
    return [
        5, [], {"parameters": [], "units": {}}, {"parameters": {}, "units": []},
        {"parameters": {"a": [2**40, 2**40]}, "units": {"a": ["a", 0, 2**40, "3/8"]}},
        {"parameters": {"a": [-1, 4]}, "units": {"a": ["a", 0, -4, "3"]}},
        {"parameters": {"a": [4, 4]}, "units": {"a": ["b", 0, 4, "3"]}},
        {"parameters": {"a": [4, 4]}, "units": {"a": ["a", 0, 4, "16"]}},
        {"parameters": {"a": ["x"]}, "units": {"a": ["a", None, {}, "3"]}},
        {"parameters": {"a": [float("nan")]}, "units": {"a": ["a", 0, 1]}},
    ]  # fmt: skip


@pytest.mark.parametrize("layout", _layouts(), ids=lambda layout: str(layout)[:30])
def test_a_native_export_with_a_hostile_layout_is_refused(layout: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    path = tmp_path / native.NAME
    tensors = {"a:coded": torch.arange(64, dtype=torch.uint8)}
    path.write_bytes(save(tensors, {"layout": json.dumps(layout)}))
    take("hostile: export", path, lambda: native.read(path))


@pytest.mark.parametrize("length", [0, 2**24, 2**40, 2**63, 2**64 - 1])
def test_a_huge_header_is_refused(length: int, tmp_path: Path) -> None:
    for name in (native.NAME, "entry.safetensors"):
        path = tmp_path / name
        path.write_bytes(struct.pack("<Q", length) + b"{" * 1000)
        take("hostile: export", path, _readers(tmp_path)[path])


def _wav(channels: int, rate: int, frames: int, claimed: int | None = None) -> bytes:
    body = b"\0" * (2 * channels * frames)
    size = len(body) if claimed is None else claimed
    head = struct.pack("<IHHIIHH", 16, 1, channels, rate, 2**32 - 1, 2 * channels % 65536, 16)
    riff = struct.pack("<I", (size + 36) % 2**32)
    return b"RIFF" + riff + b"WAVEfmt " + head + b"data" + struct.pack("<I", size) + body


@pytest.mark.parametrize(
    "data",
    [
        _wav(1, 0, 100), _wav(0, 16_000, 100), _wav(1, 1, 20), _wav(1, 2**32 - 1, 10),
        _wav(1, 2**31 - 1, 10_000), _wav(1024, 16_000, 10), _wav(1, 16_000, 0),
        _wav(1, 16_000, 10, claimed=2**32 - 1), _wav(2, 44_100, 1), b"fLaC" + b"\0" * 200,
        b"OggS" + b"\xff" * 500, b"\xff\xfb\x90\x64" * 300, b"ID3" + b"\x7f" * 200,
    ],
    ids=range(13),
)  # fmt: skip
def test_hostile_recordings(data: bytes, tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3", "<b>\x1b.wav", "a.raw"):
        path = tmp_path / name
        path.write_bytes(data)
        take("hostile: audio", path, lambda path=path: load_audio(utterance(path)))


def test_recordings_that_unpack_to_much_are_refused(tmp_path: Path) -> None:
    hour = tmp_path / "hour.flac"
    with soundfile.SoundFile(hour, "w", 16_000, 1) as handle:
        for _ in range(60):
            handle.write(np.zeros(60 * 16_000, dtype=np.int16))
    many = tmp_path / "many.flac"
    with soundfile.SoundFile(many, "w", 384_000, 8) as handle:
        for _ in range(25):
            handle.write(np.zeros((384_000, 8), dtype=np.int16))
    for path, reason in ((hour, "lasts 3600.0 s"), (many, "8 channels at 384000 Hz")):
        assert path.stat().st_size < 2_000_000
        with pytest.raises(GenPTQError, match=reason):
            load_audio(utterance(path))
        take("hostile: audio", path, lambda path=path: load_audio(utterance(path)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
FUZZ = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LONG = settings(FUZZ, max_examples=400)


def _fuzz(folder: Path, data: bytes) -> None:
    for path, read in _readers(folder).items():
        path.write_bytes(data)
        take("hostile: fuzz", path, read)
        path.unlink()


@FUZZ
@given(data=st.binary(max_size=300))
def test_fuzz_of_bytes(tmp_path: Path, data: bytes) -> None:
    _fuzz(tmp_path, data)


@FUZZ
@given(value=JSON)
def test_fuzz_of_json(tmp_path: Path, value: Any) -> None:
    _fuzz(tmp_path, json.dumps(value).encode())


@pytest.mark.slow
@LONG
@given(value=JSON | st.binary(max_size=300))
def test_long_fuzz(tmp_path: Path, value: Any) -> None:
    _fuzz(tmp_path, value if isinstance(value, bytes) else json.dumps(value).encode())
