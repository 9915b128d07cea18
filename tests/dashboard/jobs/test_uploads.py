"""Recordings that were sent: what is taken, and when it is deleted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dashboard.jobs import uploads, worker
from dashboard.jobs.queue import (
    FAILED,
    INTERRUPTED,
    Queue,
)
from genptq_core.errors import SpeechError

from .conftest import job_of, recording, transcribe_request


def test_a_recording_is_deleted_when_its_job_ends(queue: Queue) -> None:
    path = uploads.keep(recording(), "../../my voice.WAV")
    assert path.parent == uploads.folder() and path.stat().st_mode & 0o777 == 0o600
    number = queue.add(transcribe_request(path))
    worker.run_queue(queue)
    assert job_of(queue, number).state == FAILED
    assert not path.exists()

    path = uploads.keep(recording(), "again.wav")
    number = queue.add(transcribe_request(path))
    queue.cancel(number)
    assert not path.exists()


def test_a_recording_outlives_a_dead_worker_and_no_more(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stray = uploads.keep(recording(), "a.wav"), uploads.keep(recording(), "b.wav")
    number = queue.add(transcribe_request(path))
    queue.claim()
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert job_of(queue, number).state == INTERRUPTED
    queue.sweep()
    assert path.exists() and not stray.exists()
    queue.forget(number)
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (b"not audio at all", "a.wav", "cannot be decoded"),
        (b"", "a.exe", "type 'exe' is not taken"),
        (b"RIFF", "wav", "type 'unknown'"),
        (b"0" * 8_000_001, "a.mp3", "8 MB is the most"),
        (recording(0), "a.wav", "no samples"),
    ],
)
def test_what_is_no_short_recording_is_refused(data: bytes, name: str, sentence: str) -> None:
    with pytest.raises(SpeechError, match=sentence) as caught:
        uploads.keep(data, name)
    assert str(uploads.folder()) not in str(caught.value)
    assert not uploads.folder().exists() or not list(uploads.folder().iterdir())


def test_a_long_one_is_taken_and_one_of_hours_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    path = uploads.keep(recording(31), "a.wav")
    assert path.exists()
    monkeypatch.setattr(uploads, "LONGEST", 30.0)
    with pytest.raises(SpeechError, match="The recording lasts more than 0 minutes"):
        uploads.keep(recording(31), "a.wav")


def test_only_our_own_recordings_are_deleted(tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(b"")
    uploads.drop(str(other))
    assert other.exists()
