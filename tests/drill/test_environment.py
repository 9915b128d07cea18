"""A hostile environment: no room, no right to write, no home, an old locale, two at once."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dashboard.jobs.queue import FAILED, INTERRUPTED, RUNNING, SILENCE, Queue
from dashboard.jobs.requests import ComputeProfile
from dashboard.jobs.worker import NO_MEMORY
from genptq_core import profile
from genptq_core.bitmaps.file import read_bit_map
from genptq_core.errors import GenPTQError
from genptq_core.loading import load_model
from genptq_core.measurement import store
from genptq_core.options import grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.compute import compute
from genptq_core.speech.utterances import load_manifest
from tests.conftest import ROOT
from tests.core import synthetic
from tests.drill import ledger

PROFILE = synthetic.profile(3, units=12, utterances=200)


def solve(folder: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Solve on the command line with nothing but this environment."""
    command = [sys.executable, "-m", "genptq_core", "solve", "--profile", str(folder)]
    command += ["--avg-bits", "3", "--out", str(out)]
    known = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, check=False)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": "/nonexistent"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"HOME": ""}, marks=pytest.mark.slow),
    ],
    ids=["no home, locale", "missing home", "no home", "empty home"],
)
def test_the_command_line_needs_neither_home_nor_utf8(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "größe ≤ 3"
    profile.save(PROFILE, folder)
    out = folder / "karte ≥.json"
    solved = solve(folder, out, **environment)
    assert solved.returncode == 0, solved.stderr
    assert read_bit_map(out, profile.load_profile(folder))
    refused = solve(folder / "none", out, **environment)
    assert refused.returncode == 2
    assert refused.stderr.count(b"\n") == 1
    ledger.note("environment: home and locale", ledger.HARMLESS)


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(GenPTQError, match="No space left"):
            profile.save(PROFILE, disk)
        assert list(disk.iterdir()) == []
        records = [
            synthetic.measured(PROFILE, width, transcripts=[("d", "a" * 20_000, "b" * 20_000)])
            for width in (2, 3, 4)
        ]
        kept = []
        with pytest.raises(GenPTQError, match=r"full|space"):
            for record in records:
                store.save_measured(disk, PROFILE.digest, record)
                kept.append(record)
        stored = store.load_measured(disk, PROFILE.digest)
        assert all(record in stored for record in kept)
        ledger.note("environment: full disk", ledger.NAMED)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    profile.save(PROFILE, tmp_path / "profile")
    # What even root cannot write to: /proc, and a folder below a file.
    for folder in (Path("/proc/none"), tmp_path / "file" / "below"):
        solved = solve(tmp_path / "profile", folder / "map.json")
        assert solved.returncode == 2
        assert b"Cannot write" in solved.stderr and solved.stderr.count(b"\n") == 1
        ledger.note("environment: read-only", ledger.NAMED)


def test_two_at_once_on_one_cache(random_whisper: Path, tones: Path, tmp_path: Path) -> None:
    settings = Settings(grid_options((2,), (8,)), draws=1, rank=4)
    speech = load_manifest(tones, 3)
    models = {name: load_model(str(random_whisper)) for name in ("a", "b")}

    def run(name: str) -> tuple[str, int]:
        computed = compute(models[name], speech, tmp_path / name, settings)
        return computed.profile.digest, computed.backward_passes

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, ("a", "b")))
    assert results[0][0] == results[1][0]
    # One of them waited, and everything was done.
    assert min(passes for _, passes in results) == 0
    ledger.note("environment: two at once", ledger.CONTINUED)


def test_a_worker_without_memory_says_what_to_lower(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "jobs.sqlite")
    speech = ROOT / "data" / "speech" / "demo" / "manifest.jsonl"
    request = ComputeProfile("whisper-tiny.en", str(speech), 2, str(tmp_path / "out"), draws=1)
    queue.add(request)
    room = 1100 << 20  # enough to start and to import all it needs, not to load the model
    worker = subprocess.run(
        [sys.executable, "-m", "dashboard.jobs.worker", "--queue", str(queue.path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (room, room)),
        capture_output=True,
        check=False,
    )
    (job,) = queue.jobs()
    assert (job.state, job.message) == (FAILED, NO_MEMORY), worker.stderr
    assert not (tmp_path / "out").exists()
    ledger.note("environment: no memory", ledger.NAMED)


def test_a_dead_worker_is_known_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(tmp_path / "jobs.sqlite")
    queue.add(ComputeProfile("whisper-tiny.en", "speech.jsonl", 2, str(tmp_path / "out")))
    assert queue.claim() is not None
    clock = time.time() - 3600
    monkeypatch.setattr("dashboard.jobs.queue.time.time", lambda: clock)
    (job,) = queue.jobs()
    assert job.state == RUNNING  # it may live; its silence begins now
    clock += SILENCE + 1
    assert [job.state for job in queue.jobs()] == [INTERRUPTED]
    ledger.note("environment: clock set back", ledger.CONTINUED)
