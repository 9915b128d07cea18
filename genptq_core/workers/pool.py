"""Where many calls run: in several processes on this machine, or on a Dask cluster.

joblib hands out the calls here and Dask elsewhere; what is here turns what can go wrong into a
sentence. (joblib can hand out to Dask too, but waits forever for a call whose workers died.) Calls
must be such that running one twice does no harm.
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
from ..extras import install_command

PATIENCE = 10.0
"""Seconds to wait for a scheduler's first answer."""

_AGAIN = "Run it again: what was done is kept. For want of memory, take fewer processes."

T = TypeVar("T")


def named_scheduler() -> str:
    """The Dask scheduler that `$GENPTQ_SCHEDULER` names for the page's measurements, or ""."""
    return os.environ.get("GENPTQ_SCHEDULER", "").strip()


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: processes on this machine; 1 for this process itself.
        scheduler: address of a Dask scheduler, such as tcp://10.0.0.5:8786, whose workers are
            taken instead of `jobs`; "" for none.
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
        """Whether this process does the work itself."""
        return self.jobs == 1 and not self.scheduler

    def run(self, function: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """Results of a function, as they come and in any order.

        A cluster that has lost all its workers is waited for: others may join.

        Args:
            function: of a module that the workers can import too.
            calls: its arguments, which can be pickled (they are sent, never kept); taken when a
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

    # One call a time: each takes seconds, and what dies with a worker is one call.
    pool = joblib.Parallel(jobs, backend="loky", return_as="generator_unordered", batch_size=1)
    try:
        yield from pool(joblib.delayed(function)(*call) for call in calls)
    except BrokenProcessPool as error:
        raise ClusterError("A process at work was killed.", _AGAIN) from error
    finally:
        # They would wait five minutes for more, each with a model in its memory.
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _cluster(
    address: str, function: Callable[..., T], calls: Iterable[tuple[Any, ...]]
) -> Iterator[T]:
    with _client(address) as client:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker, as_completed

        left = iter(calls)
        running = as_completed(loop=client.loop)
        lost = ClusterError(f"The Dask scheduler at {address} was lost.", _AGAIN)
        while True:
            try:
                # Two for each thread, so that none waits for its next; counted anew, for workers
                # come and go.
                room = 2 * max(1, sum(client.nthreads().values())) - running.count()
            except OSError as error:
                raise lost from error
            for call in itertools.islice(left, max(0, room)):
                running.add(client.submit(function, *call, pure=False))
            if running.is_empty():
                return
            try:
                found = next(running).result()
            except CancelledError as error:
                raise lost from error
            except KilledWorker as error:
                raise ClusterError("Several workers were killed at one call.", _AGAIN) from error
            except (ModuleNotFoundError, RuntimeError) as error:
                # From a worker as it is; from a scheduler as the cause of another.
                missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
                if not isinstance(missing, ModuleNotFoundError):
                    raise
                raise ClusterError(
                    f"The cluster lacks the package {missing.name}.",
                    "Install the program on every machine of the cluster, in its repository, with: "
                    "pip install -e .",
                ) from error
            yield found


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise ClusterError(
            "A scheduler needs Dask, which is not installed.", install_command("cluster")
        ) from None
    try:
        # A client that finds nobody is never closed: the garbage collector may come upon it while
        # Dask holds the lock that closing takes, and all stands still. So the door is tried first.
        socket.create_connection(get_address_host_port(address, strict=True), PATIENCE).close()
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, OverflowError, NotImplementedError, TypeError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {address} ({str(error) or type(error).__name__}).",
            "Start one, where the program is installed, with: dask scheduler; its address looks "
            "like tcp://10.0.0.5:8786.",
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise ClusterError(
                f"The Dask scheduler at {address} has no workers.",
                f"Start some, where the program is installed, with: dask worker {address}.",
            )
        yield client
