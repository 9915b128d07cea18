"""Where many calls run: in this process, in several on this machine, or on a Dask cluster.

joblib hands out the calls and Dask runs them elsewhere; what is here says where to, and turns what
can go wrong into a sentence. Calls must be such that running one twice does no harm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import ClusterError

CLUSTER_PACKAGE = "distributed==2026.8.0"

_AGAIN = "Run it again: what was done is kept. For want of memory, take fewer processes."

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: processes on this machine; 1 for this process itself.
        scheduler: address of a Dask scheduler, such as tcp://10.0.0.5:8786, whose workers are
            taken instead of `jobs`; "" for none.
    """

    jobs: int = 1
    scheduler: str = ""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ClusterError(f"{self.jobs} processes cannot do anything.", "Give 1 or more.")

    @property
    def here(self) -> bool:
        """Whether this process does the work itself."""
        return self.jobs == 1 and not self.scheduler

    def run(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Results of a function, as they come and in any order.

        Args:
            function: of a module that the workers can import too.
            calls: its arguments, which can be pickled; only sent between processes, never kept.

        Raises:
            ClusterError: a worker died for good, or the cluster cannot be reached.
        """
        if self.here or not calls:
            for call in calls:
                yield function(*call)
            return
        import joblib

        settings = {"n_jobs": self.jobs, "backend": "loky"}
        with contextlib.ExitStack() as stack:
            if self.scheduler:
                client = stack.enter_context(_client(self.scheduler))
                settings = {"n_jobs": -1, "backend": "dask", "client": client}
            stack.enter_context(_named_faults())
            with joblib.parallel_config(**settings):
                # One call a time: each takes seconds, and what dies with a worker is one call.
                parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
                yield from parallel(joblib.delayed(function)(*call) for call in calls)


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(
            "A scheduler needs Dask, which is not installed.", f"pip install {CLUSTER_PACKAGE}"
        ) from None
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # a time-out is an OSError
        raise ClusterError(
            f"No Dask scheduler answers at {address} ({str(error) or type(error).__name__}).",
            "Start one with: dask scheduler; its address looks like tcp://10.0.0.5:8786.",
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise ClusterError(
                f"The Dask scheduler at {address} has no workers.",
                f"Start some, in the repository, with: PYTHONPATH=. dask worker {address}.",
            )
        yield client


@contextlib.contextmanager
def _named_faults() -> Iterator[None]:
    """Turn what joblib and Dask raise when workers die into an error of ours."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)
    with contextlib.suppress(ImportError):
        from concurrent.futures import CancelledError

        from distributed import CommClosedError, KilledWorker

        lost = (*lost, KilledWorker, CommClosedError, CancelledError)
    try:
        yield
    except lost as error:
        raise ClusterError("A process that measured was killed.", _AGAIN) from error
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"A worker lacks the package {error.name}.",
            "Start the workers in the repository with PYTHONPATH=., the same packages installed.",
        ) from error
