"""The worker: does what is queued, in a process that the page started."""

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


def work(queue: Queue) -> int:
    """Do what is queued until nothing is left; returns how many jobs were taken."""
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
    over = threading.Event()
    # Read by the main thread alone, to tell a cancellation from Ctrl-C.
    asked = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            try:
                if queue.beat(job.id) or asked.is_set():
                    continue
            except StoreError:
                continue  # a busy disk is no reason to give up; silence will tell if it lasts
            asked.set()
            _interrupt_main()

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        try:
            result = _do(queue, job)
        finally:
            # The heart stops before the end is noted, or it would take that for a cancellation.
            over.set()
            heart.join(timeout=5)
        queue.finish(job.id, DONE, result=result)
    except KeyboardInterrupt:
        queue.finish(job.id, CANCELLED if asked.is_set() else INTERRUPTED)
        if not asked.is_set():
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


def _do(queue: Queue, job: Job) -> dict[str, Any]:
    def report(at: Progress) -> None:
        queue.progress(job.id, at.stage, at.done, at.total)

    wanted = job.request
    if isinstance(wanted, Measure):
        return _measure(wanted, report)
    if isinstance(wanted, Transcribe):
        return _transcribe(wanted, report)
    if isinstance(wanted, ExportMap):
        return _export(wanted, report)
    return _profile(wanted, report)


# Torch comes in with a task's last steps: only then, so that a job that cannot run fails at once.


def _measure(wanted: Measure, report: Report) -> dict[str, Any]:
    profile = _current(wanted)
    speech = load_speech(wanted.manifest, wanted.utterances)
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model
    from genptq_core.measurement.sweep import measure_maps

    model = load_model(profile.source.model)
    maps = [(wanted.label, bit_map(profile, wanted.options))]
    workers = Workers(scheduler=named_scheduler())
    (record,) = measure_maps(
        model, Path(wanted.profile), maps, speech, workers=workers, report=report
    )
    save_measured(Path(wanted.profile), profile.digest, record)
    return {"wer": record.wer, "wer_full_precision": record.wer_full_precision}


def _transcribe(wanted: Transcribe, report: Report) -> dict[str, Any]:
    profile = _current(wanted)
    speech = speech_set(wanted.name, [utterance(Path(wanted.audio))])
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model
    from genptq_core.measurement.measure import transcribe_files
    from genptq_core.models.weights import replaced
    from genptq_core.rounding.kept import kept_weights

    model = load_model(profile.source.model)
    report(Progress("full precision", 0, 0))
    full = transcribe_files(model, speech)[0]
    weights = kept_weights(model, profile, wanted.options, report)
    report(Progress("the pick", 0, 0))
    with replaced(model, weights):
        picked = transcribe_files(model, speech)[0]
    return {"full": full, "picked": picked, "normalizer": model.normalizer}


def _profile(wanted: ComputeProfile, report: Report) -> dict[str, Any]:
    speech = load_speech(wanted.manifest, wanted.utterances)
    options = grid_options(wanted.bits, wanted.group_sizes) + coded_options(wanted.rates)
    report(Progress("loading the model", 0, 0))
    from genptq_core.loading import load_model
    from genptq_core.profiling.compute import compute

    settings = Settings(options, wanted.draws, wanted.seed)
    outcome = compute(load_model(wanted.model), speech, Path(wanted.out), settings, report)
    return {"digest": outcome.profile.digest, "cache_hits": outcome.cache_hits}


def _export(wanted: ExportMap, report: Report) -> dict[str, Any]:
    profile = _current(wanted)
    report(Progress("loading the model", 0, 0))
    from genptq_core.export.export import export

    chosen = bit_map(profile, wanted.options)
    made = export(profile, chosen, wanted.target, Path(wanted.out), report=report)
    return {"bytes": made.bytes, "disk_bytes": made.disk_bytes, "files": list(made.files)}


def _current(wanted: Measure | Transcribe | ExportMap) -> Profile:
    """The profile of a job, if it is still the one for which it was queued."""
    folder = Path(wanted.profile)
    profile = load_profile(folder)
    if profile.digest != wanted.profile_digest:
        raise ProfileError(
            f"The profile {folder.name} was computed anew since this was queued.", "Queue it again."
        )
    return profile


def main(arguments: Sequence[str] | None = None) -> int:
    """The worker's command line."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.jobs.worker", description=__doc__)
    parser.add_argument("--queue", type=Path, help="the queue's file (default: the cache folder)")
    options = parser.parse_args(arguments)
    obey_signals()
    try:
        work(Queue(options.queue))
    except GenPTQError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
