"""The worker: carries out the queued jobs, in a process that the page started."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import GenPTQError, ProfileError, StoreError
from genptq_core.measurement.store import save_measured
from genptq_core.models.lean_imports import in_own_process
from genptq_core.options import coded_options, grid_options
from genptq_core.profile import Profile, Settings, load_profile
from genptq_core.progress import Progress, Report
from genptq_core.speech.sources import load_speech
from genptq_core.speech.utterances import speech_set, utterance
from genptq_core.workers.pool import Workers, named_scheduler

from . import processes
from .queue import CANCELLED, DONE, FAILED, INTERRUPTED, Job, Queue
from .requests import ComputeProfile, Explore, ExportMap, Measure, Transcribe, Unreadable

_BEAT = 1.0
"""Seconds between heartbeats, and so the longest that a cancellation waits to be seen."""

_PATIENCE = 10.0
"""Seconds for a job to hear that it should stop, before its process ends without it."""

NO_MEMORY = (
    "There was not enough memory. Take a smaller model, fewer label draws or options, "
    "or close other programs."
)


def obey_signals() -> None:
    """Let SIGINT and SIGTERM end the job tidily; a background process may inherit them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


Successor = Callable[[Queue], None]
"""Starts a worker that goes on with the queue."""


def run_queue(queue: Queue, successor: Successor | None = None) -> int:
    """Carry out queued jobs until none is left; returns how many were taken.

    A job that is stopped may leave anything half done, such as the import of a library that cannot
    be imported twice, so the next job is for another process.

    Args:
        queue: the queue.
        successor: starts that process.
    """
    queue.sweep()
    taken = 0
    while (job := queue.claim()) is not None:
        taken += 1
        if not _run(queue, job, successor):
            if successor is not None:
                successor(queue)
            break
    return taken


def _interrupt_main() -> None:
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)  # wakes it even from a blocking call
    else:
        signal.raise_signal(signal.SIGINT)


class _Heart:
    """The heartbeat of a job's worker, which interrupts the main thread where the job should stop.

    Args:
        queue: the queue.
        number: the job's number.
        successor: starts the worker that goes on where the main thread does not hear.
    """

    def __init__(self, queue: Queue, number: int, successor: Successor | None) -> None:
        self.queue, self.number, self.successor = queue, number, successor
        self.stopping = threading.Event()
        """Whether the main thread was interrupted, to tell that from Ctrl-C."""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._beat, daemon=True).start()

    def end(self) -> None:
        """Stop beating; no interruption comes after this."""
        with self._lock:
            self._ended.set()

    def _beat(self) -> None:
        told = 0.0
        while not self._ended.wait(_BEAT):
            try:
                if self.queue.beat(self.number):
                    continue
            except StoreError:
                continue  # a busy disk is no reason to give up; silence will tell if it lasts
            with self._lock:
                if self._ended.is_set():
                    return
                if not self.stopping.is_set():
                    told = time.monotonic()
                    self.stopping.set()
                    _interrupt_main()
                elif self.successor is not None and time.monotonic() - told > _PATIENCE:
                    # Some code took the interruption for its own, or never returns.
                    with contextlib.suppress(GenPTQError):
                        self.queue.finish(self.number, CANCELLED)
                        self.successor(self.queue)
                    os._exit(1)


def _run(queue: Queue, job: Job, successor: Successor | None) -> bool:
    """Carry out a job, and note how it ended; returns whether this process can take another."""
    heart = _Heart(queue, job.id, successor)
    try:
        try:
            result = _carry_out(queue, job)
        finally:
            # The heart stops before the end is noted, or it would take that for a cancellation.
            heart.end()
        queue.finish(job.id, DONE, result=result)
    except KeyboardInterrupt:
        heart.end()
        stopped = heart.stopping.is_set()
        queue.finish(job.id, CANCELLED if stopped else INTERRUPTED)
        if not stopped:
            raise
        return False
    except GenPTQError as error:
        queue.finish(job.id, FAILED, str(error))
    except Exception as error:
        if _short_of_memory(error):
            queue.finish(job.id, FAILED, NO_MEMORY)
            return True
        # The worker is the last to see it: the page has only what is written here.
        queue.finish(job.id, FAILED, f"Unexpected {type(error).__name__}: {error}")
        raise
    return not heart.stopping.is_set()


def _short_of_memory(error: Exception) -> bool:
    """Whether memory ran out: of Python's, of torch's on the processor, or of a GPU's."""
    words = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, OSError))
        and any(sign in words for sign in ("allocate memory", "out of memory"))
    )


