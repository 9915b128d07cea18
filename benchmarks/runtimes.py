"""What each runtime makes of each way to ship a model: download, memory, speed and word errors.

    pip install -r requirements-dev.txt -r requirements-bench.txt
    python -m benchmarks.runtimes --speech librispeech-mini/dev.jsonl
    python -m benchmarks.runtimes --report

A row is a runtime, a way and a size:

- *full precision*: float16 weights (computed in float32, except where a runtime has its own way);
- *preset*: what the runtime's own tools make of them;
- *transport*: the entropy-coded native folder, unpacked for the runtime as `genptq unpack` does;
- *direct*: a mixed map of the runtime's own types; compiled too, where `--tuning` gives speech.

MB in a row's name are those of the weights. *Padded* recordings are filled up with silence to 30 s:
faster-whisper fills up their features instead, with zeros, and stops early on some.

Each row is decoded in a process of its own (`benchmarks.runtime_drivers`): one thread, greedy, one
utterance after another. *Download* is the folder that is shipped, every file in it; *memory* the
process's peak with the runtime and its libraries; *processor* the processor seconds per second of
speech, loading excluded. WER and interval are compared with full precision in the same runtime. On
a *loop*, 8 or more words in a row were not said, or the text is 10 words longer than twice the
reference; on an *early stop*, 8 or more words in a row are missing.

Rows go to benchmarks/results/runtimes.json as they come; a row that is there, of the same model
file and speech, is not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.runtime_report import FULL, markdown
from genptq_core import load_manifest, load_profile
from genptq_core.errors import GenPTQError
from genptq_core.speech.runaways import find_runaways
from genptq_core.speech.utterances import SpeechSet
from genptq_core.speech.wer import count_errors
from genptq_core.storage.digests import sha256_file, sha256_json
from genptq_core.storage.files import write_text

ROOT = Path(__file__).resolve().parent.parent
TRANSPORT = (16.5, 13.5, 12.0)
"""MB of entropy-coded weights."""
UNPACKED = (
    ("transcribe.cpp", "gguf", "q8_0", "Q8_0"),
    ("transcribe.cpp", "gguf", "q5_1", "Q5_1"),
    ("faster-whisper", "ctranslate2", "int8", "int8"),
    ("faster-whisper, padded", "ctranslate2", "int8", "int8"),
    ("ONNX Runtime", "onnx", "int8", "8 bits"),
    ("transformers", "transformers", "float16", "float16"),
)
"""Of each way to unpack: runtime, way, width, and the form's name."""
DIRECT = (29.0, 26.0, 24.8)
"""MB of weights in a runtime's own types; 24.74 is the least that ggml's types take."""
RESULTS = ROOT / "benchmarks" / "results" / "runtimes.json"


@dataclass(frozen=True)
class Model:
    """A model that a runtime loads.

    Attributes:
        path: file or folder.
        shipped: file or folder that is downloaded, if it is another one.
        weights: bytes of the stored parameters of what is shipped, where they are known.
    """

    path: Path
    shipped: Path | None = None
    weights: int | None = None


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        runtime: name shown.
        way: one of full precision, preset, transport, direct.
        size: the preset's name, or the size asked for and the form it is unpacked to.
        driver: name in `runtime_drivers.RUNTIMES`.
        make: writes the model, or finds it written.
        compiled: whether the map was compiled.
    """

    runtime: str
    way: str
    size: str
    driver: str
    make: Callable[[], Model]
    compiled: bool = False

    @property
    def name(self) -> str:
        """What `--only` is compared with."""
        return f"{self.runtime} / {self.way} / {self.size}" + (" / compiled" * self.compiled)


def files_of(path: Path) -> list[Path]:
    """A file, or all files of a folder but our own notes, which no runtime reads."""
    if path.is_file():
        return [path]
    notes = ("export.json", "unpacked.json", "bitmap.json")
    return sorted(f for f in path.rglob("*") if f.is_file() and f.name not in notes)


def digest_of(path: Path) -> str:
    """A digest over a file, or over the files of a folder, with their names."""
    if path.is_file():
        return sha256_file(path)
    named = [[f.relative_to(path).as_posix(), sha256_file(f)] for f in files_of(path)]
    return sha256_json(named)


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    return sum(file.stat().st_size for file in files_of(path))


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two measurements the same."""
    named = ("runtime", "way", "size", "compiled", "digest", "speech")
    return tuple(row[name] for name in named)


def read(path: Path) -> dict[str, Any]:
    """The results so far: `speech` by digest, and `rows`."""
    empty: dict[str, Any] = {"speech": {}, "rows": []}
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty


def _write(path: Path, results: dict[str, Any]) -> None:
    write_text(path, json.dumps(results) + "\n")


