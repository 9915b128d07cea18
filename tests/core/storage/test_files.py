"""Atomic writes, locks, JSON with a schema, digests that never change, and the cache folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genptq_core.errors import BitMapError, GenPTQError, StoreError
from genptq_core.storage.digests import sha256, sha256_array, sha256_file, sha256_json
from genptq_core.storage.files import LOCK_NAME, atomic, locked, write_text
from genptq_core.storage.json_files import read_json, write_json
from genptq_core.storage.locations import cache_folder
from tests.conftest import ROOT


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_writes_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert _names(path.parent) == ["file.txt"]


class _TestError(Exception):
    pass


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("error", [_TestError("no"), KeyboardInterrupt(), OSError("no room")])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, before: str | None, error: BaseException
) -> None:
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)
    expected = GenPTQError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert _names(tmp_path) == ([] if before is None else ["file.txt"])
    if before is not None:
        assert path.read_text() == before


def test_a_failing_rename_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(GenPTQError, match="Cannot write") as caught:
        write_text(target, "text")
    assert str(target) in caught.value.message
    assert caught.value.hint
    assert _names(tmp_path) == ["folder"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GenPTQError, match="Cannot write"):
        write_text(tmp_path / "file" / "below.txt", "text")


def test_a_writer_that_replaces_its_temporary_file_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic(path) as temporary:
        moved = tmp_path / "other"
        moved.write_text("moved in")
        moved.replace(temporary)
    assert path.read_text() == "moved in"
    assert _names(tmp_path) == ["file.txt"]


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "text")
        assert os.umask(0o027) == 0o027, "the umask was changed"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "größer ≤ 3 Ω\n")
    assert (tmp_path / "file.txt").read_bytes() == "größer ≤ 3 Ω\n".encode()


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, "thing", 3, {"a": [1, 2.5, None], "b": "ü"})
    document = read_json(path, "thing", 3, BitMapError, "Do this.")
    assert document == {"schema": "thing", "version": 3, "a": [1, 2.5, None], "b": "ü"}
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_json_cannot_hold_is_not_written(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "file.json"
    write_json(path, "thing", 1, {"a": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, "thing", 1, {"a": value})
    assert json.loads(path.read_text())["a"] == 1
    assert _names(tmp_path) == ["file.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 200_000, "cannot be read as JSON"),
        (b"9" * 5000, "cannot be read as JSON"),
        (b"[]", "is not a thing file"),
        (b"null", "is not a thing file"),
        (b'"thing"', "is not a thing file"),
        (b"{}", "is not a thing file"),
        (b'{"schema": "other", "version": 1}', "is not a thing file"),
        (b'{"schema": "thing"}', "thing version None; this program reads version 1"),
        (b'{"schema": "thing", "version": 2}', "thing version 2; this program reads version 1"),
        (b'{"schema": "thing", "version": "1"}', "thing version '1'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_read_json_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message) as caught:
        read_json(path, "thing", 1, StoreError, "Do this.")
    assert str(path) in caught.value.message
    assert caught.value.hint == "Do this."


def test_read_json_of_several_versions(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for version in (1, 2):
        write_json(path, "thing", version, {"a": version})
        assert read_json(path, "thing", (1, 2), StoreError, "")["a"] == version
    for version in (0, 3, None, "1", [1]):
        path.write_text(json.dumps({"schema": "thing", "version": version}))
        with pytest.raises(StoreError, match="this program reads version 2"):
            read_json(path, "thing", (1, 2), StoreError, "")


def test_read_json_of_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        read_json(tmp_path / "none", "thing", 1, StoreError, "")
    with pytest.raises(StoreError, match="cannot be read"):
        read_json(tmp_path, "thing", 1, StoreError, "")


def test_digests_of_bytes_and_files(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256(b"") == empty
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_file(path) == sha256(b"abc" * 100_000)
    assert sha256(memoryview(b"abc")) == sha256(b"abc")


def test_array_digests_tell_type_shape_and_content() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    digest = sha256_array(array)
    # Written down once: a digest that changes orphans every cached profile.
    assert digest == "87858b08ea9f54284675f63b398303306d3e83aac89b1f918e5c15714a18c3e1"
    assert sha256_array(np.asfortranarray(array)) == digest
    assert sha256_array(array[:, ::-1][:, ::-1]) == digest
    for different in (array.ravel(), array.reshape(4, 3), array.astype(np.float64), array + 1):
        assert sha256_array(different) != digest


def test_json_digests_ignore_the_order_of_keys_only() -> None:
    digest = sha256_json({"a": 1, "b": [1, 2]})
    assert digest == "8baa73198470c7bb4c3ce142a8fd651affc0310d878bb9bd159e37a573fb4874"
    assert sha256_json({"b": (1, 2), "a": 1}) == digest
    assert sha256_json({"a": 1, "b": [2, 1]}) != digest
    assert sha256_json({"a": 1.0, "b": [1, 2]}) != digest


def test_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPTQ_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("GENPTQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "genptq"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "genptq"

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert cache_folder() == Path(tempfile.gettempdir()) / "genptq"


HOLD = """
import sys, time
from pathlib import Path
from genptq_core.storage.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def _holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds a folder until it is killed."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_waits_for_another_process_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with locked(tmp_path):
            entered.set()

    waiting = threading.Thread(target=enter)
    with _holder(tmp_path) as process:
        waiting.start()
        assert not entered.wait(0.3)
        process.kill()
        assert entered.wait(10)
        waiting.join()
    assert _names(tmp_path) == [LOCK_NAME]


def test_a_folder_is_used_without_a_lock_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):

        def refuse(handle: int, operation: int, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("fcntl.flock", refuse)
        with locked(tmp_path):
            pass


def test_an_error_under_a_lock_passes_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no room"), locked(tmp_path):
        raise OSError("no room")
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("folder", ["/proc/folder", "file/folder", "file"])
def test_a_folder_to_lock_that_cannot_be_written_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(GenPTQError, match=f"Cannot write .*{folder}: "),
        locked(tmp_path / folder),
    ):
        pass
