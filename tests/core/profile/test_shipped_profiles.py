"""Profiles that ship: small, solved for their formats without weights, measured on what ships."""

from __future__ import annotations

import pytest

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.loading import BUNDLED
from genptq_core.measurement.store import load_measured
from genptq_core.profile import EMBEDDED, Profile, load_profile
from genptq_core.speech.utterances import load_manifest
from genptq_core.storage.locations import bundled_profiles, bundled_speech
from genptq_core.targets import predicted_bytes, target_of, usable_targets

MOST_BYTES = {"whisper-tiny.en": 9.5e6, "whisper-base": 8e6, "conformer-an4": 3.5e6}


@pytest.fixture(scope="module")
def base() -> Profile:
    return load_profile(bundled_profiles() / "whisper-base")


def test_each_model_that_loads_by_name_has_a_profile() -> None:
    assert set(MOST_BYTES) == set(BUNDLED) <= {p.name for p in bundled_profiles().glob("*/")}
    assert BUNDLED[0] == EMBEDDED


@pytest.mark.parametrize("name", MOST_BYTES)
def test_it_is_small(name: str) -> None:
    files = (bundled_profiles() / name).iterdir()
    kept = [path for path in files if not path.name.startswith("measured.sqlite")]
    assert sum(path.stat().st_size for path in kept) <= MOST_BYTES[name]


@pytest.mark.parametrize("target", ["native", "integer", "gguf"])
def test_whisper_base_is_solved_for_three_formats(base: Profile, target: str) -> None:
    assert target in usable_targets(base.menu, base.source.family)
    room = int(0.25 * 4 * base.source.parameters)
    chosen = solve(problem(base, target=target), room)
    assert chosen.bytes == predicted_bytes(target_of(target), base, chosen.options) <= room
    assert base.source.overhead[target] > 0


@pytest.mark.parametrize("name", MOST_BYTES)
def test_what_was_measured_on_speech_that_ships_can_be_read_and_compared(name: str) -> None:
    profile = load_profile(bundled_profiles() / name)
    records = load_measured(bundled_profiles() / name, profile.digest)
    assert len(records) >= 14
    manifests = sorted(bundled_speech().glob("*/manifest.jsonl"))
    sets = {speech.digest: speech for speech in map(load_manifest, manifests)}
    heard = [record for record in records if record.speech_digest in sets]
    for record in heard:
        spoken = [u.digest for u in sets[record.speech_digest].utterances]
        assert [audio for audio, _, _ in record.transcripts] == spoken
    assert heard
    if profile.source.family == "whisper":
        assert {"librispeech/manifest"} <= {record.speech for record in heard}


def test_whisper_base_was_measured_as_maps_of_three_formats(base: Profile) -> None:
    records = load_measured(bundled_profiles() / "whisper-base", base.digest)
    forms = [{option.form for option in record.options} - {"half"} for record in records]
    for form in ("coded", "grid", "block"):
        assert forms.count({form}) >= 3
