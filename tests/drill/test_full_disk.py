"""A full disk: exports, profiles, measurements and bit maps end in one line and leave nothing."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import write_bit_map
from genptq_core.cli.main import main
from genptq_core.loading import load_model
from genptq_core.profile import load_profile, save
from genptq_core.storage.files import disk_fault
from tests.conftest import PROGRESS
from tests.core import synthetic
from tests.drill import ledger

WAYS = ["profile", "solve", "front", "measure", "native", "integer", "compressed-tensors", "onnx",
        "hqq"]  # fmt: skip


@contextmanager
def small_disk(folder: Path, room: int) -> Iterator[None]:
    """A file system with little room at a folder; skips where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=False)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Writing beyond a size fails, as on a full disk; needs no rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="module")
def made(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    profile = save(
        synthetic.profile_of(load_model(str(random_whisper)), bits=(2, 3, 4, 8), group_size=(8,)),
        folder / "profile",
    )
    wide = ("convolution", "embedding")  # what some targets leave at 16 bit
    widths = ["16" if unit.kind in wide else "4/8" for unit in profile.units]
    write_bit_map(folder / "map.json", profile, bit_map(profile, widths))
    # ONNX Runtime has no groups as small as these layers.
    write_bit_map(folder / "onnx.json", profile, bit_map(profile, ["16"] * len(widths)))
    return folder


@pytest.fixture
def given(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile without measurements, and a bit map."""
    return shutil.copytree(made, tmp_path_factory.mktemp("copy") / "given")


def command(way: str, given: Path, model: Path, speech: Path, out: Path) -> list[str]:
    name = "onnx.json" if way == "onnx" else "map.json"
    profile, chosen = ["--profile", str(given / "profile")], ["--bitmap", str(given / name)]
    heard = ["--speech", str(speech), "--limit", "2"]
    if way == "profile":
        ways = ["--bits", "2", "--group-size", "8", "--rates", "0", "--draws", "1"]
        return ["profile", "--model", str(model), *heard, *ways, "--out", str(out)]
    if way == "solve":
        return ["solve", *profile, "--avg-bits", "3", "--out", str(out)]
    if way == "front":
        return ["front", *profile, "--out", str(out)]
    if way == "measure":
        return ["measure", *profile, *chosen, *heard, "--model", str(model)]
    return ["export", *profile, *chosen, "--model", str(model), "--target", way, "--out", str(out)]


@pytest.mark.parametrize("room", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    way: str,
    room: int,
    given: Path,
    random_whisper: Path,
    tones: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "onnx":
        pytest.importorskip("onnx")
    disk = tmp_path / "disk"
    with small_disk(disk, 256 << 10):
        # Room for two blocks, or for none: a file can be made, and its content fails.
        monkeypatch.setenv("GENPTQ_CACHE", str(disk if way == "measure" else tmp_path / "cache"))
        with (disk / "filler").open("wb") as filler:
            free = os.statvfs(disk).f_bavail - room
            filler.write(b"x" * (4096 * free))
        before = sorted(disk.iterdir())
        code = main(command(way, given, random_whisper, tones, disk / "out"))
        said = [
            line for line in capfd.readouterr().err.splitlines() if not PROGRESS.fullmatch(line)
        ]
        if code == 0:  # it fits
            assert room and way in ("solve", "front", "hqq", "measure")
            return
        sound = code == 2 and len(said) == 1 and ("space" in said[0] or "full" in said[0])
        left = [p for p in sorted(disk.iterdir()) if p not in before]
        kept = [path.name for path in left if way != "measure"]
        halves = list(disk.rglob(".*.tmp"))
        good = sound and not kept and not halves
        ledger.note("environment: full disk", ledger.NAMED if good else ledger.FAILED)
        assert good, (code, said, left, halves)


@pytest.mark.parametrize("way", ["profile", "solve", "native", "compressed-tensors"])
def test_what_was_there_stays_when_a_file_grows_too_large(
    way: str,
    given: Path,
    random_whisper: Path,
    tones: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    earlier = command(way, given, random_whisper, tones, out)
    assert main(earlier) == 0
    files = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    changed = [*earlier, "--seed", "1"] if way == "profile" else earlier
    capfd.readouterr()
    with files_end_at(1000):
        code = main(changed)
    said = [line for line in capfd.readouterr().err.splitlines() if not PROGRESS.fullmatch(line)]
    assert (code, len(said)) == (2, 1), said
    assert "Cannot write" in said[0] and "File too large" in said[0]
    assert {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == files
    if way == "profile":
        assert load_profile(out)
    ledger.note("environment: full disk", ledger.NAMED)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("target", ["native", "compressed-tensors", "onnx", "hqq"])
def test_exports_have_the_permissions_of_new_files(
    target: str, mask: int, given: Path, random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    if target == "onnx":
        pytest.importorskip("onnx")
    out = tmp_path / "deep" / "out"
    before = os.umask(mask)
    try:
        assert main(command(target, given, random_whisper, tones, out)) == 0
        made = [out.parent, out, *sorted(out.rglob("*"))]
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in made}
    finally:
        os.umask(before)
    usual = {path: (0o777 if path.is_dir() else 0o666) & ~mask for path in made}
    assert modes == usual


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("No space left on device (os error 28)"), "os error 28"),
        (ValueError("words"), None),
        (KeyError("file"), None),
    ],
)
def test_faults_of_the_disk_are_told_from_others(error: Exception, reason: str | None) -> None:
    found = disk_fault(error)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


def test_a_fault_of_the_disk_is_found_behind_another_error() -> None:
    def wrapped(code: int) -> Exception:
        try:
            try:
                raise OSError(code, os.strerror(code))
            except OSError:
                raise RuntimeError("Saving failed")  # noqa: B904
        except RuntimeError as error:
            return error

    assert disk_fault(wrapped(28)) == "No space left on device"
    assert disk_fault(wrapped(2)) is None
