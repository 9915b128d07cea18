"""The store of measurements: two writers, damage, other versions, folders that are read only."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from genptq_core.errors import StoreError
from genptq_core.measurement import store
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import load_measured, save_measured, ship
from tests.core import synthetic
from tests.forked import at_once

PROFILE = synthetic.profile(0, units=4)
DIGEST = PROFILE.digest
TEXTS = (("ab" * 32, "the cat", "the bat"),)


def _record(bits: int = 4, **changes: Any) -> Measured:
    made = synthetic.measured(PROFILE, bits, label=f"uniform {bits}", transcripts=TEXTS)
    return dataclasses.replace(made, **changes)


def test_save_then_load(tmp_path: Path) -> None:
    record = _record()
    save_measured(tmp_path, DIGEST, record)
    assert load_measured(tmp_path, DIGEST) == [record]
    assert (tmp_path / store.SQLITE_NAME).exists()


def test_nothing_measured_writes_nothing(tmp_path: Path, cache: Path) -> None:
    assert load_measured(tmp_path, DIGEST) == []
    assert list(tmp_path.iterdir()) == []
    assert not (cache / "measured").exists()


def test_the_latest_replaces_the_same_map_on_the_same_speech(tmp_path: Path) -> None:
    save_measured(tmp_path, DIGEST, _record(wer=0.1))
    save_measured(tmp_path, DIGEST, _record(wer=0.2))
    save_measured(tmp_path, DIGEST, _record(wer=0.3, speech="other", speech_digest="1" * 64))
    save_measured(tmp_path, DIGEST, _record(6))
    found = load_measured(tmp_path, DIGEST)
    assert [(m.speech, m.avg_bits, m.wer) for m in found] == [
        ("other", 4.0, 0.3),
        ("synthetic", 4.0, 0.2),
        ("synthetic", 6.0, pytest.approx(0.06)),
    ]


def test_other_profiles_measurements_are_not_mine(tmp_path: Path) -> None:
    save_measured(tmp_path, DIGEST, _record(4, profile_digest="2" * 64))
    save_measured(tmp_path, DIGEST, _record(6))
    assert [m.avg_bits for m in load_measured(tmp_path, DIGEST)] == [6.0]


def test_what_ships_is_joined_and_newer_measurements_win(tmp_path: Path) -> None:
    ship(tmp_path, [_record(4, wer=0.5), _record(8)])
    save_measured(tmp_path, DIGEST, _record(4, wer=0.25))
    save_measured(tmp_path, DIGEST, _record(3))
    found = load_measured(tmp_path, DIGEST)
    assert [m.avg_bits for m in found] == [3.0, 4.0, 8.0]
    assert found[1].wer == 0.25
    assert found[2] == _record(8)


def test_transcripts_may_be_left_out_of_what_ships(tmp_path: Path) -> None:
    ship(tmp_path, [_record()])
    path = tmp_path / store.JSON_NAME
    document = json.loads(path.read_text())
    del document["measured"][0]["transcripts"], document["sha256"]
    path.write_text(json.dumps(document))
    assert load_measured(tmp_path, DIGEST) == [_record(transcripts=())]


def _write(folder: Path, name: str) -> None:
    for index in range(20):
        save_measured(folder, DIGEST, _record(map_digest=f"{name}-{index}"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_write_at_once(tmp_path: Path) -> None:
    at_once(*(partial(_write, tmp_path, name) for name in ("one", "two")))
    found = {m.map_digest for m in load_measured(tmp_path, DIGEST)}
    assert found == {f"{name}-{index}" for name in ("one", "two") for index in range(20)}


def _open(folder: Path, ready: Path, other: Path) -> None:
    """Write into new stores as soon as the other process is there."""
    ready.touch()
    while not other.exists():
        time.sleep(0.001)
    for index in range(30):
        save_measured(folder / f"{index}", DIGEST, _record(map_digest=ready.name))
        assert load_measured(folder / f"{index}", DIGEST)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_create_stores_at_once(tmp_path: Path) -> None:
    """The first write of each store races: whichever comes second must wait, not fail."""
    for index in range(30):
        (tmp_path / "made" / f"{index}").mkdir(parents=True)
    one, two = tmp_path / "one", tmp_path / "two"
    at_once(
        partial(_open, tmp_path / "made", one, two), partial(_open, tmp_path / "made", two, one)
    )
    for index in range(30):
        assert len(load_measured(tmp_path / "made" / f"{index}", DIGEST)) == 2


def test_a_folder_that_cannot_be_written_falls_back_to_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(tmp_path, [_record(8)])
    before = sorted(tmp_path.iterdir())
    # The superuser may write anywhere, so pretend.
    refuse = tmp_path.resolve()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).resolve() != refuse and real(path, mode)
    )
    save_measured(tmp_path, DIGEST, _record(4))
    assert sorted(tmp_path.iterdir()) == before
    assert (cache / "measured" / f"{DIGEST}.sqlite").exists()
    assert [m.avg_bits for m in load_measured(tmp_path, DIGEST)] == [4.0, 8.0]


@pytest.mark.parametrize(
    "content", [b"this is no database, but it is long enough to be looked at" * 40, b"\x00" * 5000]
)
def test_a_damaged_store_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / store.SQLITE_NAME
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"measured\.sqlite cannot be used") as caught:
        load_measured(tmp_path, DIGEST)
    assert str(path) in caught.value.message
    with pytest.raises(StoreError, match=r"measured\.sqlite"):
        save_measured(tmp_path, DIGEST, _record())
    assert path.read_bytes() == content


def test_a_store_cut_short_is_named(tmp_path: Path) -> None:
    for bits in synthetic.BITS:
        save_measured(tmp_path, DIGEST, _record(bits))
    path = tmp_path / store.SQLITE_NAME
    path.write_bytes(path.read_bytes()[:4096])
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    with pytest.raises(StoreError, match=r"measured\.sqlite"):
        load_measured(tmp_path, DIGEST)


def test_an_empty_store_file_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / store.SQLITE_NAME).touch()
    assert load_measured(tmp_path, DIGEST) == []
    save_measured(tmp_path, DIGEST, _record())
    assert len(load_measured(tmp_path, DIGEST)) == 1


def test_a_store_of_another_version_is_named(tmp_path: Path) -> None:
    save_measured(tmp_path, DIGEST, _record())
    with contextlib.closing(sqlite3.connect(tmp_path / store.SQLITE_NAME)) as connection:
        connection.execute("PRAGMA user_version=7")
        connection.commit()
    with pytest.raises(StoreError, match="store version 7; this program reads version 4"):
        load_measured(tmp_path, DIGEST)
    with pytest.raises(StoreError, match="version 7"):
        save_measured(tmp_path, DIGEST, _record())


_DAMAGE = [
    {"options": None},
    {"options": "four"},
    {"options": ["4/8", None]},
    {"options": [4, 4]},
    {"bits": [4, 4, 4, 4]},
    {"ci95": [0.1]},
    {"ci95": [0.1, 0.2, 0.3]},
    {"ci95": None},
    {"transcripts": [["only one"]]},
    {"transcripts": 5},
    {"transcripts": [["audio", "text", 3]]},
    {"bytes": "many"},
    {"wer": None},
    {"wer": "5 %"},
    {"label": 3},
    {"wer": True},
    {"wer": 10**400},
    {"loss": float("nan")},
    {"loss": float("inf")},
    {"utterances": True},
    {"utterances": 2.0},
    {"looped": 1.0},
    {"map_digest": ["a"]},
    {"surplus": 1},
]


@pytest.mark.parametrize("change", _DAMAGE, ids=str)
def test_a_damaged_record_names_its_file_and_field(tmp_path: Path, change: dict[str, Any]) -> None:
    (field,) = change
    keys = [option.key for option in _record(8).options]
    fields = {**dataclasses.asdict(_record(8)), "options": keys, **change}
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    sound = {**dataclasses.asdict(_record(8)), "options": keys}
    document = {"schema": store.SCHEMA, "version": store.VERSION, "measured": [sound, fields]}
    (shipped / store.JSON_NAME).write_text(json.dumps(document))
    with pytest.raises(StoreError, match=rf"measured\.json holds a damaged record .*'{field}'"):
        load_measured(shipped, DIGEST)

    saved = tmp_path / "saved"
    saved.mkdir()
    save_measured(saved, DIGEST, _record())
    with contextlib.closing(sqlite3.connect(saved / store.SQLITE_NAME)) as connection, connection:
        connection.execute("INSERT INTO measured VALUES ('m', 's', ?)", (json.dumps(fields),))
    with pytest.raises(StoreError, match=rf"measured\.sqlite holds a damaged record .*'{field}'"):
        load_measured(saved, DIGEST)


def test_records_that_ship_share_their_texts(tmp_path: Path) -> None:
    rows = (("a" * 64, "said", "said"), ("b" * 64, "and more", "and less"))
    records = [
        dataclasses.replace(_record(8), map_digest=name, transcripts=rows) for name in ("m", "n")
    ]
    ship(tmp_path, records)
    path = tmp_path / store.JSON_NAME
    assert store.read_shipped(path) == records
    document = json.loads(path.read_text())
    assert document["texts"] == ["a" * 64, "said", "b" * 64, "and more", "and less"]
    del document["sha256"]
    for wrong in ([[0, 1, 5]], [[0, 1, -1]], [[0, 1, True]], [[0, 1]], [5], 5):
        document["measured"][1]["transcripts"] = wrong
        path.write_text(json.dumps(document))
        with pytest.raises(StoreError, match=r"measured\.json holds a damaged record"):
            store.read_shipped(path)
    del document["texts"]
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"measured\.json holds a damaged record"):
        store.read_shipped(path)


def test_the_first_missing_field_is_named(tmp_path: Path) -> None:
    fields = {"label": "", "map_digest": "", "bytes": 5}
    document = {"schema": store.SCHEMA, "version": store.VERSION, "measured": [fields]}
    (tmp_path / store.JSON_NAME).write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"damaged record \(wrong in 'options': Field required\)"):
        load_measured(tmp_path, DIGEST)


@pytest.mark.parametrize("records", [None, 5, "text", {"a": 1}, [1], [None], [[]], ["x"]], ids=str)
def test_a_damaged_list_names_its_file(tmp_path: Path, records: Any) -> None:
    document = {"schema": store.SCHEMA, "version": store.VERSION, "measured": records}
    (tmp_path / store.JSON_NAME).write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"measured\.json"):
        load_measured(tmp_path, DIGEST)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "genptq-profile", "version": 1}'])
def test_a_shipped_file_of_another_kind_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / store.JSON_NAME).write_text(text)
    with pytest.raises(StoreError, match=r"measured\.json"):
        load_measured(tmp_path, DIGEST)


def test_the_first_version_is_named(tmp_path: Path) -> None:
    document = {"schema": store.SCHEMA, "version": 1, "measured": []}
    (tmp_path / store.JSON_NAME).write_text(json.dumps(document))
    with pytest.raises(StoreError, match="version 1; this program reads version 5"):
        load_measured(tmp_path, DIGEST)


def test_options_of_every_form_are_kept(tmp_path: Path) -> None:
    made = synthetic.profile(0, units=4, group_size=(64, 8), rates=(2.25,))
    record = synthetic.measured(made, ("2.25", "4/64", "4/8", "16"))
    ship(tmp_path, [record])
    save_measured(tmp_path, made.digest, dataclasses.replace(record, speech_digest="1" * 64))
    found = load_measured(tmp_path, made.digest)
    assert [m.options for m in found] == [record.options] * 2
    assert found[0].bits == (2.25, 4, 4, 16)


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_measured(tmp_path, DIGEST, _record(wer=float("nan")))
    assert load_measured(tmp_path, DIGEST) == []
