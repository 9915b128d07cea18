"""Killed: SIGKILL at a random moment; the next run continues and ends with the same bytes.

A process is forked for each run, so that what is slow to import is imported once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genptq_core import load_manifest
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import read_bit_map, write_bit_map
from genptq_core.cli.main import main
from genptq_core.export.export import export
from genptq_core.loading import load_model
from genptq_core.measurement import store
from genptq_core.profile import Profile, load_profile, save
from genptq_core.rounding.compilation import CompileSettings, compile_map
from genptq_core.storage.digests import sha256_file
from genptq_core.storage.leftovers import STALE, leftovers
from tests.core import synthetic
from tests.drill import ledger

COMPILING = CompileSettings(sequential=3, passes=3, rate=2e-2, batch=2, held_out=2, checks=1)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def fork(run: Callable[[], object], kill_after: float | None = None) -> float:
    """Run something in a process of its own, killed after a while; returns the seconds it ran."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # the parent's threads are not there after a fork
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            os._exit(int(bool(run())))
        finally:
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert kill_after is not None or status == 0
    return time.monotonic() - started


def content(folder: Path) -> dict[str, object]:
    """What a run left, without how long it took; temporary files count as well."""
    by_name: dict[str, object] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.name == "profile.json":
            by_name[name] = load_profile(folder).digest
        elif path.name.startswith(store.SQLITE_NAME):
            apart = ("seconds", "when")
            records = [vars(record) for record in store.read_store(folder / store.SQLITE_NAME)]
            by_name["measured"] = [{k: v for k, v in r.items() if k not in apart} for r in records]
        else:
            by_name[name] = sha256_file(path)
    return by_name


@pytest.fixture
def profile(random_whisper: Path, tmp_path: Path) -> Profile:
    profile = synthetic.profile_of(load_model(str(random_whisper)), bits=(2, 3), group_size=(8,))
    profile = save(profile, tmp_path / "given")
    write_bit_map(tmp_path / "map.json", profile, bit_map(profile, ["3/8"] * len(profile.units)))
    return profile


@pytest.mark.parametrize(
    "count", [1, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("kind", ["profile", "measure", "compile", "export"])
def test_a_killed_run_continues(
    kind: str,
    count: int,
    profile: Profile,
    random_whisper: Path,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, chosen, model = str(tmp_path / "given"), str(tmp_path / "map.json"), str(random_whisper)

    def command(out: Path) -> list[str]:
        if kind == "profile":
            ways = ["--bits", "2", "--group-size", "8", "--rates", "0", "--draws", "1"]
            speech = ["--speech", str(tones), "--limit", "5"]
            return ["profile", "--model", model, *speech, *ways, "--out", str(out)]
        if kind == "measure":
            save(profile, out)
            where = ["--profile", str(out), "--bitmap", chosen, "--model", model]
            return ["measure", *where, "--speech", str(tones), "--limit", "3"]
        where = ["--profile", given, "--bitmap", chosen, "--model", model]
        return ["export", *where, "--out", str(out)]

    def compiled(out: Path) -> None:
        original, map_read = load_model(model), read_bit_map(tmp_path / "map.json", profile)
        made = compile_map(original, profile, map_read, load_manifest(tones), COMPILING)
        export(profile, map_read, "native", out, original, compiled=made)

    def run(name: str, kill_after: float | None = None) -> float:
        monkeypatch.setenv("GENPTQ_CACHE", str(tmp_path / name / "cache"))
        out = tmp_path / name / "out"
        if kind == "compile":
            return fork(lambda: compiled(out), kill_after)
        arguments = command(out)
        return fork(lambda: main(arguments), kill_after)

    seconds = run("undisturbed")
    expected = json.dumps(content(tmp_path / "undisturbed" / "out"), default=str)
    rng = np.random.default_rng(7)
    for index in range(count):
        name = f"{index}"
        run(name, float(rng.uniform(0.1, 1.0)) * seconds)
        for left in (p for p in (tmp_path / name).rglob(".*.tmp")):
            os.utime(left, (time.time() - 2 * STALE,) * 2)
        run(name)
        same = json.dumps(content(tmp_path / name / "out"), default=str) == expected
        # What a killed run left of the same files is swept by the next that writes them.
        clean = not leftovers(tmp_path / name / "out", below=True)
        ledger.note(f"killed: {kind}", ledger.CONTINUED if same and clean else ledger.FAILED)
        assert same and clean
