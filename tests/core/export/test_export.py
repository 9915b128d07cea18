"""Exports: what is written weighs what was promised, loads, and says the same words."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.bitmaps.file import read_bit_map
from genptq_core.cli.health import examine
from genptq_core.errors import ConstraintError, ExportError, ModelError
from genptq_core.export.export import export
from genptq_core.formats import export_file
from genptq_core.formats.native import NAME
from genptq_core.formats.reading import load_export
from genptq_core.loading import load_model
from genptq_core.measurement.measure import transcribe_files
from genptq_core.models import SpeechModel
from genptq_core.models.weights import replaced
from genptq_core.options import Option
from genptq_core.profile import Profile, bundled_profile
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import load_manifest
from genptq_core.storage.digests import sha256_file
from tests.conftest import DEMO
from tests.core import synthetic

KEYS = ("2.25", "3", "4.5", "1/8", "2/8", "3/8", "5/8", "7/16", "8/16", "16")


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    return synthetic.profile_of(
        model, bits=(1, 2, 3, 5, 7, 8), group_size=(8, 16), rates=(1, 2.25, 3, 4.5)
    )


def _mixed(profile: Profile) -> list[str]:
    """Every way to store a weight; small ones need room for their tables, so they are not coded."""
    grids = itertools.cycle(key for key in KEYS if "/" in key)
    others = itertools.cycle(("2.25", "4.5", "16", "3"))
    return [next(others) if unit.weights > 3000 else next(grids) for unit in profile.units]


@pytest.fixture(scope="module")
def exported(
    profile: Profile, model: SpeechModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("exports") / "mixed"
    export(profile, bit_map(profile, _mixed(profile)), None, out, model)
    return out


def test_every_option_weighs_what_was_promised(
    profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    chosen = bit_map(profile, _mixed(profile))
    assert {o.form for o in chosen.options} == {"grid", "coded", "half"}
    found = export(profile, chosen, None, tmp_path / "out", model)
    assert found.weights_bytes == found.predicted_bytes == figures_of(profile, chosen).bytes
    path = found.folder / NAME
    with safe_open(path, framework="np") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    assert sum(tensor.nbytes for tensor in tensors.values()) == found.weights_bytes
    # Tensors fill the file up to its header.
    header = int.from_bytes(path.read_bytes()[:8], "little") + 8
    assert path.stat().st_size == header + found.weights_bytes
    assert found.disk_bytes == sum((found.folder / name).stat().st_size for name in found.files)


def test_weights_come_back_bit_for_bit(
    profile: Profile, model: SpeechModel, exported: Path
) -> None:
    back = load_export(exported)
    expected = quantized_weights(
        model, profile, read_bit_map(exported / "bitmap.json", profile).options
    )
    parameters = dict(back.module.named_parameters())
    assert parameters.keys() == dict(model.module.named_parameters()).keys()
    for name, original in model.module.named_parameters():
        wanted = expected.get(name, original.detach().half().float())
        halves = [
            (u.start, u.stop)
            for u, key in zip(profile.units, _mixed(profile), strict=True)
            if u.parameter == name and key == "16"
        ]
        wanted = wanted.clone()
        for start, stop in halves:
            wanted[start:stop] = original[start:stop].detach().half().float()
        assert torch.equal(parameters[name], wanted), name
    assert back.module.proj_out.weight is back.module.model.decoder.embed_tokens.weight  # type: ignore[union-attr]


def test_the_real_model_says_what_the_measured_map_says(
    tiny_en: SpeechModel, tmp_path: Path
) -> None:
    profile = bundled_profile()
    keys = ["16"] * len(profile.units)
    keys[0], keys[9], keys[20], keys[-1] = "4", "3", "3.5", "4"
    chosen = bit_map(profile, keys)
    found = export(profile, chosen, None, tmp_path / "out", tiny_en)
    assert found.bytes == figures_of(profile, chosen).bytes
    speech = load_manifest(DEMO, limit=1)
    with replaced(tiny_en, quantized_weights(tiny_en, profile, chosen.options)):
        expected = transcribe_files(tiny_en, speech)
    assert transcribe_files(load_model(str(found.folder)), speech) == expected


def test_exporting_again_changes_nothing(
    profile: Profile, model: SpeechModel, exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(exported, out)
    (out / "stale.bin").write_bytes(b"of another export")
    export(profile, read_bit_map(out / "bitmap.json", profile), "native", out, model)
    assert export_file.digests(out) == export_file.digests(exported)
    assert sha256_file(out / export_file.NAME) == sha256_file(exported / export_file.NAME)


def test_a_failure_leaves_nothing(
    profile: Profile, model: SpeechModel, tmp_path: Path, random_whisper: Path
) -> None:
    # Small weights have no room for an entropy code's tables.
    chosen = bit_map(profile, ["1"] * len(profile.units))
    with pytest.raises(ModelError, match="cannot be stored at 1 bit, entropy-coded"):
        export(profile, chosen, None, tmp_path / "deep" / "out", model)
    assert not list(tmp_path.iterdir())
    other = synthetic.profile(3, units=model.units)
    with pytest.raises(ModelError, match="other weights"):
        export(other, bit_map(other, ["2/8"] * len(other.units)), None, tmp_path / "out", model)
    assert not list(tmp_path.iterdir())


def test_a_map_that_the_target_cannot_hold_is_refused(
    profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    chosen = bit_map(profile, ["3"] * len(profile.units))
    with pytest.raises(ConstraintError, match=r"'integer' cannot hold .* at 3 bit") as caught:
        export(profile, chosen, "integer", tmp_path / "out", model)
    assert profile.units[0].name in caught.value.message
    with pytest.raises(ConstraintError, match="no target 'toaster'"):
        export(profile, chosen, "toaster", tmp_path / "out", model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [NAME, "settings.zip"])
def test_damage_is_named(exported: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(exported, out)
    data = bytearray((out / name).read_bytes())
    data[len(data) // 2] ^= 1
    (out / name).write_bytes(data)
    with pytest.raises(ExportError, match=f"{name} is damaged or altered"):
        load_model(str(out))
    assert examine(tmp_path)[1] == [
        f"{out / name} is damaged or altered. Export it again with: genptq export."
    ]
    (out / name).unlink()
    with pytest.raises(ExportError, match=f"{name} cannot be read"):
        load_export(out)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "genptq-export", "version": 1}'])
def test_a_damaged_manifest_is_refused(exported: Path, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(exported, out)
    (out / export_file.NAME).write_text(text)
    with pytest.raises(ExportError, match=r"export\.json"):
        load_export(out)


def test_a_file_that_its_manifest_vouches_for_may_still_be_wrong(
    exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(exported, out)
    (out / NAME).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    document = json.loads((out / export_file.NAME).read_text())
    document["files"][NAME] = sha256_file(out / NAME)
    del document["sha256"]
    (out / export_file.NAME).write_text(json.dumps(document))
    with pytest.raises(ExportError, match="is not a native export"):
        load_export(out)


def test_doctor_checks_exports(exported: Path) -> None:
    assert examine(exported.parent) == ([str(exported)], [])


def test_coded_sizes_are_padded_to_what_was_promised(exported: Path, profile: Profile) -> None:
    with safe_open(exported / NAME, framework="np") as handle:
        for unit, key in zip(profile.units, _mixed(profile), strict=True):
            if Option.parse(key).form == "coded":
                data = handle.get_tensor(f"{unit.name}:coded")
                assert data.shape == (int(np.ceil(unit.weights * float(key) / 8)),)
