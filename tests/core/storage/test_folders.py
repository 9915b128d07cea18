"""Delivery: a folder appears whole or not at all, whatever goes wrong."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genptq_core.errors import ExportError
from genptq_core.storage.folders import atomic_folder

MARK = "mark.json"


def _deliver(folder: Path, text: str = "one", size: int = 0) -> None:
    with atomic_folder(folder, MARK) as fresh:
        (fresh / MARK).write_text(text)
        (fresh / "deep").mkdir()
        (fresh / "deep" / "data").write_bytes(b"x" * size)


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


@contextmanager
def _files_end_at(size: int) -> Iterator[None]:
    """Writing beyond a size fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_folder_appears_whole_and_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    _deliver(out)
    assert (out / MARK).read_text() == "one"
    (out / "stale").write_text("of the earlier one")
    _deliver(out, "two")
    assert (out / MARK).read_text() == "two"
    assert sorted(p.name for p in out.iterdir()) == ["deep", MARK]
    assert list(out.parent.iterdir()) == [out]


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    _deliver(tmp_path)
    assert (tmp_path / MARK).exists()


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    before = _everything(tmp_path)
    with pytest.raises(ExportError, match="holds files that no export wrote"):
        _deliver(folder)
    with pytest.raises(ExportError, match="is a file"):
        _deliver(folder / "thesis.txt")
    assert _everything(tmp_path) == before


def test_a_parent_that_is_a_file_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = _everything(tmp_path)
    with pytest.raises(ExportError, match="Cannot write"):
        _deliver(tmp_path / "file" / "out")
    assert _everything(tmp_path) == before


def test_a_read_only_place_gets_a_sentence(tmp_path: Path) -> None:
    # Not even root writes to /proc.
    with pytest.raises(ExportError, match="Cannot write /proc/out: ") as caught:
        _deliver(Path("/proc/out"))
    assert caught.value.hint


@pytest.mark.parametrize("earlier", [True, False])
def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path, earlier: bool) -> None:
    out = tmp_path / "new" / "out"
    if earlier:
        _deliver(out)
    before = _everything(tmp_path)
    with pytest.raises(ExportError, match=r"Cannot write .*out: "), _files_end_at(4096):
        _deliver(out, "two", size=1_000_000)
    assert _everything(tmp_path) == before


@pytest.mark.parametrize("earlier", [True, False])
def test_any_failure_leaves_everything_as_it_was(tmp_path: Path, earlier: bool) -> None:
    out = tmp_path / "new" / "out"
    if earlier:
        _deliver(out)
    before = _everything(tmp_path)
    with pytest.raises(KeyboardInterrupt), atomic_folder(out, MARK) as fresh:
        (fresh / MARK).write_text("two")
        raise KeyboardInterrupt
    assert _everything(tmp_path) == before


def test_a_failed_rename_puts_the_earlier_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    _deliver(out)
    before, rename = _everything(tmp_path), Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ExportError, match="Input/output error"):
        _deliver(out, "two")
    assert _everything(tmp_path) == before
