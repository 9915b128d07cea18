"""Leftovers: only this program's, only stale ones, never of a living process or behind a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from genptq_core.errors import GenPTQError
from genptq_core.storage.files import atomic, write_text
from genptq_core.storage.folders import atomic_folder
from genptq_core.storage.leftovers import doubtful_leftovers, leftovers

OURS = ".file.txt.genptq-0123abcd.tmp"
OLDER = ".file.txt.ab_12xyz.tmp"
OTHERS = (".x.y.tmp", ".file.txt.tmp", ".~lock.tmp", ".file.txt.genptq-XYZ.tmp", "file.genptq.tmp")


def _old(path: Path, folder: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        path.mkdir()
        (path / "inside").write_text("half")
        os.utime(path / "inside", (0, 0))
    else:
        path.write_text("half")
    os.utime(path, (0, 0))
    return path


@pytest.mark.parametrize("folder", [False, True])
def test_only_marked_names_are_left_by_this_program(tmp_path: Path, folder: bool) -> None:
    ours = _old(tmp_path / OURS, folder)
    older = _old(tmp_path / OLDER, folder)
    others = [_old(tmp_path / name, folder) for name in OTHERS]
    assert leftovers(tmp_path) == [ours]
    assert doubtful_leftovers(tmp_path) == [older]
    write_text(tmp_path / "file.txt", "new")
    assert not ours.exists() and older.exists() and all(path.exists() for path in others)


def test_older_names_count_in_the_folders_of_the_cache_only(cache: Path) -> None:
    inside = _old(cache / "shards" / "ab" / OLDER)
    beside = _old(cache / OLDER)
    foreign = _old(cache / "photos" / OLDER)
    assert leftovers(cache, below=True) == [inside]
    assert doubtful_leftovers(cache, below=True) == [beside, foreign]


def test_a_young_or_living_file_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / OURS).write_text("half")
    assert leftovers(tmp_path) == []
    with atomic(tmp_path / "other.txt") as temporary:
        temporary.write_text("slowly")
        os.utime(temporary, (0, 0))
        assert leftovers(tmp_path) == []
        write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "other.txt").read_text() == "slowly"


def test_a_folder_that_is_written_for_hours_is_no_leftover(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", "mark") as fresh:
        (fresh / "mark").write_text("slowly")
        for path in (fresh / "mark", fresh, fresh.parent):
            os.utime(path, (0, 0))
        assert leftovers(tmp_path) == []
        # Another process writes to the same place, and is done first.
        with atomic_folder(tmp_path / "out", "mark") as second:
            (second / "mark").write_text("quickly")
    assert (tmp_path / "out" / "mark").read_text() == "slowly"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_something_young_inside_is_no_leftover(tmp_path: Path) -> None:
    folder = _old(tmp_path / OURS, folder=True)
    (folder / "inside").write_text("just now")
    os.utime(folder, (0, 0))
    assert leftovers(tmp_path) == []


def test_links_are_no_leftovers_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    _old(outside / OURS)
    place = tmp_path / "place"
    place.mkdir()
    (place / "link").symlink_to(outside)
    (place / OURS).symlink_to(outside / "precious")
    (outside / "precious").mkdir()
    os.utime(place / OURS, (0, 0), follow_symlinks=False)
    assert leftovers(place, below=True) == []
    write_text(place / "file.txt", "new")
    assert (outside / "precious").is_dir() and (outside / OURS).exists()


def test_names_with_signs_are_matched_as_they_are(tmp_path: Path) -> None:
    other = _old(tmp_path / ".fileXtxt.genptq-0123abcd.tmp")
    starred = _old(tmp_path / ".*.genptq-0123abcd.tmp")
    write_text(tmp_path / "file.txt", "new")
    assert other.exists() and starred.exists()
    write_text(tmp_path / "*", "new")
    assert other.exists() and not starred.exists()


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "pipe", "folder", "link to pipe"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to pipe").symlink_to("pipe")
    before = os.lstat(tmp_path / name)
    with pytest.raises(GenPTQError, match="Cannot write"):
        write_text(tmp_path / name, "text")
    after = os.lstat(tmp_path / name)
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)


def test_a_failure_leaves_no_new_folders(tmp_path: Path) -> None:
    with pytest.raises(GenPTQError), atomic(tmp_path / "a" / "b" / "file.txt"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
