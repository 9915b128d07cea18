"""The served page over plain HTTP and its websocket: who may connect, and what may be sent."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.jobs import uploads
from genptq_core.cli import dashboard
from genptq_core.profile import save
from tests.core import synthetic

from .conftest import APP, ROOT, served


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page that the tests share."""
    folder = tmp_path_factory.mktemp("served")
    save(synthetic.profile(1, units=8), folder / "profiles" / "made-up")
    (folder / "cache").mkdir()
    with served(folder / "profiles", folder / "cache") as address:
        yield address


def _handshake(port: int, host: str, origin: str | None) -> int:
    """The status with which the page's websocket answers."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Upgrade: websocket",
        "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    if origin is not None:
        lines.append(f"Origin: {origin}")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(4096).split()[1])


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 101),
        ("localhost:{port}", "http://localhost:{port}", 101),
        ("[::1]:{port}", "http://[::1]:{port}", 101),
        ("127.0.0.1:{port}", None, 101),
        ("evil.example", "http://evil.example", 403),
        ("evil.example:{port}", "http://evil.example:{port}", 403),
        ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example", 403),
        ("evil.example", None, 403),
        ("localhost@evil.example", "http://localhost@evil.example", 403),
        ("127.0.0.1:{port}", "http://evil.example", 403),
        ("192.168.0.7:{port}", "http://192.168.0.7:{port}", 403),
    ],
)
def test_a_foreign_name_is_refused(page: str, host: str, origin: str | None, status: int) -> None:
    port = int(page.rstrip("/").rpartition(":")[2])
    asked = origin.format(port=port) if origin is not None else None
    assert _handshake(port, host.format(port=port), asked) == status


def test_the_settings_agree_with_the_program() -> None:
    settings = tomllib.loads((APP.parent / ".streamlit" / "config.toml").read_text())["server"]
    assert settings["maxUploadSize"] == uploads.LARGEST
    assert tuple(settings["allowedHosts"]) == dashboard.LOOPBACK


def _listening(process: int) -> set[str]:
    """The addresses, in hexadecimal, on which a process listens."""
    mine = {os.readlink(f) for f in Path(f"/proc/{process}/fd").iterdir() if f.is_symlink()}
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in mine:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system shows no /proc")
def test_streamlit_run_from_another_folder_stays_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / ".streamlit").mkdir()
    settings = '[server]\naddress = "0.0.0.0"\n[browser]\ngatherUsageStats = true\n'
    (tmp_path / ".streamlit" / "config.toml").write_text(settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1),
            ):
                break
            time.sleep(0.1)
        assert _listening(process.pid) == {"0100007F"}
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=20)
    assert "usage statistics" not in said.lower()
