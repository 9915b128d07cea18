"""`genptq dashboard`: the page from any folder, with its settings, on this machine alone."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

from genptq_core.cli import dashboard
from genptq_core.cli.main import main


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((dashboard.HOST, 0))
        return int(probe.getsockname()[1])


def test_it_serves_the_page_from_any_folder_until_it_is_stopped(tmp_path: Path, port: int) -> None:
    (tmp_path / "dashboard").mkdir()
    (tmp_path / "dashboard" / "__init__.py").write_text("raise ImportError('another dashboard')")
    command = [sys.executable, "-m", "genptq_core", "dashboard", "--no-browser", "--json"]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as answer,
            ):
                assert answer.status == 200
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the page does not answer")
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out) == {"address": address}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((dashboard.HOST, port), timeout=1)


def test_its_settings_lie_next_to_its_script(tmp_path: Path) -> None:
    code = (
        "import json, streamlit.config as config; "
        f"config._main_script_path = {str(dashboard.PAGE)!r}; "
        "names = ('server.address', 'browser.gatherUsageStats', 'theme.primaryColor'); "
        "print(json.dumps([config.get_option(name) for name in names]))"
    )
    # A folder's own settings give way to those of the page.
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[server]\naddress = "0.0.0.0"\n')
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(shown.stdout) == ["127.0.0.1", False, "#0072B2"]


def test_ports_that_cannot_be_are_refused(capsys: pytest.CaptureFixture[str], port: int) -> None:
    assert main(["dashboard", "--port", "0"]) == 2
    assert "There is no port 0." in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind((dashboard.HOST, port))
        taken.listen()
        assert main(["dashboard", "--port", str(port)]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err


@pytest.mark.parametrize("names", ["https://a.example", "a.example:80", "*", "a b", "a/", "ü.de"])
def test_a_host_that_is_no_name_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setenv("GENPTQ_HOSTS", f"b.example,{names}")
    assert main(["dashboard", "--no-browser"]) == 2
    assert f"GENPTQ_HOSTS names {names!r}, which is no name" in capsys.readouterr().err


def test_a_proxy_is_named_to_the_page(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    started: list[list[str]] = []

    class Ended:
        returncode = 0

        def __init__(self, command: list[str], **_: object) -> None:
            started.append(command)

        def wait(self) -> int:
            return 0

        def terminate(self) -> None:
            pass

    monkeypatch.setattr(dashboard.subprocess, "Popen", Ended)
    monkeypatch.setattr(dashboard.sys, "stderr", dashboard.sys.__stderr__)
    monkeypatch.setenv("GENPTQ_HOSTS", " Models.example.com ,")
    assert main(["dashboard", "--no-browser", "--port", str(port)]) == 0
    words = started[0]
    hosts = [b for a, b in pairwise(words) if a == "--server.allowedHosts"]
    assert hosts == [*dashboard.LOOPBACK, "models.example.com"]
    assert words[-2:] == ["--server.corsAllowedOrigins", "https://models.example.com"]
