"""Runaways in measurements: named, apart from the rates, stored, and asked of a pick."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from genptq_core.errors import StoreError
from genptq_core.measurement import store
from genptq_core.measurement.known_runaways import Trial, runaways_of, trial_of
from genptq_core.measurement.records import Measured, from_fields, to_fields
from genptq_core.measurement.runaways import RanAway, ran_away
from genptq_core.measurement.store import load_measured, read_store, save_measured, ship
from genptq_core.storage.sqlite import reading
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=4)
SAID = {"0" * 64: "a b c d e f g h i j", "1" * 64: "one two three four", "2" * 64: "five six"}
TEXTS = (
    ("0" * 64, "a b c d e f g h i j", "a"),
    ("1" * 64, "one two three four" + " four" * 9, "one two three" + " four" * 9),
    ("2" * 64, "five six", "five sick"),
)


def _record(**changes: Any) -> Measured:
    made = synthetic.measured(PROFILE, 4, transcripts=TEXTS)
    return dataclasses.replace(made, utterances=3, normalizer="basic", **changes)


def _found() -> RanAway:
    return ran_away(list(SAID.values()), TEXTS, "basic")


def test_they_are_named_and_left_out_on_both_sides() -> None:
    found = _found()
    assert (found.loops, found.stops) == (("1" * 64,), ("0" * 64,))
    assert (found.full_loops, found.full_stops) == (("1" * 64,), ())
    assert found.quantized == ("1" * 64, "0" * 64)
    assert found.new == ("0" * 64,)  # full precision loops on the other too
    assert found.others is not None
    assert (found.others.utterances, found.others.words) == (1, 2)
    assert (found.others.wer_full_precision, found.others.wer_increase) == (0, 0.5)
    assert found.others.ci95 == (0.5, 0.5)


def test_where_all_ran_away_there_are_no_others() -> None:
    assert ran_away(list(SAID.values())[:2], TEXTS[:2], "basic").others is None


def test_they_are_stored_and_read(tmp_path: Path) -> None:
    record = _record(runaways=_found())
    assert from_fields(json.loads(json.dumps(to_fields(record)))) == record
    save_measured(tmp_path, PROFILE.digest, record)
    assert load_measured(tmp_path, PROFILE.digest) == [record]
    ship(tmp_path / "shipped", [record])
    assert load_measured(tmp_path / "shipped", PROFILE.digest) == [record]


def _version(path: Path) -> int:
    with closing(reading(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_the_version_rises_where_older_programs_could_not_read(tmp_path: Path) -> None:
    path = tmp_path / store.SQLITE_NAME
    old, new = _record(), _record(runaways=_found(), map_digest="3" * 64)
    assert "runaways" not in to_fields(old)
    for record, version in ((old, 2), (new, 3), (old, 3)):
        save_measured(tmp_path, PROFILE.digest, record)
        assert _version(path) == version
    assert {m.runaways for m in read_store(path)} == {None, _found()}
    bare = [dataclasses.replace(record, transcripts=()) for record in (old, new)]
    for records, version in ((bare[:1], 2), (bare, 3), ([], 2), ([old], store.POOLED)):
        ship(tmp_path, records)
        assert json.loads((tmp_path / store.JSON_NAME).read_text())["version"] == version


@pytest.mark.parametrize("change", [{"loops": "x"}, {"more": 1}, {"others": {"wer": 1}}], ids=str)
def test_damage_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    fields = to_fields(_record(runaways=_found()))
    fields["runaways"] = {**fields["runaways"], **change}
    document = {"schema": store.SCHEMA, "version": 3, "measured": [fields]}
    (tmp_path / store.JSON_NAME).write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"damaged record .*runaways"):
        load_measured(tmp_path, PROFILE.digest)


def test_old_records_are_judged_by_the_transcripts_they_kept() -> None:
    assert runaways_of(_record()) is None
    assert runaways_of(_record(), SAID) == _found()
    assert runaways_of(_record(), {"0" * 64: "a"}) is None  # of some it is not known what was said
    without_texts = dataclasses.replace(_record(), transcripts=())
    assert runaways_of(without_texts, SAID) is None
    partly = dataclasses.replace(_record(), utterances=4)
    assert runaways_of(partly, SAID) is None


def test_a_pick_is_asked_for_utterances_without_runaways() -> None:
    none = RanAway((), (), ("1" * 64,), (), None)
    calm = _record(runaways=none)
    more = dataclasses.replace(calm, speech_digest="5" * 64, utterances=100, transcripts=())
    assert trial_of([], calm.map_digest) == Trial(0, ())
    assert trial_of([calm, more], calm.map_digest) == Trial(103, ())
    assert trial_of([calm, dataclasses.replace(calm, normalizer="x")], calm.map_digest) == Trial(
        3, ()
    )
    wild = dataclasses.replace(more, runaways=_found())
    assert trial_of([calm, wild], calm.map_digest).new == ("0" * 64,)
    assert trial_of([wild], "other") == Trial(0, ())
    unknown = dataclasses.replace(calm, runaways=None)
    assert trial_of([unknown], calm.map_digest) == Trial(0, ())
    assert trial_of([unknown], calm.map_digest, SAID).meets(1) is False
    assert Trial(103, ()).meets(100) is True
    assert Trial(103, ()).meets(104) is None
    assert Trial(0, ()).meets(1) is None
