"""How quick the page is, in a real browser; and the screenshots in the README.

    python -m benchmarks.dashboard                        # slider, tiny.en
    python -m benchmarks.dashboard --shape large-v3       # the same on a profile of that shape
    python -m benchmarks.dashboard --memory 500           # the browser's and the server's memory
    python -m benchmarks.dashboard --moves 0 --drag 60    # how far a drag is from the exact answer
    python -m benchmarks.dashboard --sessions 10          # as many browsers' sessions at once
    python -m benchmarks.dashboard --moves 0 --screenshot docs/dashboard.png --moving docs/drag.webp

A move drags the size slider to a size drawn at random and lets go. While it is dragged, figures,
front and layers follow on every frame: what a frame takes is the time of the page's main thread
from its beginning until it is painted. From the release, time runs until the first frame that shows
the exact answer. All is measured in the page itself. Needs Chromium and its driver. A busy machine
is slow: the load is printed next to each figure.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from genptq_core.cli.dashboard import ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "data" / "profiles" / "whisper-tiny.en"
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--enable-precise-memory-info --js-flags=--expose-gc"
)
PATIENCE = 120.0
"""Seconds to wait for anything."""

# Notes how long each release takes until the exact answer is drawn, and each frame of a drag.
WATCH = """
window.moves = [];
window.frames = [];
const screen_ = document.querySelector('.genptq');
window.shown = () => [screen_.dataset.digest, screen_.dataset.revision];
for (const slide of document.querySelectorAll('.genptq .slide'))
  slide.addEventListener('change', () => {
    const start = performance.now(), before = screen_.dataset.revision;
    const look = () => {
      if (screen_.dataset.revision !== before)
        requestAnimationFrame(() => window.moves.push(performance.now() - start));
      else if (performance.now() - start < 60000) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
const star = document.querySelector('.genptq .star');
const after = new MessageChannel();
let began = 0, moved = false;
new MutationObserver(() => { moved = true; }).observe(star, {attributes: true});
after.port1.onmessage = () => { if (moved) window.frames.push(performance.now() - began); };
// Asked for before the drag asks for its frame, so it runs first in each.
const tick = () => {
  began = performance.now();
  moved = false;
  requestAnimationFrame(tick);
  after.port2.postMessage(0);
};
requestAnimationFrame(tick);
"""
AWAITS = "return document.querySelector('.genptq').dataset.awaits"
"""Whether more of a large model's maps are still to come."""

THUMB = """
const slide = document.querySelector('[data-knob=size] .slide');
slide.scrollIntoView({block: 'nearest'});
const r = slide.getBoundingClientRect();
return [r.left + 8 + (r.width - 16) * slide.value / slide.max, r.top + r.height / 2,
        r.left + 8, r.right - 8];
"""
STEPS = 12
"""Places of the pointer between the start and the end of a drag."""


@dataclass(frozen=True)
class Page:
    """A server of the page: where it is, its process, and its cache."""

    address: str
    process: int
    cache: Path


@contextmanager
def server(profiles: Path | None = None, root: Path = ROOT) -> Iterator[Page]:
    """A checkout's page on a free port of the loopback interface, with a cache of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py"]
    command += ["--server.port", str(port), "--server.headless", "true"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**ENVIRONMENT, **os.environ, "GENPTQ_CACHE": cache}
        environment["PYTHONPATH"] = str(root)
        if profiles is not None:
            environment["GENPTQ_PROFILES"] = str(profiles)
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(400):
                try:
                    with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                        break
                except OSError:
                    time.sleep(0.1)
            yield Page(address, process.pid, Path(cache))
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own."""
    driver_path, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver_path or not chromium:
        sys.exit("Chromium and its driver are needed: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (*ARGUMENTS.split(), f"--user-data-dir={folder}"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={width},{height}")
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
        try:
            yield driver
        finally:
            driver.quit()


def wait_for_charts(driver: webdriver.Chrome) -> None:
    """Wait until the screen shows an exact answer."""
    drawn = """
    return Boolean(document.querySelector('.genptq')?.dataset.digest
      && document.querySelector('.front path.line') && document.querySelector('.layers .dots'));
    """
    WebDriverWait(driver, PATIENCE, 0.05).until(lambda d: d.execute_script(drawn))


def shown(driver: webdriver.Chrome) -> list[str]:
    """The pick's digest, and how often an exact answer was drawn."""
    return list(driver.execute_script("return window.shown()"))


def drag(driver: webdriver.Chrome, place: float) -> None:
    """Drag the size slider's thumb to a share of its length, and let go."""
    x, y, left, right = driver.execute_script(THUMB)
    end = left + place * (right - left)
    steps = [("mouseMoved", x, 0), ("mousePressed", x, 1)]
    steps += [("mouseMoved", x + (end - x) * (i + 1) / STEPS, 1) for i in range(STEPS)]
    steps.append(("mouseReleased", end, 0))
    for kind, at, buttons in steps:
        _mouse(driver, kind, at, y, buttons)


def moves(driver: webdriver.Chrome, count: int, seed: int = 0, pause: float = 0.2) -> np.ndarray:
    """Milliseconds from release to redrawn page, one per move to a size drawn at random."""
    rng = np.random.default_rng(seed)
    driver.execute_script(WATCH)
    while (recorded := int(driver.execute_script("return window.moves.length"))) < count:
        before = shown(driver)[0]
        drag(driver, float(rng.uniform(0.02, 0.98)))
        end = time.monotonic() + 1.0  # the same size again changes nothing
        while time.monotonic() < end and shown(driver)[0] == before:
            time.sleep(0.01)
        if shown(driver)[0] != before:
            WebDriverWait(driver, PATIENCE, 0.01).until(
                lambda d, recorded=recorded: (
                    d.execute_script("return window.moves.length") > recorded
                )
            )
        time.sleep(pause)
    return np.array(driver.execute_script("return window.moves"))


def _resident(process: int) -> float:
    """Resident memory of a process, MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return float(line.split()[1]) / 1e3
    return float("nan")


def _heap(driver: webdriver.Chrome) -> float:
    """The page's JavaScript heap after collecting garbage, MB."""
    script = "window.gc?.(); return performance.memory.usedJSHeapSize / 1e6"
    driver.execute_script(script)
    return float(driver.execute_script(script))


def _say(what: str, times: np.ndarray, each: str = "moves") -> None:
    load = os.getloadavg()[0]
    print(
        f"{what}, {len(times)} {each}: median {np.median(times):.0f} ms, 95th percentile "
        f"{np.quantile(times, 0.95):.0f} ms, fastest {times.min():.0f} ms (load {load:.1f} on "
        f"{os.cpu_count()} cores)",
        flush=True,
    )


def _pictures(driver: webdriver.Chrome, still: Path | None, moving: Path | None) -> None:
    """The first screen as a picture, and as a moving one of a drag to a small size and back."""
    from PIL import Image

    screen = {"width": 1440, "height": 860, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    time.sleep(3)
    if still is not None:
        driver.save_screenshot(str(still))
    if moving is None:
        return
    x, y, left, right = driver.execute_script(THUMB)
    ends = np.array([x, left + 0.12 * (right - left), left + 0.55 * (right - left), x])
    steps = np.interp(np.linspace(0, 3, 40), np.arange(4), ends)
    frames = []
    _mouse(driver, "mousePressed", x, y, 1)
    for at in steps:
        _mouse(driver, "mouseMoved", at, y, 1)
        time.sleep(0.05)
        frames.append(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB"))
    _mouse(driver, "mouseReleased", x, y, 0)
    small = [frame.resize((1008, 602), Image.Resampling.LANCZOS) for frame in frames]
    small[0].save(moving, save_all=True, append_images=small[1:], duration=110, loop=0, quality=70)


def _mouse(driver: webdriver.Chrome, kind: str, x: float, y: float, buttons: int) -> None:
    event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def _say_moves(driver: webdriver.Chrome, count: int, what: str) -> None:
    """Frames and answers of some moves; of a large model also before all its maps are found."""
    if driver.execute_script(AWAITS):
        _say_some_moves(driver, count, f"{what}, while its table is being found")
        WebDriverWait(driver, PATIENCE, 0.2).until(lambda d: not d.execute_script(AWAITS))
    _say_some_moves(driver, count, what)


def _say_some_moves(driver: webdriver.Chrome, count: int, what: str) -> None:
    times = moves(driver, count)
    frames = np.array(driver.execute_script("return window.frames"))
    _say(f"frames of a drag, {what}", frames, "frames")
    _say(f"release to exact answer, {what}", times)


def _shape(name: str, folder: Path) -> Path:
    """A folder of profiles that holds tiny.en's in another shape."""
    from benchmarks.shapes import shaped
    from genptq_core.profile import load_profile, save

    save(shaped(load_profile(TINY), name), folder / name)
    return folder


def _drag_error(folder: Path, count: int) -> None:
    """How much more the maps of a drag lose than exact answers, at sizes drawn at random."""
    from genptq_core.allocation.drag import NEGLIGIBLE, drag_table
    from genptq_core.allocation.front import predicted_front
    from genptq_core.allocation.problem import problem
    from genptq_core.allocation.solving import solve
    from genptq_core.profile import load_profile

    task = problem(load_profile(folder), target="native")
    front = predicted_front(task)
    table = drag_table(task, front)
    heights = np.log(np.maximum(front.loss, NEGLIGIBLE))
    wanted = np.random.default_rng(1).uniform(heights[-1], heights[0], count)
    off = []
    for size in np.interp(-wanted, -heights, front.bytes.astype(np.float64)).astype(np.int64):
        point, exact = table.at(int(size)), solve(task, int(size)).predicted_loss
        off.append(max(table.loss[point], NEGLIGIBLE) / max(exact, NEGLIGIBLE) - 1)
        if table.bytes[point] > max(size, table.bytes[0]):
            sys.exit(f"The drag shows {table.bytes[point]} bytes at a budget of {size}.")
    print(
        f"a drag's predicted loss above the exact one's, {count} sizes, {len(table.bytes)} maps: "
        f"mean {100 * np.mean(off):.1f} %, largest {100 * np.max(off):.1f} %",
        flush=True,
    )


def _memory(page: Page, driver: webdriver.Chrome, count: int) -> None:
    before = _resident(page.process), _heap(driver)
    for moved in range(100, count + 1, 100):
        driver.execute_script("window.moves = []")
        moves(driver, 100, seed=moved, pause=0.0)
        print(
            f"after {moved} moves: server {_resident(page.process):.0f} MB (from {before[0]:.0f}), "
            f"page's heap {_heap(driver):.1f} MB (from {before[1]:.1f})",
            flush=True,
        )


def _sessions(page: Page, count: int, each: int) -> None:
    """As many sessions at once, each at sizes of its own; fails if one shows another's pick."""
    with ExitStack() as stack:
        driver = stack.enter_context(browser())
        driver.get(page.address)
        wait_for_charts(driver)
        windows = [driver.current_window_handle]
        for _ in range(count - 1):
            driver.switch_to.new_window("window")
            driver.get(page.address)
            wait_for_charts(driver)
            windows.append(driver.current_window_handle)
        times, picks = [], {}
        for turn, window in enumerate(windows):
            driver.switch_to.window(window)
            times.append(moves(driver, each, seed=turn))
            picks[window] = shown(driver)[0], driver.current_url
        for window, (digest, address) in picks.items():
            driver.switch_to.window(window)
            if (shown(driver)[0], driver.current_url) != (digest, address):
                sys.exit(f"A session shows {shown(driver)[0]}, not its own {digest}.")
        _say(f"{count} sessions open, one moving", np.concatenate(times))
    print(f"{count} sessions, {len({d for d, _ in picks.values()})} picks, each its own")


def _prioritize(process: int, level: int) -> None:
    """Give a process of ours and its children a priority; what else runs then disturbs less."""
    listed = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True)
    for child in listed.stdout.split():
        _prioritize(int(child), level)
    os.setpriority(os.PRIO_PROCESS, process, level)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the page, and take its picture where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--shape", help="a Whisper in shape, such as large-v3, with drawn scores")
    parser.add_argument("--memory", type=int, default=0, metavar="MOVES")
    parser.add_argument("--sessions", type=int, default=0)
    parser.add_argument(
        "--priority", type=int, help="nice level of the page and the browser, such as -15"
    )
    parser.add_argument("--drag", type=int, default=0, metavar="SIZES")
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--moving", type=Path, help="a WebP file of a drag")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        profiles = None
        if options.shape:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            profiles = _shape(options.shape, Path(folder))
        if options.drag:
            _drag_error(TINY if profiles is None else profiles / options.shape, options.drag)
        pictured = options.screenshot or options.moving
        if not (options.moves or options.memory or options.sessions or pictured):
            return
        started = time.perf_counter()
        page = stack.enter_context(server(profiles))
        driver = stack.enter_context(browser())
        up = time.perf_counter()
        driver.get(page.address)
        wait_for_charts(driver)
        print(
            f"cold start: {time.perf_counter() - started:.1f} s from the command to the first map, "
            f"{time.perf_counter() - up:.1f} s of it since the address was opened",
            flush=True,
        )
        if pictured:
            _pictures(driver, options.screenshot, options.moving)
        if options.priority is not None:
            for process in (page.process, driver.service.process.pid):
                _prioritize(process, options.priority)
        if options.moves:
            name = options.shape or "tiny.en"
            _say_moves(driver, options.moves, name)
        if options.memory:
            driver.execute_script(WATCH)
            _memory(page, driver, options.memory)
        if options.sessions:
            _sessions(page, options.sessions, 3)


if __name__ == "__main__":
    main()