def keep(results: dict[str, Any], row: dict[str, Any]) -> None:
    """Add a row in place of an earlier one of the same runtime, way, size and speech."""

    def cell(other: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(other[n] for n in ("runtime", "way", "size", "compiled", "speech"))

    results["rows"] = [r for r in results["rows"] if cell(r) != cell(row)] + [row]


def judged(references: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Errors of each utterance, and which of them loop or stop early."""
    found = find_runaways(references, texts)
    return {
        "errors": count_errors(references, texts).errors.tolist(),
        "loops": found.loops.nonzero()[0].tolist(),
        "stops": found.stops.nonzero()[0].tolist(),
    }


def described(speech: SpeechSet) -> dict[str, Any]:
    """What the report needs to know of a speech set."""
    references = [u.text for u in speech.utterances]
    return {
        "name": speech.name,
        "utterances": [u.audio.stem for u in speech.utterances],
        "words": count_errors(references, references).words.tolist(),
    }


def apart(driver: str, model: Path, speech: Path, limit: int | None) -> dict[str, Any]:
    """Decode in a process of its own; see `runtime_drivers`."""
    command = [sys.executable, "-m", "benchmarks.runtime_drivers", "--runtime", driver]
    command += ["--model", str(model), "--speech", str(speech)]
    command += ["--limit", str(limit)] if limit else []
    completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    figures: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return figures


def measured(row: Row, model: Model, speech: SpeechSet, options: argparse.Namespace) -> Any:
    """Everything about one row but its key."""
    figures = apart(row.driver, model.path, options.speech, options.limit)
    return {
        "versions": figures["versions"],
        "download_bytes": bytes_of(model.shipped or model.path),
        "weight_bytes": model.weights,
        "model_bytes": bytes_of(model.path),
        "peak_bytes": figures["peak_bytes"],
        "mapped_bytes": figures["mapped_bytes"],
        "processor_factor": figures["processor_factor"],
        **judged([u.text for u in speech.utterances], figures["texts"]),
        "texts": figures["texts"],
    }


def run(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Measure what is missing, a row after another; count the others' errors again."""
    speech = load_manifest(options.speech, options.limit)
    references = [u.text for u in speech.utterances]
    results = read(options.out)
    for known in results["rows"]:
        if known["speech"] == speech.digest:
            known |= judged(references, known["texts"])
    if results["rows"]:
        _write(options.out, results)
    for row in rows:
        print(f"{row.name} …", flush=True)
        try:
            print(f"  {_measure(row, speech, options)}", flush=True)
        except (GenPTQError, ImportError, subprocess.CalledProcessError) as error:
            print(f"  left out: {error}", flush=True)


def _measure(row: Row, speech: SpeechSet, options: argparse.Namespace) -> str:
    """Measure a row unless it is there; returns a line to print."""
    model = row.make()
    found = {
        "runtime": row.runtime,
        "way": row.way,
        "size": row.size,
        "compiled": row.compiled,
        "digest": digest_of(model.path),
        "speech": speech.digest,
    }
    if key_of(found) in {key_of(known) for known in read(options.out)["rows"]}:
        return "is there"
    found |= measured(row, model, speech, options)
    results = read(options.out)
    results["speech"][speech.digest] = described(speech)
    keep(results, found)
    _write(options.out, results)
    return (
        f"{sum(found['errors'])} errors, {len(found['loops'])} loops, "
        f"{len(found['stops'])} early stops, {found['processor_factor']:.3f} processor s/s, "
        f"{found['peak_bytes'] / 1e6:.0f} MB peak, "
        f"{found['download_bytes'] / 1e6:.2f} MB to download"
    )


def table(options: argparse.Namespace) -> Iterator[Row]:
    """All rows, by runtime."""
    from benchmarks.runtime_models import GGUF, Models

    models = Models(load_profile(options.profile), options.models)
    ggml, fast, onnx, plain = "transcribe.cpp", "faster-whisper", "ONNX Runtime", "transformers"

    def of(make: Callable[..., Path], *given: Any) -> Callable[[], Model]:
        return lambda: Model(make(*given))

    def direct(target: str, megabytes: float, tuned: bool = False) -> Model:
        tuning = load_manifest(options.tuning) if tuned else None
        folder = models.of_size(target, megabytes, tuning)
        return Model(folder / GGUF if target == "gguf" else folder, folder)

    def transport(megabytes: float, way: str, width: str) -> Model:
        native = models.of_size("native", megabytes)
        folder = models.unpacked(native, way, width)
        return Model(folder / GGUF if way == "gguf" else folder, native)

    yield Row(ggml, FULL, "float16", ggml, of(models.gguf_float16))
    for preset in ("Q8_0", "Q5_0", "Q4_0"):
        yield Row(ggml, "preset", preset, ggml, of(models.gguf_preset, preset))
    yield Row(fast, FULL, "float16", f"{fast}, float32", of(models.embedded))
    yield Row(fast, "preset", "int8", fast, of(models.ctranslate2_int8))
    filled = f"{fast}, padded"
    yield Row(filled, FULL, "float16", f"{fast}, float32, padded", of(models.embedded))
    yield Row(onnx, FULL, "float16", onnx, of(models.full, "onnx"))
    yield Row(onnx, "preset", "int8", onnx, of(models.onnx_dynamic))
    yield Row(onnx, "preset", "int4", onnx, of(models.onnx_int4))
    yield Row(plain, FULL, "float16", plain, of(models.transformers_float16))
    yield Row("MLX", FULL, "float16", "MLX", of(models.full, "mlx"))
    for size in TRANSPORT:
        for runtime, way, width, form in UNPACKED:
            name = f"{size:g} MB to {form}"
            make = partial(transport, size, way, width)
            yield Row(runtime, "transport", name, runtime, make)
    for size in DIRECT:
        for runtime, target in ((ggml, "gguf"), ("MLX", "mlx"), (onnx, "onnx")):
            make = partial(direct, target, size)
            yield Row(runtime, "direct", f"{size:g} MB", runtime, make)
        if options.tuning:
            make = partial(direct, "gguf", size, True)
            yield Row(ggml, "direct", f"{size:g} MB", ggml, make, compiled=True)


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=ROOT / "data" / "profiles/whisper-tiny.en")
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--tuning", type=Path, help="manifest to compile direct maps on")
    parser.add_argument("--only", default="", help="rows whose name has this pattern in it")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "runtimes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="measure nothing, print Markdown")
    options = parser.parse_args()
    if not options.report:
        if options.speech is None:
            parser.error("--speech names the manifest to measure on; or give --report")
        run([row for row in table(options) if re.search(options.only, row.name)], options)
    print(markdown(read(options.out)))


if __name__ == "__main__":
    main()
