"""`genptq dashboard`: open the page in a browser.

The page is Streamlit's, which the core does not import: it runs in a process of its own, with the
settings in `.streamlit` next to its script. It answers to the names of this machine alone; behind a
proxy, `$GENPTQ_HOSTS` names the proxy's, separated by commas.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import GenPTQError
from ..progress import Report
from .command import Answer, Command

PAGE = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
"""The page's script, installed next to the core."""

HOST = "127.0.0.1"
LOOPBACK = ("localhost", HOST, "::1")
"""Names that the page answers to, as in its settings."""

PORTS = range(8501, 8601)
"""Ports that are tried in turn where none is named."""

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""Settings of the page's process. An answer is many small products: two threads that wait for each
other gain little on an idle machine, and on a busy one they take many times as long as one."""

PATIENCE = 60.0
"""Seconds to wait for the page to answer before a browser is opened."""


@dataclass(frozen=True, kw_only=True)
class DashboardArguments:
    """How to open the page.

    Attributes:
        port: where it listens; None for the first free one of `PORTS`.
        browser: whether to open a browser.
    """

    port: int | None
    browser: bool


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument("--port", type=int, help=f"where it listens; {PORTS[0]} or the next free")
    parser.add_argument("--no-browser", action="store_true", help="only serve the page")


def from_flags(flags: argparse.Namespace) -> DashboardArguments:
    """The arguments that the flags state.

    Raises:
        GenPTQError: there is no such port.
    """
    if flags.port is not None and not 1 <= flags.port <= 65_535:
        raise GenPTQError(f"There is no port {flags.port}.", "Give one from 1024 to 65535.")
    return DashboardArguments(port=flags.port, browser=not flags.no_browser)


def run(arguments: DashboardArguments, report: Report) -> Answer:
    """The page's address, once the page has stopped.

    Raises:
        GenPTQError: the page is missing or failed, the port is taken, or a host is no name.
    """
    proxies = _proxies(os.environ.get("GENPTQ_HOSTS", ""))
    if not PAGE.is_file():
        raise GenPTQError(f"The page is not installed: {PAGE} is missing.", "Install it again.")
    port = _free_port(arguments.port)
    address = f"http://{HOST}:{port}"
    with _serving(port, proxies) as server:
        if arguments.browser and _has_display() and _answers(server, port):
            webbrowser.open(address)
        code = _wait(server)
    if code > 0:
        raise GenPTQError(f"The page stopped with exit code {code}.", "Its messages are above.")
    return Answer({"address": address}, f"The page at {address} has stopped.")


def _proxies(text: str) -> list[str]:
    """The names in a list with commas, in small letters.

    Raises:
        GenPTQError: one is none.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if len(name) > 253 or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
            raise GenPTQError(
                f"GENPTQ_HOSTS names {name[:60]!r}, which is no name of a machine.",
                "Give names without scheme and port, like models.example.com, with commas.",
            )
    return names


def _free_port(named: int | None) -> int:
    for port in PORTS if named is None else (named,):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    which = f"ports {PORTS[0]} to {PORTS[-1]} are" if named is None else f"port {named} is"
    raise GenPTQError(f"On {HOST}, {which} taken or not allowed.", "Name another with --port.")


@contextlib.contextmanager
def _serving(port: int, proxies: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The page's process, which ends when this one is told to."""
    environment = page_environment()
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE)]
    command += ["--server.address", HOST, "--server.port", str(port)]
    if proxies:
        for name in (*LOOPBACK, *proxies):
            command += ["--server.allowedHosts", name]
        for name in proxies:  # a proxy may ask in this machine's name for a page of its own
            command += ["--server.corsAllowedOrigins", f"https://{name}"]
    # Standard output is for the answer.
    server = subprocess.Popen(command, env=environment, stdout=sys.stderr.fileno())
    before = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        yield server
    finally:
        signal.signal(signal.SIGTERM, before)
        server.terminate()
        server.wait()


def page_environment() -> dict[str, str]:
    """What a process of the page's code is started with."""
    environment = {**ENVIRONMENT, **os.environ}
    if PAGE.parents[1] != Path.cwd():
        # The page imports `dashboard`, and this folder may hold another module of that name.
        environment["PYTHONSAFEPATH"] = "1"
    return environment


def _wait(server: subprocess.Popen[bytes]) -> int:
    """The exit code of the page's process, once it ends."""
    try:
        return server.wait()
    except KeyboardInterrupt:  # Ctrl-C reaches both processes
        server.terminate()
        return server.wait()


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Whether the page answers before its process ends, and in time."""
    end = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return True
        time.sleep(0.1)
    return False


def _has_display() -> bool:
    """Whether a browser has a window to open in: without one, it would take the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


COMMAND = Command(
    name="dashboard",
    about="Open the page in a browser.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
