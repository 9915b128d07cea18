"""Many users at once: real browsers that move, measure and export, and clients that only ask.

    python -m benchmarks.users --browsers 10 --minutes 10
    python -m benchmarks.users --clients 100 --minutes 2

Each browser is a Chromium of its own. It moves the size slider again and again, and now and then
has its pick measured on two utterances, or exported. After each action, once the page rests, it
must show the map that the solver gives for the size in its own address, and still so when the next
begins; a page that shows another, or an error, ends the run with exit code 1. Clients are
connections that fetch the page and its health over and over; each must be answered, and how long
it took is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.dashboard import (
    PATIENCE,
    TINY,
    WATCH,
    Page,
    _resident,
    browser,
    drag,
    server,
    shown,
    wait_for_charts,
)
from dashboard.page.knobs import SHORT
from genptq_core import Problem, Profile, bit_map, load_profile, problem, solve

MEASURES, EXPORTS = 0.03, 0.03
"""Fractions of a user's actions that are measurements and exports."""
_IDLE = 8
"""Looks, a tenth of a second apart, that must find a page idle before it counts as resting."""
DRAIN = 1200.0
"""Seconds that the queue may take to end what was asked for."""


class Fault(Exception):
    """A page showed what it must not."""


def _click(driver: webdriver.Chrome, selector: str) -> None:
    def click(page: webdriver.Chrome) -> bool:
        element = page.find_element(By.CSS_SELECTOR, selector)
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        return True

    wait = WebDriverWait(driver, PATIENCE, 0.2, ignored_exceptions=(WebDriverException,))
    wait.until(click)


def _open(driver: webdriver.Chrome, page: Page, tab: str, **params: str) -> None:
    query = "".join(f"&{name}={value}" for name, value in params.items())
    driver.get(f"{page.address}/?tab={tab}{query}")
    wait_for_charts(driver)
    driver.execute_script(WATCH)


def _rest(driver: webdriver.Chrome) -> None:
    """Wait until the page has drawn all that it was asked for.

    A page that watches a job runs every moment or two, so what counts is how often it was found
    idle while it showed the same, not for how long at a stretch.
    """
    resting = """
    const shown = document.querySelector('.genptq')?.dataset.digest;
    const idle = document.querySelector('[data-test-script-state="notRunning"]') !== null;
    return [idle && shown !== undefined, shown + location.search];
    """
    end, idle, last = time.monotonic() + PATIENCE, 0, ""
    while idle < _IDLE:
        rests, shows = driver.execute_script(resting)
        idle = idle + rests if shows == last else 0
        last = shows
        if time.monotonic() > end:
            raise Fault(f"the page does not come to rest: {_state(driver)}")
        time.sleep(0.1)


def _state(driver: webdriver.Chrome) -> str:
    """What a page that is at fault shows."""
    script = """
    return [location.search, document.querySelector('[data-test-script-state]')
      ?.dataset.testScriptState, document.body.innerText.slice(0, 600)].join(' | ')
    """
    return str(driver.execute_script(script)).replace("\n", " / ")


@lru_cache(maxsize=1024)
def _solved(megabytes: str) -> str:
    """The map that the solver gives for a size, by the page's short digest."""
    profile, task = _task()
    size = round(float(megabytes) * 1e6)
    return bit_map(profile, solve(task, size).options).digest[:SHORT]


@lru_cache(maxsize=1)
def _task() -> tuple[Profile, Problem]:
    profile = load_profile(TINY)
    return profile, problem(profile)


def _own(driver: webdriver.Chrome) -> str:
    """The pick's digest, once it is that of the size in the address; a slow page may take long."""
    end = time.monotonic() + PATIENCE
    while True:
        digest = shown(driver)[0]
        asked = parse_qs(urlparse(driver.current_url).query)
        size, by_hand = asked.get("mb", [""])[0], asked.get("pick", [""])[0]
        # A press that the page slid away from may hit a measured map, which is then the pick.
        wanted = by_hand or (_solved(size) if size else digest)
        if digest and digest == wanted:
            return digest
        if time.monotonic() > end:
            raise Fault(f"{digest} is shown, not {wanted}: {_state(driver)}")
        time.sleep(0.1)


def _check(driver: webdriver.Chrome) -> None:
    if driver.find_elements(By.CSS_SELECTOR, "[data-testid='stException']"):
        raise Fault(driver.find_element(By.CSS_SELECTOR, "[data-testid='stException']").text)


def _move(driver: webdriver.Chrome, place: float) -> None:
    drag(driver, place)
    time.sleep(0.2)
    _rest(driver)