def _carry_out(queue: Queue, job: Job) -> dict[str, Any]:
    """Do what a job asks for; returns what the queue keeps of it."""

    def report(at: Progress) -> None:
        queue.progress(job.id, at.stage, at.done, at.total)

    request = job.request
    if isinstance(request, Unreadable):
        raise StoreError(f"Job {job.id} is damaged.", "Forget it, and ask for it again.")
    if isinstance(request, Measure):
        return _measure(request, report)
    if isinstance(request, Explore):
        return _explore(request, report)
    if isinstance(request, Transcribe):
        return _transcribe(request, report)
    if isinstance(request, ExportMap):
        return _export(request, report)
    return _profile(request, report)


# Torch is imported late, so that a job that cannot run fails at once.


def _measure(request: Measure, report: Report) -> dict[str, Any]:
    profile = _current(request)
    speech = load_speech(request.manifest, request.utterances)
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model_of
    from genptq_core.measurement.sweep import measure_maps

    model = load_model_of(profile, asked=(request.language, request.task))
    maps = [(request.label, bit_map(profile, request.options))]
    workers = Workers(scheduler=named_scheduler())
    (record,) = measure_maps(
        model, Path(request.profile), maps, speech, workers=workers, report=report
    )
    save_measured(Path(request.profile), profile.digest, record)
    return {"wer": record.wer, "wer_full_precision": record.wer_full_precision}


def _explore(request: Explore, report: Report) -> dict[str, Any]:
    profile, began = _current(request), time.monotonic()
    # Maps are begun until then, if they can be done.
    ends = time.strftime("till %H:%M", time.localtime(time.time() + 60 * request.minutes))
    speech = load_speech(request.manifest, request.utterances)
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model_of
    from genptq_core.measurement.exploration import explore

    *_, known = explore(
        load_model_of(profile),
        Path(request.profile),
        speech,
        seconds=60 * request.minutes - (time.monotonic() - began),
        target=request.target,
        workers=Workers(scheduler=named_scheduler()),
        report=lambda at: report(dataclasses.replace(at, stage=f"{at.stage}, {ends}")),
    )
    return {
        "maps": len(known.records),
        "half_width": known.half_width,
        "enough": known.next is None,
        "bytes": None if known.pick is None else int(known.front.bytes[known.pick]),
    }


def _transcribe(request: Transcribe, report: Report) -> dict[str, Any]:
    profile = _current(request)
    speech = speech_set(request.name, [utterance(Path(request.audio))])
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model_of
    from genptq_core.measurement.measure import transcribe_files
    from genptq_core.models.weights import replaced
    from genptq_core.rounding.kept import kept_weights

    model = load_model_of(profile, asked=(request.language, request.task))
    report(Progress("full precision", 0, 0))
    full = transcribe_files(model, speech)[0]
    weights = kept_weights(model, profile, request.options, report)
    report(Progress("the pick", 0, 0))
    with replaced(model, weights):
        picked = transcribe_files(model, speech)[0]
    return {"full": full, "picked": picked, "normalizer": model.normalizer}


def _profile(request: ComputeProfile, report: Report) -> dict[str, Any]:
    speech = load_speech(request.manifest, request.utterances)
    options = grid_options(request.bits, request.group_sizes) + coded_options(request.rates)
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model
    from genptq_core.models.asking import with_language
    from genptq_core.profiling.compute import compute

    settings = Settings(options, request.draws, request.seed)
    model = with_language(load_model(request.model), request.language, request.task)
    computed = compute(model, speech, Path(request.out), settings, report)
    return {"digest": computed.profile.digest, "cache_hits": computed.cache_hits}


def _export(request: ExportMap, report: Report) -> dict[str, Any]:
    profile = _current(request)
    report(Progress("loading the model", 0, 0))
    from genptq_core.export.export import export

    chosen = bit_map(profile, request.options)
    written = export(profile, chosen, request.target, Path(request.out), report=report)
    return {
        "bytes": written.bytes,
        "disk_bytes": written.disk_bytes,
        "files": list(written.files),
    }


def _current(request: Measure | Explore | Transcribe | ExportMap) -> Profile:
    """The profile of a job.

    Raises:
        ProfileError: it is not the one for which the job was queued.
    """
    folder = Path(request.profile)
    profile = load_profile(folder)
    if profile.digest != request.profile_digest:
        raise ProfileError(
            f"The profile {folder.name} was computed again since this was queued.",
            "Queue it again.",
        )
    return profile


def main(arguments: Sequence[str] | None = None) -> int:
    """The worker's command line."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.jobs.worker", description=__doc__)
    parser.add_argument("--queue", type=Path, help="the queue's file (default: the cache folder)")
    options = parser.parse_args(arguments)
    obey_signals()
    try:
        run_queue(Queue(options.queue), processes.start_worker)
    except GenPTQError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    in_own_process()
    sys.exit(main())
