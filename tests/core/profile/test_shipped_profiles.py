"""Profiles that ship: each loads, solves for every format that holds its model, and is small."""

from __future__ import annotations

from pathlib import Path

import pytest

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.loading import BUNDLED
from genptq_core.measurement.store import load_measured
from genptq_core.profile import EMBEDDED, load_profile
from genptq_core.speech.utterances import load_manifest
from genptq_core.storage.locations import bundled_profiles, bundled_speech
from genptq_core.targets import predicted_bytes, target_of, usable_targets

MOST_BYTES = {"whisper-tiny.en": 9.5e6, "whisper-base": 8e6, "conformer-an4": 3.5e6}
TARGETS = {
    "whisper-tiny.en": {"native", "integer", "gguf"},
    "whisper-base": {"native", "integer", "gguf"},
    "conformer-an4": {"native", "integer"},
}


def test_each_model_that_loads_by_name_has_a_profile() -> None:
    assert set(MOST_BYTES) == set(BUNDLED) <= {p.name for p in bundled_profiles().glob("*/")}
    assert BUNDLED[0] == EMBEDDED


@pytest.mark.parametrize("name", MOST_BYTES)
def test_it_solves_for_each_of_its_formats_and_is_small(name: str) -> None:
    folder = bundled_profiles() / name
    files = [path for path in folder.iterdir() if not path.name.startswith("measured.sqlite")]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES[name]
    profile = load_profile(folder)
    usable = usable_targets(profile.menu, profile.source.family)
    assert set(usable) >= TARGETS[name]
    assert set(profile.source.overhead) >= TARGETS[name]
    for target in TARGETS[name]:
        task = problem(profile, target=target)
        room = int(0.25 * 4 * profile.source.parameters)
        chosen = solve(task, room)
        assert chosen.bytes <= room
        assert predicted_bytes(target_of(target), profile, chosen.options) == chosen.bytes


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


def test_whisper_base_needs_no_weights_to_be_explored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.resources.files", _absent)
    folder = bundled_profiles() / "whisper-base"
    assert solve(problem(load_profile(folder)), 40_000_000).predicted_loss > 0


def _absent(package: str) -> Path:
    raise ModuleNotFoundError(package)
