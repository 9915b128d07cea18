"""Fixtures of the page's tests: a made-up profile on disk, with and without measurements."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.cli.main import main
from genptq_core.errors import PROGRAM
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import ship
from genptq_core.options import Option
from genptq_core.profile import Profile, load_profile, save
from genptq_core.speech.utterances import SpeechSet, load_manifest
from genptq_core.speech.wer import count_errors, paired_interval
from genptq_core.storage.locations import bundled_profiles
from tests.core import synthetic

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "data" / "speech" / "demo" / "manifest.jsonl"
APP = ROOT / "dashboard" / "app.py"
_BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_DRIVER = shutil.which("chromedriver") or ""
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1300",
)


def run_command(command: str, *more: str) -> str:
    """What a command line that the page shows prints, run from the repository's root."""
    program, arguments = shlex.split(PROGRAM), shlex.split(command)
    assert arguments[: len(program)] == program
    printed = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed):
        assert main([*arguments[len(program) :], *more]) == 0
    return printed.getvalue()


_STILL = """
new MutationObserver((_, watch) => {
  if (!document.head) return;
  watch.disconnect();
  document.head.appendChild(document.createElement("style")).textContent = "*, ::before, ::after {"
    + "animation-duration: 1ms !important; animation-iteration-count: 1 !important;"
    + "transition-duration: 1ms !important }";
}).observe(document, { childList: true, subtree: true });
"""
"""Ends animations at once: without a graphics card they take most of the browser's time."""

HOSTILE = "<b>bold</b> *star* $x$ :smile: [link](http://example.com)"


@pytest.fixture(scope="session", autouse=True)
def one_scan_of_what_is_installed() -> Iterator[None]:
    """Streamlit reads every installed package's metadata as a page opens: half a second.

    The packages stay the same while tests run, so that one reading serves all pages.
    """
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patch:
        scan = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made-up profile, to be copied."""
    folder = tmp_path_factory.mktemp("made") / "made-up"
    save(synthetic.profile(1, units=24, width=96), folder)
    return folder


@pytest.fixture
def profiles(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one made-up profile, which the page is told to use."""
    folder = tmp_path / "profiles"
    shutil.copytree(made_up, folder / "made-up")
    monkeypatch.setenv("GENPTQ_PROFILES", str(folder))
    return folder


@pytest.fixture
def profile(profiles: Path) -> Profile:
    """That profile."""
    return load_profile(profiles / "made-up")


@pytest.fixture(scope="session")
def made_formats(tmp_path_factory: pytest.TempPathFactory, demo: SpeechSet) -> Path:
    """The folder of a profile with options for two formats, measured in both, to be copied."""
    folder = tmp_path_factory.mktemp("made") / "formats"
    made = synthetic.profile(1, units=24, width=96, group_size=(64, 32), rates=(1.5, 2.25, 3, 4, 6))
    made = save(made, folder)
    maps = [(key,) * 24 for key in ("3/64", "4/32", "8/64", "16", "3", "4", "6")]
    maps += [("2.25", "3") * 12, ("3/64", "4/32") * 12, ("4/64", "8/64") * 12]
    ship(folder, [record(made, widths, demo) for widths in maps])
    return folder


@pytest.fixture
def formats(made_formats: Path, profiles: Path) -> Profile:
    """That profile's place taken by one with options for two formats, measured in both."""
    shutil.rmtree(profiles / "made-up")
    shutil.copytree(made_formats, profiles / "made-up")
    return load_profile(profiles / "made-up")


@pytest.fixture(scope="session")
def demo() -> SpeechSet:
    """The demo speech."""
    return load_manifest(DEMO)


@pytest.fixture(scope="session")
def seven(made_up: Path, demo: SpeechSet) -> list[Measured]:
    """Seven measured maps of the profile on the demo speech."""
    profile = load_profile(made_up)
    task = problem(profile)
    top = int(task.cost[:, -2].sum()) + task.fixed
    maps: list[Sequence[int | Option]] = [(b,) * len(profile.units) for b in (3, 4, 8)]
    sizes = np.geomspace(1.2 * task.smallest, 0.9 * top, 4)
    maps += [solve(task, int(size)).options for size in sizes]
    return [record(profile, widths, demo) for widths in maps]


