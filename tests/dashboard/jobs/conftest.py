"""A queue and requests for the tests of jobs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dashboard.jobs.queue import (
    Job,
    Queue,
)
from dashboard.jobs.requests import (
    ComputeProfile,
    Measure,
    Transcribe,
)
from genptq_core.options import Option

OPTIONS = (Option(3, 64), Option(2.25), Option(16))
COMPUTE = ComputeProfile(
    "whisper-tiny.en",
    "m.jsonl",
    utterances=8,
    out="out",
    bits=(3, 4),
    group_sizes=(32, 64),
    rates=(2.25,),
    draws=2,
    seed=1,
)
REQUEST = Measure(
    "profile",
    "d" * 64,
    "m" * 64,
    options=OPTIONS,
    manifest="manifest.jsonl",
    utterances=8,
    label="name",
)


def transcribe_request(path: Path | str) -> Transcribe:
    """A request to hear a recording."""
    return Transcribe("nowhere", "d", "m", options=OPTIONS, audio=str(path), name="my <voice>")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "jobs.sqlite")


def job_of(queue: Queue, number: int) -> Job:
    """A job by its number."""
    return next(job for job in queue.jobs() if job.id == number)


def recording(seconds: float = 0.5) -> bytes:
    """A WAV of silence."""
    text = io.BytesIO()
    soundfile.write(text, np.zeros(int(16_000 * seconds), dtype=np.float32), 16_000, format="WAV")
    return text.getvalue()
