"""Profile files: written and read the same, and refused by name when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genptq_core.errors import GenPTQError, ProfileError
from genptq_core.profile import (
    JSON_NAME,
    TENSORS_NAME,
    Anchor,
    Profile,
    Settings,
    Source,
    bundled_profile,
    load_profile,
    save,
)
from genptq_core.profile.schema import AnchorRecord, SettingsRecord, SourceRecord, UnitRecord
from genptq_core.storage.digests import sha256_file, sha256_json
from genptq_core.storage.locations import bundled_profiles
from genptq_core.units import Unit
from tests.core import synthetic


@pytest.fixture(scope="module")
def bundled() -> Profile:
    return bundled_profile()


def test_round_trip(bundled: Profile, tmp_path: Path) -> None:
    written = save(bundled, tmp_path / "p")
    again = load_profile(tmp_path / "p")
    assert synthetic.same(bundled, again)
    assert again.digest == written.digest == save(again, tmp_path / "q").digest


def test_overhead_is_read_and_sealed_and_changes_no_digest(
    bundled: Profile, tmp_path: Path
) -> None:
    source = dataclasses.replace(bundled.source, overhead={"onnx": 7, "native": 5})
    written = save(dataclasses.replace(bundled, source=source), tmp_path)
    assert written.digest == bundled.digest
    assert load_profile(tmp_path).source.overhead == {"native": 5, "onnx": 7}
    text = (tmp_path / JSON_NAME).read_text()
    (tmp_path / JSON_NAME).write_text(text.replace('"onnx": 7', '"onnx": 8'))
    with pytest.raises(ProfileError, match="damaged"):
        load_profile(tmp_path)
    rewrite(tmp_path, source={**dataclasses.asdict(source), "overhead": {"onnx": -1}}, sha256=None)
    with pytest.raises(ProfileError, match="overhead"):
        load_profile(tmp_path)


def rewrite(folder: Path, **changes: object) -> None:
    document = json.loads((folder / JSON_NAME).read_text()) | changes
    (folder / JSON_NAME).write_text(json.dumps(document))


def test_older_schema_is_named(bundled: Profile, tmp_path: Path) -> None:
    save(bundled, tmp_path)
    rewrite(tmp_path, version=0)
    with pytest.raises(ProfileError, match=r"version 0; this program reads version 2.*profile"):
        load_profile(tmp_path)


def test_other_files_are_refused(bundled: Profile, tmp_path: Path) -> None:
    save(bundled, tmp_path)
    rewrite(tmp_path, schema="something-else")
    with pytest.raises(ProfileError, match="is not a genptq-profile file"):
        load_profile(tmp_path)
    with pytest.raises(ProfileError, match="does not exist"):
        load_profile(tmp_path / "none")


def test_changed_figures_are_noticed(bundled: Profile, tmp_path: Path) -> None:
    save(bundled, tmp_path)
    rewrite(tmp_path, anchors=[])
    with pytest.raises(ProfileError, match="does not match its digest"):
        load_profile(tmp_path)


@pytest.mark.parametrize("name", [JSON_NAME, TENSORS_NAME])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_truncated_files_are_named(
    bundled: Profile, tmp_path: Path, name: str, keep: float
) -> None:
    save(bundled, tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ProfileError, match=name):
        load_profile(tmp_path)


def test_any_flipped_byte_is_noticed(bundled: Profile, tmp_path: Path) -> None:
    save(bundled, tmp_path)
    rng = np.random.default_rng(0)
    for name in (JSON_NAME, TENSORS_NAME):
        data = (tmp_path / name).read_bytes()
        for position in rng.integers(0, len(data), 20):
            bad = bytearray(data)
            bad[position] ^= 1 << int(rng.integers(8))
            (tmp_path / name).write_bytes(bytes(bad))
            try:
                survived = load_profile(tmp_path)
            except GenPTQError:
                continue
            assert synthetic.same(bundled, survived)  # white space in the JSON is harmless
        (tmp_path / name).write_bytes(data)


def test_it_opens_quickly(bundled: Profile) -> None:
    started = time.process_time()
    load_profile(bundled_profiles() / "whisper-tiny.en")
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    "path", sorted(bundled_profiles().glob("*/*.json")), ids=lambda p: p.parent.name
)
def test_what_ships_is_sealed(path: Path) -> None:
    assert len(json.loads(path.read_text())["sha256"]) == 64


def rewrite_signed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a profile's fields, and make its digest right again."""
    document = json.loads((folder / JSON_NAME).read_text())
    change(document)
    document.pop("sha256", None)
    unsigned = ("schema", "version", "digest", "seconds")
    content = {name: value for name, value in document.items() if name not in unsigned}
    document["digest"] = sha256_json(content)
    (folder / JSON_NAME).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("units"), "in 'units': Field required"),
        (lambda d: d.update(units=[]), "in 'units': Tuple should have at least 1 item"),
        (lambda d: d["units"][2].pop("stop"), "in 'units', 2, 'stop'"),
        (lambda d: d["units"][2].update(start="0"), "in 'units', 2, 'start'.* valid integer"),
        (lambda d: d["units"][2].update(block=-1), "in 'units', 2, 'block'"),
        (lambda d: d["units"][2].update(stop=0), "in 'units', 2: .*the unit has no weights"),
        (lambda d: d["units"][2].update(colour="red"), "in 'units', 2, 'colour'"),
        (lambda d: d["units"][2].update(d["units"][1]), "wrong: .*two units have the same name"),
        (lambda d: d["source"].update(tokens=2**40), "in 'source', 'tokens'"),
        (lambda d: d["source"].update(tokens=True), "in 'source', 'tokens'"),
        (lambda d: d["source"].update(family=None), "in 'source', 'family'.* valid string"),
        (lambda d: d["settings"].update(draws=4.5), "in 'settings', 'draws'"),
        (lambda d: d["settings"].update(options=["3/x"]), "'options', 0: .*'3/x' names no way"),
        (lambda d: d["anchors"][0]["options"].pop(), "wrong: .*one option per unit"),
        (lambda d: d["anchors"][0].update(loss="high"), "in 'anchors', 0, 'loss'"),
        (lambda d: d.update(seconds=-1), "in 'seconds'"),
        (lambda d: d["settings"].update(draws=5), "does not fit .*projections are .*, not "),
    ],
)
def test_the_first_wrong_field_is_named(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    save(synthetic.profile(1, units=4), tmp_path)
    load_profile(tmp_path)
    rewrite_signed(tmp_path, change)
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(tmp_path)
    assert JSON_NAME in caught.value.message


def test_fields_that_early_profiles_lack_have_defaults(tmp_path: Path) -> None:
    save(synthetic.profile(1, units=4), tmp_path)
    for name in ("listened", "listening_digest"):
        rewrite_signed(tmp_path, lambda d, name=name: d["source"].pop(name))
    source = load_profile(tmp_path).source
    assert (source.listened, source.listening_digest) == (0, "")


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save(synthetic.profile(1, units=4), tmp_path)
    tensors = load_file(tmp_path / TENSORS_NAME)
    for name, wrong, message in (
        ("lengths", -tensors["lengths"] - 1, "fewer than no tokens"),
        ("lengths", tensors["lengths"].astype(np.int32), "lengths are"),
        ("projections", tensors["projections"][:, :, 1:], "projections are"),
        ("sketch/a", tensors["lengths"], "not enough values"),
    ):
        save_file({**tensors, name: wrong}, tmp_path / TENSORS_NAME)
        digest = sha256_file(tmp_path / TENSORS_NAME)
        rewrite_signed(tmp_path, lambda d, digest=digest: d.update(tensors=digest))
        with pytest.raises(ProfileError, match=rf"tensors\.safetensors does not fit .*{message}"):
            load_profile(tmp_path)


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (SourceRecord, Source),
        (SettingsRecord, Settings),
        (UnitRecord, Unit),
        (AnchorRecord, Anchor),
    ],
)
def test_what_is_read_is_what_the_dataclasses_hold(record: Any, values: Any) -> None:
    fields = {field.name: field for field in dataclasses.fields(values)}
    assert list(record.model_fields) == list(fields)
    for name, field in record.model_fields.items():
        if not field.is_required():
            made = fields[name].default_factory
            otherwise = fields[name].default if made is dataclasses.MISSING else made()
            assert field.get_default(call_default_factory=True) == otherwise
