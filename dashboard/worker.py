"""The worker: measures what is queued, in a process that the page started."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from genptq_core.bitmap import bit_map
from genptq_core.errors import GenPTQError, ProfileError, StoreError
from genptq_core.profile import load_profile
from genptq_core.progress import Progress
from genptq_core.speech import load_manifest
from genptq_core.store import save_measured

from .jobs import CANCELLED, DONE, FAILED, INTERRUPTED, Job, Queue

_BEAT = 1.0
"""Seconds between heartbeats, and so the longest that a cancellation waits to be seen."""


def obey_signals() -> None:
    """Let SIGINT and SIGTERM end the job tidily; a background process may inherit them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def work(queue: Queue) -> int:
    """Measure what is queued until nothing is left; returns how many jobs were taken."""
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
            _measure(queue, job)
        finally:
            # The heart stops before the end is noted, or it would take that for a cancellation.
            over.set()
            heart.join(timeout=5)
        queue.finish(job.id, DONE)
    except KeyboardInterrupt:
        queue.finish(job.id, CANCELLED if asked.is_set() else INTERRUPTED)
        if not asked.is_set():
            raise
    except GenPTQError as error:
        queue.finish(job.id, FAILED, str(error))
    except MemoryError:
        queue.finish(job.id, FAILED, "There was not enough memory. Close other programs.")
    except Exception as error:
        # The worker is the last to see it: the page has only what is written here.
        queue.finish(job.id, FAILED, f"Unexpected {type(error).__name__}: {error}")
        raise


def _measure(queue: Queue, job: Job) -> None:
    def report(at: Progress) -> None:
        queue.progress(job.id, at.stage, at.done, at.total)

    wanted = job.request
    folder = Path(wanted.profile)
    profile = load_profile(folder)
    if profile.digest != wanted.profile_digest:
        raise ProfileError(
            f"The profile {folder.name} was computed anew since this was queued.",
            "Queue the measurement again.",
        )
    speech = load_manifest(Path(wanted.manifest), wanted.utterances)
    queue.progress(job.id, "loading the model", 0, 0)
    # Torch comes in with these two: only now, so that a job that cannot run fails at once.
    from genptq_core.measurement import measure
    from genptq_core.models import load_model

    model = load_model(profile.source.model)
    chosen = bit_map(profile, wanted.options)
    record = measure(model, profile, chosen, speech, wanted.label, report)
    save_measured(folder, profile.digest, record)
