"""The sets that a profile was measured on, and a map's cost on each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from genptq_core.measurement.speech_sets import across_sets, measured_sets
from genptq_core.measurement.store import load_measured, save_measured
from tests.core import synthetic


def test_records_are_gathered_by_speech_and_normalizer(tmp_path: Path) -> None:
    profile = synthetic.profile(0)
    narrow = synthetic.measured(profile, 3, speech="a")
    records = [
        synthetic.measured(profile, 4, speech="a"),
        dataclasses.replace(narrow, wer=0.5),  # measured again: the later one counts
        dataclasses.replace(synthetic.measured(profile, 3, speech="b"), words=900),
        dataclasses.replace(narrow, normalizer="basic"),
    ]
    for record in (narrow, *records):
        save_measured(tmp_path, profile.digest, record)
    known = load_measured(tmp_path, profile.digest)
    assert len(known) == 4
    sets = measured_sets(known)
    assert [(s.name, s.normalizer, len(s.records)) for s in sets] == [
        ("b", "whisper-english", 1),
        ("a", "basic", 1),
        ("a", "whisper-english", 2),
    ]
    assert sets[0].words == 900 and sets[0].label == "b, 10 utterances"
    sizes = [record.bytes for record in sets[2].records]
    assert sizes == sorted(sizes)
    assert sum(len(s.records) for s in sets) == len(known)
    same_map = across_sets(known, narrow.map_digest)
    assert set(same_map) == {s.key for s in sets}
    assert same_map[narrow.set_key].wer == 0.5
    assert across_sets(known, "another") == {}


def test_without_records_there_are_no_sets() -> None:
    assert measured_sets([]) == ()