@pytest.fixture
def records(seven: list[Measured], profiles: Path) -> list[Measured]:
    """Those maps, shipped beside the profile."""
    ship(profiles / "made-up", seven)
    return list(seven)


def record(profile: Profile, widths: Sequence[float | str | Option], speech: SpeechSet) -> Measured:
    """A made-up measurement: the lower the widths, the more words are replaced."""
    chosen = bit_map(profile, widths)
    figures = figures_of(profile, chosen)
    loss = figures.predicted_loss
    rng = np.random.default_rng(5)
    references = [u.text for u in speech.utterances]
    full = [_mishear(text, 0.05, rng) for text in references]
    heard = [_mishear(text, min(0.05 + loss, 0.9), rng) for text in references]
    heard[0] = HOSTILE
    before, after = count_errors(references, full), count_errors(references, heard)
    return Measured(
        label=HOSTILE if widths[0] == 3 else "",
        map_digest=chosen.digest,
        options=chosen.options,
        bytes=figures.bytes,
        avg_bits=figures.avg_bits,
        reduction_vs_fp32=1 - figures.bytes / (4 * profile.source.parameters),
        wer=after.wer,
        wer_full_precision=before.wer,
        wer_increase=after.wer - before.wer,
        ci95=paired_interval(before, after),
        loss=loss,
        predicted_loss=loss,
        speech=speech.name,
        speech_digest=speech.digest,
        utterances=len(speech),
        words=int(after.words.sum()),
        normalizer="whisper-english",
        method="made up",
        profile_digest=profile.digest,
        seconds=1.0,
        when="2026-01-01",
        transcripts=tuple(
            (u.digest, a, b) for u, a, b in zip(speech.utterances, full, heard, strict=True)
        ),
    )


def _mishear(text: str, rate: float, rng: np.random.Generator) -> str:
    return " ".join("wrong" if rng.random() < rate else word for word in text.split())


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium of its own, which saves downloads to `browser.downloads`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (_BINARY and _DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = _BINARY
    for flag in _FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
    driver.downloads = downloads
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _STILL})
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    """That Chromium, which leaves its last page: one goes on asking its server for news."""
    yield chromium
    chromium.get("about:blank")


@dataclass(frozen=True)
class Site:
    """A running page with profiles `whisper-tiny.en`, `made-up` and `formats`."""

    address: str
    profiles: Path
    cache: Path

    def url(self, profile: str, tab: str = "", **params: str | list[str]) -> str:
        """An address."""
        chosen = {"model": profile, **({"tab": tab} if tab else {}), **params}
        return f"{self.address}?{urlencode(chosen, doseq=True)}"


@pytest.fixture(scope="package")
def site(
    made_up: Path, made_formats: Path, demo: SpeechSet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One server for all browser tests; what a test writes there, no other looks at."""
    profiles, cache = tmp_path_factory.mktemp("profiles"), tmp_path_factory.mktemp("site-cache")
    shutil.copytree(made_formats, profiles / "formats")
    shutil.copytree(made_up, profiles / "made-up")
    (profiles / "whisper-tiny.en").symlink_to(bundled_profiles() / "whisper-tiny.en")
    made = load_profile(made_up)
    maps = [(bits,) * 24 for bits in (3, 4, 6, 8)]
    maps += [(3, 4) * 12, (4, 6) * 12, (3, 8) * 12, (4, 8) * 12, (6, 8) * 12]
    ship(profiles / "made-up", [record(made, widths, demo) for widths in maps])
    with served(profiles, cache) as address:
        yield Site(address, profiles, cache)


@contextlib.contextmanager
def served(profiles: Path, cache: Path) -> Iterator[str]:
    """The page on a free port, with a folder of profiles and a cache folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GENPTQ_PROFILES": str(profiles), "GENPTQ_CACHE": str(cache)}
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
    log = cache / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}/"
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{address}_stcore/health", timeout=1),
            ):
                break
            time.sleep(0.2)
        else:
            raise AssertionError(log.read_text())
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)