def user(page: Page, seed: int, until: float, did: Counter[str], picks: dict[int, str]) -> None:
    """What one browser does until a time."""
    rng = np.random.default_rng(seed)
    with browser(1280, 1200) as driver:
        _open(driver, page, "Table")
        _rest(driver)
        while time.monotonic() < until:
            kind = rng.random()
            size = parse_qs(urlparse(driver.current_url).query).get("mb", [""])[0]
            here = {"mb": size} if size else {}
            if kind < MEASURES:
                _open(driver, page, "Measure", **here)
                _rest(driver)
                field = WebDriverWait(driver, PATIENCE, 0.2).until(
                    lambda d: d.find_element(By.CSS_SELECTOR, ".st-key-measure_limit input")
                )
                field.send_keys(Keys.CONTROL + "a")
                field.send_keys("2" + Keys.ENTER)
                _click(driver, ".st-key-measure_this button")
                did["measurements asked for"] += 1
            elif kind < MEASURES + EXPORTS:
                _open(driver, page, "Export", **here)
                _rest(driver)
                _click(driver, ".st-key-export-native button:not([disabled])")
                did["exports asked for"] += 1
            else:
                _move(driver, float(rng.uniform(0.02, 0.98)))
                did["moves"] += 1
            _rest(driver)
            own = _own(driver)
            time.sleep(float(rng.uniform(0.5, 3.0)))
            if shown(driver)[0] != own:
                raise Fault(f"browser {seed} shows {shown(driver)[0]}, not its own {own}")
            _check(driver)
            picks[seed] = own


def _states(cache: Path) -> Counter[str]:
    """States of the jobs in a server's queue."""
    with contextlib.closing(sqlite3.connect(cache / "jobs.sqlite")) as file:
        return Counter(
            {s: n for s, n in file.execute("SELECT state, count(*) FROM jobs GROUP BY 1")}
        )


def _live(cache: Path) -> int:
    """Jobs that wait or run."""
    states = _states(cache)
    return states["queued"] + states["running"]


def browsers(page: Page, count: int, minutes: float) -> None:
    """Many users; prints what they did, and the server's memory each minute."""
    until = time.monotonic() + 60 * minutes
    did: Counter[str] = Counter()
    picks: dict[int, str] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(60):
            print(f"server {_resident(page.process):.0f} MB, {dict(did)}", flush=True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(count) as pool:
            users = [
                pool.submit(user, page, seed, until, did=did, picks=picks) for seed in range(count)
            ]
            faults = [str(d.exception()) for d in users if d.exception() is not None]
        while (live := _live(page.cache)) and time.monotonic() < until + DRAIN:
            print(f"{live} jobs still in the queue", flush=True)
            time.sleep(20)
    finally:
        over.set()
        watcher.join()
    print(f"{count} browsers, {minutes:g} minutes: {dict(did)}; jobs {dict(_states(page.cache))}")
    print(f"{len(set(picks.values()))} different picks at the end; faults: {faults or 'none'}")
    if faults:
        sys.exit(1)


def clients(page: Page, count: int, minutes: float) -> None:
    """Many connections that ask for the page and its health; prints how long answers took."""
    until = time.monotonic() + 60 * minutes
    times: list[float] = []
    failed: Counter[str] = Counter()

    def ask(seed: int) -> None:
        while time.monotonic() < until:
            for path in ("/", "/_stcore/health"):
                started = time.perf_counter()
                try:
                    with urllib.request.urlopen(page.address + path, timeout=10) as answer:
                        answer.read()
                    times.append(time.perf_counter() - started)
                except OSError as error:
                    failed[str(error)] += 1
            time.sleep(0.1)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(ask, range(count)))
    seconds = np.array(times)
    print(
        f"{count} clients, {minutes:g} minutes: {len(seconds)} answers, median "
        f"{1000 * np.median(seconds):.0f} ms, slowest {1000 * seconds.max():.0f} ms; failed: "
        f"{dict(failed) or 'none'}; server {_resident(page.process):.0f} MB"
    )
    if failed:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browsers", type=int, default=0)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as profiles:
        # What is measured joins a profile's records: those of a copy here.
        shutil.copytree(TINY, Path(profiles) / TINY.name)
        _run(options, Path(profiles))


def _run(options: argparse.Namespace, profiles: Path) -> None:
    with server(profiles) as page:
        if options.browsers:
            browsers(page, options.browsers, options.minutes)
        if options.clients:
            clients(page, options.clients, options.minutes)


if __name__ == "__main__":
    main()
