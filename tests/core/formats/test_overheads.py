"""What a folder takes besides its tensors: known before it is written, whatever the map."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from transformers import WhisperTokenizer

from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.export.export import export
from genptq_core.formats import onnx_graph, plain_settings
from genptq_core.formats.onnx_outline import fill
from genptq_core.formats.registry import FORMATS, overheads
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.targets import TARGETS, Target, counts_all, predicted_bytes
from tests.core import synthetic

FORMS = {target.format: target for target in TARGETS.values() if target.name != "mlx"}
"""A target of each format; mlx-audio does not compute so small a model (see `test_mlx`)."""


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    made = synthetic.profile_of(model, bits=(2, 4, 8), group_size=(8, 16), rates=(6,))
    source = dataclasses.replace(made.source, overhead=overheads(model))
    return dataclasses.replace(made, source=source)


def _map(profile: Profile, target: Target, turn: int) -> BitMap:
    """A map in which every unit takes the next option that it can have."""
    forms = target.forms
    held = [
        # Small weights have no room for an entropy code's tables.
        [
            o
            for o in profile.menu
            if o.form in forms
            and target.holds(unit, o)
            and (o.form != "coded" or unit.weights > 5000)
        ]
        for unit in profile.units
    ]
    return bit_map(profile, [menu[(turn + i) % len(menu)] for i, menu in enumerate(held)])


@pytest.mark.parametrize("target", FORMS.values(), ids=lambda target: target.name)
def test_the_folder_is_what_was_promised_whatever_the_map(
    target: Target, profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    widest = bit_map(profile, [Option(16)] * len(profile.units))
    for number, chosen in enumerate((widest, *(_map(profile, target, turn) for turn in range(3)))):
        written = export(profile, chosen, target.name, tmp_path / f"{number}", model)
        assert counts_all(target, profile)
        assert written.bytes == written.predicted_bytes
        assert written.bytes == predicted_bytes(target, profile, chosen.options)
        files = {p.name: p.stat().st_size for p in written.folder.iterdir()}
        notes = files.pop("export.json") + files.pop("bitmap.json")
        assert sum(files.values()) == written.bytes == written.disk_bytes - notes
        FORMATS[target.format].load(written.folder, "again")


def test_so_it_is_where_weights_have_a_file_of_their_own(
    profile: Profile, model: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onnx_graph", "onnx_outline"):
        monkeypatch.setattr(f"genptq_core.formats.{module}.LARGEST", 4096)
    target = TARGETS["onnx"]
    source = dataclasses.replace(profile.source, overhead=overheads(model))
    apart = dataclasses.replace(profile, source=source)
    assert source.overhead["onnx"] > profile.source.overhead["onnx"]
    for turn in range(2):
        written = export(apart, _map(apart, target, turn), "onnx", tmp_path / f"{turn}", model)
        assert "decoder.onnx.data" in written.files
        assert written.bytes == written.predicted_bytes
        assert load_model(str(written.folder))
    assert onnx_graph.LARGEST == 4096


def test_header_ends_where_tensors_can_be_mapped(
    profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    target = TARGETS["compressed-tensors"]
    written = export(profile, _map(profile, target, 1), target.name, tmp_path / "out", model)
    path = written.folder / "model.safetensors"
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    assert sum(tensor.nbytes for tensor in load_file(path).values()) == written.weights_bytes


def test_settings_are_saved_once_for_all_formats(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []
    save = model.save_settings

    def counted(folder: Path) -> None:
        folders.append(folder)
        save(folder)

    monkeypatch.setattr(model, "save_settings", counted)
    assert len(overheads(model)) > 3
    assert len(folders) == 1


def test_without_overhead_sizes_are_of_weights(profile: Profile, model: SpeechModel) -> None:
    bare = dataclasses.replace(profile, source=dataclasses.replace(profile.source, overhead={}))
    for target in FORMS.values():
        chosen = _map(profile, target, 0)
        assert not counts_all(target, bare)
        more = predicted_bytes(target, profile, chosen.options)
        more -= predicted_bytes(target, bare, chosen.options)
        assert more == FORMATS[target.format].overhead(model, plain_settings.saved(model))


def test_other_libraries_than_the_profile_s_are_told(
    profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    other = {**profile.source.overhead, "onnx": profile.source.overhead["onnx"] - 3}
    stale = dataclasses.replace(profile, source=dataclasses.replace(profile.source, overhead=other))
    written = export(stale, _map(stale, TARGETS["onnx"], 0), "onnx", tmp_path / "out", model)
    assert not written.as_promised
    assert written.bytes == written.predicted_bytes + 3


@example(130)  # one entry takes 129 bytes, or 131
@given(st.integers(21, 40_000))
def test_metadata_fill_a_file_to_the_byte(tmp_path_factory: Any, missing: int) -> None:
    path = tmp_path_factory.getbasetemp() / "filled.onnx"
    path.write_bytes(b"")
    fill(path, missing)
    assert path.stat().st_size == missing
    entries = onnx.load_model_from_string(path.read_bytes()).metadata_props
    assert 1 <= len(entries) <= 2 and not any(entry.value.strip() for entry in entries)


def test_settings_are_written_without_blanks(tiny_en: SpeechModel, tmp_path: Path) -> None:
    plain, before = tmp_path / "plain", tmp_path / "before"
    for folder in (plain, before):
        folder.mkdir()
    settings = plain_settings.saved(tiny_en)
    plain_settings.write_settings(plain, settings)
    tiny_en.save_settings(before)
    assert plain_settings.folder_bytes(plain) < 0.5 * plain_settings.folder_bytes(before)
    assert plain_settings.settings_bytes(settings) == plain_settings.folder_bytes(plain)
    said, said_before = (
        json.loads((folder / "config.json").read_text()) for folder in (plain, before)
    )
    del said_before["transformers_version"]
    assert said == said_before
    one, other = (WhisperTokenizer.from_pretrained(folder) for folder in (plain, before))
    for text in (" Hello world, it's 42\u20ac\n\nof  it", "na\u00efve caf\u00e9 \U0001f600", ""):
        assert one.encode(text) == other.encode(text)
    assert one.get_vocab() == other.get_vocab()
