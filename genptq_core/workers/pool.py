"""Running many calls: in several processes on this machine, or on a Dask cluster.

joblib distributes calls on this machine, and Dask on a cluster; this module turns their failures
into sentences. (joblib can distribute through Dask too, but waits forever for a call whose workers
died.) It must do no harm to run a call twice.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ClusterError

CLUSTER_PACKAGE = "distributed==2026.8.0"

PATIENCE = 10.0
"""Seconds to wait for the first answer of a scheduler."""

_AGAIN = "Run it again: finished work is kept. If memory ran out, take fewer processes."

T = TypeVar("T")


def named_scheduler() -> str:
    """The Dask scheduler that `$GENPTQ_SCHEDULER` names for the page's measurements, or ""."""
    return os.environ.get("GENPTQ_SCHEDULER", "").strip()


@dataclass(frozen=True)
class Workers:
    """Processes that run calls.

    Attributes:
        jobs: how many processes on this machine; 1 for this process itself.
        scheduler: address of a Dask scheduler, such as tcp://10.0.0.5:8786, whose workers are
            used instead of `jobs`; "" for none.
        device: where each other process puts its model; see `models.device`.
    """

    jobs: int = 1
    scheduler: str = ""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ClusterError(f"{self.jobs} processes cannot do anything.", "Give 1 or more.")

    @property
    def here(self) -> bool:
        """Whether this process runs the calls itself."""
        return self.jobs == 1 and not self.scheduler

    def run(self, function: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """Results of a function, in the order in which calls finish.

        If a cluster has lost all its workers, this waits for others to join.

        Args:
            function: from a module that the workers can import too.
            calls: arguments of each call, which are pickled to be sent; each is taken when a
                worker is about to be free.

        Raises:
            ClusterError: a worker died for good, or the cluster cannot be reached.
        """
        if self.here:
            return itertools.starmap(function, calls)
        if self.scheduler:
            return _cluster(self.scheduler, function, calls)
        return _local(self.jobs, function, calls)


def _local(jobs: int, function: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    # One call at a time: each takes seconds, and a worker that dies loses only one.
    pool = joblib.Parallel(jobs, backend="loky", return_as="generator_unordered", batch_size=1)
    try:
        yield from pool(joblib.delayed(function)(*call) for call in calls)
    except BrokenProcessPool as error:
        raise ClusterError("A working process was killed.", _AGAIN) from error
    finally:
        # Else processes wait five minutes for more calls, each with a model in memory.
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _cluster(
    address: str, function: Callable[..., T], calls: Iterable[tuple[Any, ...]]
) -> Iterator[T]:
    with _client(address) as client:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker, as_completed

        waiting = iter(calls)
        running = as_completed(loop=client.loop)
        lost = ClusterError(f"The Dask scheduler at {address} was lost.", _AGAIN)
        while True:
            try:
                # Two for each thread, so that none is idle; counted again, for workers come and go.
                room = 2 * max(1, sum(client.nthreads().values())) - running.count()
            except OSError as error:
                raise lost from error
            for call in itertools.islice(waiting, max(0, room)):
                running.add(client.submit(function, *call, pure=False))
            if running.is_empty():
                return
            try:
                result = next(running).result()
            except CancelledError as error:
                raise lost from error
            except KilledWorker as error:
                raise ClusterError(
                    "Several workers were killed during one call.", _AGAIN
                ) from error
            except (ModuleNotFoundError, RuntimeError) as error:
                # A worker's exception comes as it is, a scheduler's as the cause of another.
                missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
                if not isinstance(missing, ModuleNotFoundError):
                    raise
                raise ClusterError(
                    f"The cluster lacks the package {missing.name}.",
                    "Start scheduler and workers in the repository with PYTHONPATH=., and install "
                    "its requirements there.",
                ) from error
            yield result


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise ClusterError(
            "A scheduler needs Dask, which is not installed.", f"pip install {CLUSTER_PACKAGE}"
        ) from None
    try:
        # A client that gets no answer is never closed: the garbage collector may find it while Dask
        # holds the lock that closing takes, which is a deadlock. So the port is tried first.
        socket.create_connection(get_address_host_port(address, strict=True), PATIENCE).close()
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, OverflowError, NotImplementedError, TypeError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {address} ({str(error) or type(error).__name__}).",
            "Start one, in the repository, with: PYTHONPATH=. dask scheduler; its address looks "
            "like tcp://10.0.0.5:8786.",
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise ClusterError(
                f"The Dask scheduler at {address} has no workers.",
                f"Start some, in the repository, with: PYTHONPATH=. dask worker {address}.",
            )
        yield client
