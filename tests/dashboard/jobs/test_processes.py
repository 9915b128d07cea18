"""Workers as processes of their own: cancelled at any moment, and where their cache is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dashboard.jobs import processes
from dashboard.jobs.queue import CANCELLED, DONE, ENDED, RUNNING, Job, Queue
from dashboard.jobs.requests import ComputeProfile
from tests.core.tiny_models import WAV2VEC2, random_ctc


def _wait(queue: Queue, number: int, *states: str) -> Job:
    """A job once it is in one of some states."""
    for _ in range(12_000):
        job = next(job for job in queue.jobs() if job.id == number)
        if job.state in states:
            return job
        time.sleep(0.02)
    raise AssertionError(queue.path.with_suffix(".log").read_text())


@pytest.mark.parametrize(
    "later",
    [pytest.param(None, marks=pytest.mark.slow), pytest.param(0.0, marks=pytest.mark.slow), 1.0],
)
def test_a_job_cancelled_in_its_first_seconds_breaks_no_other(
    tmp_path: Path, tones: Path, later: float | None
) -> None:
    """Before it is claimed, right after that, and while libraries are being imported."""
    model = str(random_ctc(tmp_path / "model", WAV2VEC2))
    queue = Queue(tmp_path / "jobs.sqlite")
    first, second = (
        queue.add(
            ComputeProfile(
                model,
                str(tones),
                utterances=2,
                out=str(tmp_path / name),
                bits=(4,),
                group_sizes=(16,),
                rates=(),
                draws=1,
            )
        )
        for name in ("first", "second")
    )
    processes.start_worker(queue)
    if later is not None:
        _wait(queue, first, RUNNING, *ENDED)
        time.sleep(later)
    queue.cancel(first)
    assert _wait(queue, first, *ENDED).state == CANCELLED
    ended = _wait(queue, second, *ENDED)
    assert ended.state == DONE, ended.message
    assert (tmp_path / "second" / "profile.json").is_file()


def test_a_relative_cache_is_the_same_folder_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENPTQ_CACHE", "here/../my cache")
    queue = Queue()
    assert queue.path == tmp_path / "my cache" / "jobs.sqlite"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Queue().path == queue.path
    code = "from dashboard.jobs.queue import Queue; print(Queue().path)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(shown.stdout.strip()) == queue.path
