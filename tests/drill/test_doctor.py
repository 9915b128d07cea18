"""The doctor deletes only what this program wrote, and is quiet next to running jobs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dashboard.jobs import queue as queues
from dashboard.jobs.queue import Queue
from dashboard.jobs.requests import ComputeProfile
from genptq_core import profile
from genptq_core.cli import health, job_rows
from genptq_core.cli.main import main
from genptq_core.errors import GenPTQError
from genptq_core.storage.files import atomic, locked
from genptq_core.storage.folders import atomic_folder
from genptq_core.storage.json_files import sealed, write_json
from genptq_core.storage.locations import job_queue_file
from tests.core import synthetic
from tests.drill import ledger

PROFILE = synthetic.profile(3, units=12)
KEY = "ab" * 16


def _everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def _belongings(home: Path, outside: Path) -> None:
    """What people keep next to a cache and profiles, all of it long untouched."""
    texts = (
        ".draft.tex.tmp", ".x.y.tmp", ".notes.ab12cd34.tmp", ".mail/.inbox.0123abcd.tmp",
        "work/model.safetensors", "shards/model.safetensors", f"work/{KEY}.safetensors",
        "baselines/mine.safetensors", "kept/other.safetensors", "jobs.json", "thesis.json",
        "measured/notes.txt", "uploads.txt",
    )  # fmt: skip
    for text in texts:
        path = home / text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of somebody else")
    (home / ".old.backup.tmp" / "deep").mkdir(parents=True)
    (home / ".old.backup.tmp" / "deep" / "photo").write_text("of somebody else")
    save_file({"a": np.ones(3)}, home / "work" / "real.safetensors")
    for name in ("measured.sqlite", "data/measured/birds.sqlite"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(home / name)) as connection, connection:
            connection.execute("CREATE TABLE birds (name TEXT)")
    (outside / ".x.genptq-0123abcd.tmp").write_text("behind a link")
    (outside / f"{KEY}.safetensors").write_text("behind a link")
    (home / "baselines" / f"{KEY}.safetensors").symlink_to(outside / f"{KEY}.safetensors")
    (home / ".y.genptq-0123abcd.tmp").symlink_to(outside)
    (home / "elsewhere").symlink_to(outside)
    for place in (home, outside):
        for path in place.rglob("*"):
            os.utime(path, (0, 0), follow_symlinks=False)


def test_the_doctor_deletes_only_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    outside.mkdir()
    _belongings(home, outside)
    profile.save(PROFILE, home / "profile")
    before = _everything(home), _everything(outside)
    own = home / ".map.json.genptq-0123abcd.tmp"
    own.write_text("half")
    os.utime(own, (0, 0))
    entry = home / "shards" / "ab" / f"{KEY}.safetensors"
    entry.parent.mkdir()
    entry.write_bytes(b"damaged")
    monkeypatch.setenv("GENPTQ_CACHE", str(home))
    for path in (None, home):
        health.repair(path)
    assert not own.exists() and not entry.exists()
    entry.parent.rmdir()
    outcome = ledger.HARMLESS
    if (_everything(home), _everything(outside)) != before:
        outcome = ledger.FAILED
    ledger.note("doctor: files of others", outcome)
    assert (_everything(home), _everything(outside)) == before
    assert [note for note in health.notes(home) if ".notes.ab12cd34.tmp" in note]


def test_an_export_that_was_moved_aside_is_put_back(tmp_path: Path) -> None:
    aside = tmp_path / ".out.genptq-0123abcd.tmp"
    (aside / "old").mkdir(parents=True)
    (aside / "old" / "model").write_text("the earlier one")
    for path in (aside / "old" / "model", aside / "old", aside):
        os.utime(path, (0, 0))
    assert health.repair(tmp_path) == [f"{tmp_path / 'out'}: restored."]
    assert (tmp_path / "out" / "model").read_text() == "the earlier one"
    assert not aside.exists()


def test_the_doctor_is_quiet_next_to_running_jobs(cache: Path, tmp_path: Path) -> None:
    queue = Queue()
    queue.add(ComputeProfile("whisper-tiny.en", "speech.jsonl", 2, str(tmp_path / "out")))
    assert queue.claim() is not None
    work = cache / "work" / KEY
    entry = work / "rounded" / "0.safetensors"
    with (
        locked(work),
        atomic(cache / "baselines" / f"{KEY}.safetensors") as temporary,
        atomic_folder(cache / "exports" / "out", "export.json") as fresh,
    ):
        entry.parent.mkdir()
        for path in (entry, temporary, fresh / "export.json"):
            path.write_text("half")
            os.utime(path, (0, 0))
        before = _everything(cache)
        for repairing in (False, True):
            assert main(["doctor", *["--repair"] * repairing]) == 0
            assert health.examine() and not health.examine()[1]
        assert _everything(cache).keys() == before.keys()
        fresh.joinpath("export.json").unlink()
        temporary.write_text("")
        ledger.note("doctor: running jobs", ledger.HARMLESS)
    (cache / "baselines" / f"{KEY}.safetensors").unlink()
    assert len(health.examine(cache)[1]) == 1  # the work folder is free, and its entry damaged
    health.repair(cache)
    assert not entry.exists()


@pytest.mark.parametrize("column", ["request", "result", "state"])
def test_damaged_rows_of_the_queue_are_named(column: str, cache: Path) -> None:
    queue = Queue()
    number = queue.add(ComputeProfile("whisper-tiny.en", "speech.jsonl", 2, "out"))
    assert queue.claim() is not None
    queue.finish(number, queues.DONE, result={"text": "said"})
    assert not health.examine(cache)[1]
    with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
        text = connection.execute(f"SELECT {column} FROM jobs").fetchone()[0]
        damage = text.replace("e", "f", 1)
        connection.execute(f"UPDATE jobs SET {column} = ?", (damage,))
    with ledger.refused("doctor: damaged queue", f"jobs.sqlite is damaged in job {number}"):
        job_rows.check_jobs(queue.path)
    assert [p for p in health.examine(cache)[1] if f"in job {number}" in p]
    assert main(["doctor", str(cache)]) == 1


@pytest.mark.parametrize("content", [b"", b"text", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_queue_that_is_no_database_is_named(content: bytes, cache: Path) -> None:
    job_queue_file().write_bytes(content)
    problems = health.examine(cache)[1]
    assert bool(problems) == bool(content)
    assert job_queue_file().read_bytes() == content


def test_the_queue_is_as_the_page_writes_it() -> None:
    assert job_rows.VERSION == queues.VERSION
    assert set(job_rows.STATES) == {*queues.LIVE, *queues.ENDED}


@pytest.mark.parametrize("name", ["projections", "importance", "sketches"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_found_in_profiles(
    name: str, value: float, tmp_path: Path
) -> None:
    arrays = {"a": np.ones(4, np.float32)}
    array = PROFILE.projections.copy()
    array.flat[-1] = arrays["a"][2] = value
    change: dict[str, object] = {
        "projections": {"projections": array},
        "importance": {"importance": arrays},
        "sketches": {"sketches": {"x": arrays}},
    }[name]
    profile.save(dataclasses.replace(PROFILE, **change), tmp_path / "p")  # type: ignore[arg-type]
    problems = health.examine(tmp_path)[1]
    found = len(problems) == 1 and "holds what is no number" in problems[0]
    ledger.note("doctor: NaN in a profile", ledger.NAMED if found else ledger.FAILED)
    assert found
    if name != "projections":  # an option with such a score is left out, with a warning
        with pytest.raises(GenPTQError, match="holds what is no number"):
            profile.load_profile(tmp_path / "p")


def test_options_that_overflow_are_no_problem(tmp_path: Path) -> None:
    projections = PROFILE.projections.copy()
    projections[:, :, 2, 0] = np.inf
    profile.save(dataclasses.replace(PROFILE, projections=projections), tmp_path)
    assert health.examine(tmp_path)[1] == []
    projections[:, :, 2, :] = np.nan
    profile.save(dataclasses.replace(PROFILE, projections=projections), tmp_path)
    assert PROFILE.units[2].name in health.examine(tmp_path)[1][0]


def test_other_sealed_json_is_checked(tmp_path: Path) -> None:
    write_json(tmp_path / "stage.json", "genptq-stage", 1, {"seconds": 1.5})
    assert health.examine(tmp_path) == ([str(tmp_path / "stage.json")], [])
    text = (tmp_path / "stage.json").read_text()
    (tmp_path / "stage.json").write_text(text.replace("1.5", "2.5"))
    assert "is damaged" in health.examine(tmp_path)[1][0]
    (tmp_path / "mine.json").write_text('{"schema": "somebody-else", "sha256": "0"}')
    assert len(health.examine(tmp_path)[0]) == 1
    assert sealed({})


def test_a_folder_of_nothing_is_a_mistake_not_a_problem(tmp_path: Path) -> None:
    with pytest.raises(GenPTQError, match="holds no profile"):
        health.examine(tmp_path)
    assert main(["doctor", str(tmp_path)]) == 2
