"""The worker: carries out the queued jobs, in a process that the page started."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import GenPTQError, ProfileError, StoreError
from genptq_core.measurement.store import save_measured
from genptq_core.options import coded_options, grid_options
from genptq_core.profile import Profile, Settings, load_profile
from genptq_core.progress import Progress, Report
from genptq_core.speech.sources import load_speech
from genptq_core.speech.utterances import speech_set, utterance
from genptq_core.workers.pool import Workers, named_scheduler

from .queue import CANCELLED, DONE, FAILED, INTERRUPTED, Job, Queue
from .requests import ComputeProfile, ExportMap, Measure, Transcribe

_BEAT = 1.0
"""Seconds between heartbeats, and so the longest that a cancellation waits to be seen."""

NO_MEMORY = (
    "There was not enough memory. Take a smaller model, fewer label draws or options, "
    "or close other programs."
)


def obey_signals() -> None:
    """Let SIGINT and SIGTERM end the job tidily; a background process may inherit them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def run_queue(queue: Queue) -> int:
    """Carry out queued jobs until none is left; returns how many were taken."""
    queue.sweep()
    taken = 0
    while (job := queue.claim()) is not None:
        taken += 1
        _run(queue, job)
    return taken


def _interrupt_main() -> None:
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)  # wakes it even from a blocking call
    else:
        signal.raise_signal(signal.SIGINT)


def _run(queue: Queue, job: Job) -> None:
    """Carry out a job, with a heartbeat, and note how it ended."""
    ended = threading.Event()
    # Read by the main thread alone, to tell a cancellation from Ctrl-C.
    cancelled = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            try:
                if queue.beat(job.id) or cancelled.is_set():
                    continue
            except StoreError:
                continue  # a busy disk is no reason to give up; silence will tell if it lasts
            cancelled.set()
            _interrupt_main()

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        try:
            result = _carry_out(queue, job)
        finally:
            # The heart stops before the end is noted, or it would take that for a cancellation.
            ended.set()
            heart.join(timeout=5)
        queue.finish(job.id, DONE, result=result)
    except KeyboardInterrupt:
        queue.finish(job.id, CANCELLED if cancelled.is_set() else INTERRUPTED)
        if not cancelled.is_set():
            raise
    except GenPTQError as error:
        queue.finish(job.id, FAILED, str(error))
    except Exception as error:
        if _short_of_memory(error):
            queue.finish(job.id, FAILED, NO_MEMORY)
            return
        # The worker is the last to see it: the page has only what is written here.
        queue.finish(job.id, FAILED, f"Unexpected {type(error).__name__}: {error}")
        raise


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
    if isinstance(request, Measure):
        return _measure(request, report)
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
    from genptq_core.loading import load_model
    from genptq_core.measurement.sweep import measure_maps

    model = load_model(profile.source.model)
    maps = [(request.label, bit_map(profile, request.options))]
    workers = Workers(scheduler=named_scheduler())
    (record,) = measure_maps(
        model, Path(request.profile), maps, speech, workers=workers, report=report
    )
    save_measured(Path(request.profile), profile.digest, record)
    return {"wer": record.wer, "wer_full_precision": record.wer_full_precision}


def _transcribe(request: Transcribe, report: Report) -> dict[str, Any]:
    profile = _current(request)
    speech = speech_set(request.name, [utterance(Path(request.audio))])
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model
    from genptq_core.measurement.measure import transcribe_files
    from genptq_core.models.weights import replaced
    from genptq_core.rounding.kept import kept_weights

    model = load_model(profile.source.model)
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
    from genptq_core.profiling.compute import compute

    settings = Settings(options, request.draws, request.seed)
    computed = compute(load_model(request.model), speech, Path(request.out), settings, report)
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


def _current(request: Measure | Transcribe | ExportMap) -> Profile:
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
        run_queue(Queue(options.queue))
    except GenPTQError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
