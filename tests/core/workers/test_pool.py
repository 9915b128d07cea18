"""Workers: calls in several processes and on a Dask cluster, and their error messages."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from genptq_core.errors import ClusterError, SpeechError
from genptq_core.workers.pool import CLUSTER_PACKAGE, Workers
from tests.conftest import ROOT


def pid_of(number: int) -> tuple[int, int]:
    time.sleep(0.2)
    return number, os.getpid()


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def complain(number: int) -> int:
    raise SpeechError(f"Recording {number} is silent.", "Record it again.")


def lack(number: int) -> int:
    raise ModuleNotFoundError("No module named 'soxr'", name="soxr")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and a worker process with a nanny; a call that kills one worker is given up."""
    distributed = pytest.importorskip("distributed", reason=f"needs {CLUSTER_PACKAGE}")
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, protocol="tcp://", dashboard_address=":0"
        ) as started,
    ):
        yield started


def test_one_process_is_this_one_and_takes_calls_as_it_comes_to_them() -> None:
    taken = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(3):
            taken.append(number)
            yield (number,)

    results = Workers().run(pid_of, calls())
    assert taken == []
    assert next(results) == (0, os.getpid())
    assert taken == [0]
    assert [number for number, _ in results] == [1, 2]


def test_several_processes_share_the_calls_and_end_with_them() -> None:
    pid_of_call = dict(Workers(jobs=2).run(pid_of, [(i,) for i in range(6)]))
    assert set(pid_of_call) == set(range(6))
    pids = set(pid_of_call.values())
    assert len(pids) == 2 and os.getpid() not in pids
    deadline = time.monotonic() + 20
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_lives, pids))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_process_is_named_and_the_next_run_works() -> None:
    with pytest.raises(ClusterError, match=r"working process was killed\. Run it again"):
        list(Workers(jobs=2).run(die, [(i,) for i in range(6)]))
    assert sorted(Workers(jobs=2).run(die, [(0,), (1,)])) == [0, 1]


def test_an_error_of_ours_comes_through_from_a_process() -> None:
    with pytest.raises(SpeechError, match=r"Recording 1 is silent\. Record it again\."):
        list(Workers(jobs=2).run(complain, [(1,)]))


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_processes_are_refused(jobs: int) -> None:
    with pytest.raises(ClusterError, match="cannot do anything"):
        Workers(jobs=jobs)


def test_without_dask_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=rf"pip install {CLUSTER_PACKAGE}"):
        list(Workers(scheduler="tcp://127.0.0.1:8786").run(pid_of, [(1,)]))
    assert f"{CLUSTER_PACKAGE} " in (ROOT / "requirements-dev.txt").read_text()


def _clients(kind: type) -> set[int]:
    return {id(thing) for thing in gc.get_objects() if type(thing) is kind}


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:9",
        "nonsense://x",
        "tcp://127.0.0.1:port",
        "tcp://h:99999",
        "inproc://a",
        "x",
    ],
)
def test_an_address_where_nothing_answers_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason=f"needs {CLUSTER_PACKAGE}")
    monkeypatch.setattr("genptq_core.workers.pool.PATIENCE", 1)
    before = _clients(distributed.Client)
    with pytest.raises(ClusterError, match=f"No Dask scheduler answers at {address}"):
        list(Workers(scheduler=address).run(pid_of, [(1,)]))
    # A client that is collected later, while Dask works, would block this process.
    assert _clients(distributed.Client) <= before


def test_a_cluster_runs_calls_and_names_what_fails(cluster: Any) -> None:
    workers = Workers(scheduler=cluster.scheduler_address)
    pid_of_call = dict(workers.run(pid_of, [(i,) for i in range(9)]))
    assert set(pid_of_call) == set(range(9)) and os.getpid() not in pid_of_call.values()
    with pytest.raises(SpeechError, match=r"Recording 1 is silent\. Record it again\."):
        list(workers.run(complain, [(1,)]))
    with pytest.raises(ClusterError, match="cluster lacks the package soxr"):
        list(workers.run(lack, [(1,)]))
    with pytest.raises(ClusterError, match=r"killed during one call\. Run it again"):
        list(workers.run(die, [(2,)]))


def test_a_scheduler_without_workers_is_named() -> None:
    distributed = pytest.importorskip("distributed", reason=f"needs {CLUSTER_PACKAGE}")
    with (
        distributed.LocalCluster(n_workers=0, protocol="tcp://", dashboard_address=":0") as idle,
        pytest.raises(ClusterError, match=r"has no workers\. Start some"),
    ):
        list(Workers(scheduler=idle.scheduler_address).run(pid_of, [(1,)]))


def test_a_scheduler_that_goes_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason=f"needs {CLUSTER_PACKAGE}")
    monkeypatch.setattr("genptq_core.workers.pool.PATIENCE", 3)
    lost = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, protocol="tcp://", dashboard_address=":0"
    )
    try:
        results = Workers(scheduler=lost.scheduler_address).run(pid_of, [(i,) for i in range(50)])
        next(results)
        lost.close()
        with pytest.raises(ClusterError, match="was lost"):
            list(results)
    finally:
        lost.close()
