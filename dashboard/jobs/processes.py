"""Processes that empty the queue, started by the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from genptq_core.errors import GenPTQError

from .queue import QUEUED, RUNNING, Job, Queue

_started: list[subprocess.Popen[bytes]] = []


def start_worker(queue: Queue) -> None:
    """Start a worker for what is queued; where one is running already, the new one ends at once.

    Raises:
        GenPTQError: no process can be started.
    """
    _forget_ended()
    log = queue.path.with_suffix(".log")
    # The page must stay quick while a worker computes, so idle threads sleep instead of spinning.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dashboard.jobs.worker", "--queue", str(queue.path)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # stopping the page with Ctrl-C leaves the worker running
            )
    except OSError as error:
        raise GenPTQError(
            f"No process for the job could be started ({error}).",
            "Check that the cache folder can be written.",
        ) from error
    _started.append(process)


def resume(queue: Queue, jobs: Sequence[Job]) -> None:
    """Start a worker where jobs wait and none is running, as after a restart of the server.

    Raises:
        GenPTQError: no process can be started.
    """
    _forget_ended()
    states = {job.state for job in jobs}
    if QUEUED in states and RUNNING not in states and not _started:
        start_worker(queue)


def _forget_ended() -> None:
    _started[:] = [process for process in _started if process.poll() is None]
