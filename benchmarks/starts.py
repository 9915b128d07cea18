"""How long the program takes to start: from the shell to the answer, and to the page's first map.

    python -m benchmarks.starts
    python -m benchmarks.starts --against CHECKOUT --repeat 5
    python -m benchmarks.starts --parts          # where the seconds of a transcript go

Processor seconds and seconds of the clock, the least of some runs, next to those of a bare
`python -c "import torch, transformers"` in the same run; one thread. A native export of tiny.en is
made first, which is not counted, and transcribes a recording of 5 s. The page is timed in a browser
that is open already, and left out without Chromium and its driver. With `--against`, the version in
another checkout does the same, in turn with this one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "data" / "speech" / "demo" / "audio" / "demo-001.flac"
BARE = ("-c", "import torch, transformers")
SIZE = ("--profile", "whisper-tiny.en", "--size-mb", "12")

Cost = tuple[float, float]  # processor seconds, seconds of the clock


def cost(arguments: Sequence[str], root: Path, cache: Path) -> Cost:
    """What a run of Python with these arguments takes, in a checkout.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
        "GENPTQ_CACHE": str(cache),
    }
    command = [sys.executable, *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime, time.perf_counter() - started


def parts(export: str) -> None:
    """Print where the processor seconds of a transcript go; in a process that imported nothing."""
    took: dict[str, float] = {}
    since = [0.0]

    def lap(name: str) -> None:
        now = time.process_time()
        took[name], since[0] = now - since[0], now

    from genptq_core.cli import transcribe
    from genptq_core.models import lean_imports

    lap("Python and the command")
    import torch  # noqa: F401

    lap("importing torch")
    lean_imports.in_own_process()
    lean_imports.import_transformers()
    lap("importing transformers")
    from genptq_core.formats import export_file, native
    from genptq_core.loading import load_model
    from genptq_core.measurement.measure import transcribe_files
    from genptq_core.speech.utterances import speech_set, utterance

    lap("the rest of the program")
    export_file.verify(Path(export))
    lap("digests of the files")
    native.read(Path(export) / native.NAME)
    lap("decoding the weights")
    model = load_model(export)
    lap("tokenizer, module, digest of the weights")
    took["tokenizer, module, digest of the weights"] -= (
        took["digests of the files"] + took["decoding the weights"]
    )
    transcribe_files(model, speech_set("one", [utterance(RECORDING)]))
    lap("hearing the recording")
    print(f"| part of {transcribe.COMMAND.name} | processor s |\n| --- | ---: |")
    for name, seconds in took.items():
        print(f"| {name} | {seconds:.2f} |")


def page_cost(root: Path, driver: object) -> Cost:
    """What the page takes until it shows its first map, of the server's start on; its processor
    seconds are the server's."""
    from benchmarks.dashboard import server, wait_for_charts

    started = time.perf_counter()
    with server(root=root) as page:
        driver.get(page.address)  # type: ignore[attr-defined]
        wait_for_charts(driver)  # type: ignore[arg-type]
        took = time.perf_counter() - started
        fields = Path(f"/proc/{page.process}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK"), took


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the least counts")
    parser.add_argument("--parts", action="store_true", help="take one transcript apart instead")
    options = parser.parse_args(arguments)
    roots = [*([options.against.resolve()] if options.against else []), ROOT]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export, bitmap = folder / "export", folder / "bitmap.json"
        program = ("-m", "genptq_core")
        cost([*program, "solve", *SIZE, "--out", str(bitmap)], ROOT, folder)
        made = ["--profile", "whisper-tiny.en", "--bitmap", str(bitmap), "--out", str(export)]
        cost([*program, "export", "--target", "native", *made], ROOT, folder)
        if options.parts:
            code = f"from benchmarks.starts import parts; parts({str(export)!r})"
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
            return
        commands = {
            "import torch, transformers": BARE,
            "solve": (*program, "solve", *SIZE),
            "transcribe": (*program, "transcribe", "--model", str(export), str(RECORDING)),
        }
        runs: dict[str, list[list[Cost]]] = {}
        for name, command in commands.items():
            turns = [[cost(command, root, folder) for root in roots] for _ in range(options.repeat)]
            runs[name] = [list(of_root) for of_root in zip(*turns, strict=True)]
        if shutil.which("chromium") and shutil.which("chromedriver"):
            from benchmarks.dashboard import browser

            driver = stack.enter_context(browser())
            driver.get("about:blank")
            turns = [[page_cost(root, driver) for root in roots] for _ in range(options.repeat)]
            runs["page"] = [list(of_root) for of_root in zip(*turns, strict=True)]
    _print(runs, options.against is not None)


def _print(runs: dict[str, list[list[Cost]]], compared: bool) -> None:
    """The least of the runs, and what they are of a bare import."""
    least = {
        name: [tuple(min(column) for column in zip(*of_root, strict=True)) for of_root in turns]
        for name, turns in runs.items()
    }
    bare = min(processor for processor, _ in next(iter(least.values())))
    heads = ["before", "now"] if compared else ["now"]
    print(f"| | {' | '.join(f'{h}: processor s | of a bare import | clock s' for h in heads)} |")
    print(f"| --- |{' ---: | ---: | ---: |' * len(heads)}")
    for name, by_root in least.items():
        cells = [f"{used:.2f} | {used / bare:.2f} | {clock:.2f}" for used, clock in by_root]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
