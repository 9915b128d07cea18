"""What must stay as it is from one version to the next, and how it is computed.

`python -m tests.core.unchanged.write` writes the JSON files here; `tests/core/test_unchanged.py`
compares. Where the last bits depend on the processor's kernels, a file says on what machine it was
written (`fingerprint`): there everything is compared exactly, elsewhere within a tolerance.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import platform
import sqlite3
import wave
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dashboard.jobs.queue import DONE, FAILED, Queue
from dashboard.jobs.requests import ComputeProfile, ExportMap, Measure, Request, Transcribe
from genptq_core.allocation.front import predicted_front
from genptq_core.allocation.predicted_loss import quadratic_loss
from genptq_core.allocation.problem import Problem, problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.bitmaps.file import bit_map_json
from genptq_core.export.export import export
from genptq_core.export.runtime_configs import RUNTIME_CONFIGS
from genptq_core.export.runtime_configs import to_json as recipe_json
from genptq_core.formats import export_file
from genptq_core.loading import load_model
from genptq_core.measurement.measure import measure
from genptq_core.measurement.records import Measured
from genptq_core.measurement.shards import shard_key
from genptq_core.measurement.store import JSON_NAME, read_shipped, save_measured
from genptq_core.models import SpeechModel
from genptq_core.models.whisper_settings import ENGLISH_WORDS
from genptq_core.options import Option, coded_options, grid_options
from genptq_core.profile import Anchor, Profile, Settings, Source, bundled_profile, of_weights
from genptq_core.profiling.compute import ComputedProfile, compute
from genptq_core.progress import Progress
from genptq_core.rounding.compilation import Compiled, CompileSettings, compile_map
from genptq_core.rounding.kept import kept_weights
from genptq_core.rounding.rounded import rounding_key
from genptq_core.speech.utterances import SpeechSet, Utterance, load_manifest, speech_set, utterance
from genptq_core.storage.cache import read_cached, write_cached
from genptq_core.storage.digests import sha256, sha256_array, sha256_file, sha256_json
from genptq_core.storage.locations import bundled_profiles, cache_folder
from genptq_core.targets import TARGETS, target_of, usable_targets
from tests.conftest import DEMO
from tests.core import synthetic
from tests.core.tiny_models import PARAKEET, random_ctc, random_whisper

HERE = Path(__file__).resolve().parent
BUNDLED = ("whisper-tiny.en", "conformer-an4")
BUDGETS = 50
"""Budgets solved a target."""

_PACKAGES = (
    *("compressed-tensors", "numpy", "onnx", "safetensors", "scipy", "tokenizers", "torch"),
    "transformers",
)


def golden(name: str) -> dict[str, Any]:
    """A file's content."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


def fingerprint() -> dict[str, str]:
    """What the last bits of a computation depend on."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    """The processor's name, family and model, where the system tells them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.exists() else []
    said = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    return " ".join(said.get(key, "").strip() for key in ("model name", "cpu family", "model"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread: more of them sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- Models whose weights are the same to the bit on every machine


def tiny_whisper(folder: Path) -> SpeechModel:
    """A Whisper of one block on each side, 16 wide, whose weights are whole 512ths."""
    folder = random_whisper(folder, ENGLISH_WORDS)
    return _exact(load_model(str(folder)), "tiny-whisper")


def tiny_ctc(folder: Path) -> SpeechModel:
    """A Conformer of one block, 32 wide, whose weights are whole 512ths."""
    small = {"num_hidden_layers": 1, "intermediate_size": 32, "subsampling_conv_channels": 4}
    return _exact(load_model(str(random_ctc(folder, PARAKEET, **small))), "tiny-ctc")


def _exact(model: Any, name: str) -> SpeechModel:
    # This generator's stream is promised never to change.
    random = np.random.RandomState(0)
    with torch.no_grad():
        for parameter_name, parameter in sorted(model.module.named_parameters()):
            if parameter_name in model.derived:
                continue
            whole = random.randint(-127, 128, tuple(parameter.shape))
            values = torch.from_numpy(whole.astype(np.float32) / 512)
            scales = parameter.ndim == 1 and parameter_name.endswith("weight")
            parameter.copy_(1 + values if scales else values)
    made: SpeechModel = type(model)(name, model.module, model._features, model._tokenizer)
    return made


# --- Profiles of four utterances

PROFILED = {
    "conformer-an4": Settings(grid_options((4,), (64,)) + coded_options((2.5,)), draws=1, rank=16),
    "tiny-whisper": Settings(grid_options((2, 4), (16, 8)), draws=1, rank=4),
}
"""Settings of each model's profile."""


def profiled(model: SpeechModel, folder: Path) -> Profile:
    """A model's profile on the first four utterances of the demo speech."""
    with one_thread():
        return compute(
            model, load_manifest(DEMO, 4), folder, PROFILED[model.name], float32=True
        ).profile


def scores_of(profile: Profile) -> dict[str, Any]:
    """What a profile says, in short: the predicted loss of each option of each unit alone."""
    loss = quadratic_loss(profile)
    alone = loss.growth(loss.separable)[:, :-1]
    return {
        "digest": profile.digest,
        "lengths": profile.lengths.tolist(),
        "options": _keys(profile.settings.options),
        "scores": [[_rounded(score, 6) for score in row] for row in alone],
        "anchors": [_rounded(anchor.loss, 6) for anchor in profile.anchors],
    }


def _rounded(value: float, digits: int) -> float | None:
    """To so many significant digits; nothing where an option cannot be had."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


# --- Budgets


def tasks_of(profile: Profile) -> dict[str, Problem]:
    """The problem of every target that a profile's model can be written for, sizes of weights.

    What a folder takes besides is the same for every map, so it changes none.
    """
    profile = of_weights(profile)
    family = profile.source.family
    offered = {option.form for option in profile.menu} - {"half"}
    fit = [
        name
        for name, t in TARGETS.items()
        if (not t.families or family in t.families) and offered & (t.forms | t.otherwise)
    ]
    return {name: problem(profile, target=name) for name in fit}


def budgets_of(task: Problem) -> list[int]:
    """Budgets from the smallest size to the largest that is of use, evenly spaced, bytes."""
    largest = int(predicted_front(task).bytes[-1])
    return [int(budget) for budget in np.linspace(task.smallest, largest, BUDGETS)]


def solved(task: Problem, every: int = 1) -> list[list[Any]]:
    """Of every so many budgets the start of the SHA-256 of the map's keys, its bytes, its loss."""
    found: list[list[Any]] = []
    for budget in budgets_of(task)[::every]:
        best = solve(task, budget)
        keys = ",".join(_keys(best.options))
        found.append([sha256(keys.encode())[:16], best.bytes, _rounded(best.predicted_loss, 8)])
    return found


# --- Exports


def exportable(model: SpeechModel) -> Profile:
    """A made-up profile of a tiny model."""
    return synthetic.profile_of(model, bits=(2, 3, 4, 8), group_size=16, rates=(4, 6))


def export_map(profile: Profile, target: str) -> BitMap:
    """A map of all that a target holds: a unit after the other takes the next option."""
    form, chosen = target_of(target), []
    for turn, unit in enumerate(profile.units):
        held = [
            option
            for option in profile.menu
            if option.form in form.forms | form.otherwise and form.holds(unit, option)
            # Small weights have no room for an entropy code's tables.
            if option.form != "coded" or unit.weights >= 2000
        ]
        chosen.append(held[turn % len(held)])
    return bit_map(profile, chosen)


def exported(model: SpeechModel, folder: Path) -> dict[str, dict[str, Any]]:
    """What is promised and written for each target that can hold a model."""
    profile = exportable(model)
    found: dict[str, dict[str, Any]] = {}
    for name, target in TARGETS.items():
        # mlx-audio has no Whisper of such narrow feed-forward layers, transcribe.cpp no Parakeet
        # whose states are but four times shorter than its features.
        left = ("mlx",) if model.family == "whisper" else ("mlx", "gguf")
        if (target.families and model.family not in target.families) or name in left:
            continue
        with one_thread():
            one = export(profile, export_map(profile, name), name, folder / name, model)
        files = {
            file: [(one.folder / file).stat().st_size, sha256_file(one.folder / file)[:16]]
            for file in one.files
        }
        found[name] = {
            "promised": one.predicted_bytes,
            "written": one.weights_bytes,
            "files": files,
        }
    return found


def recipes() -> dict[str, str]:
    """The start of the SHA-256 of every recipe's text, for 4 bits in groups of 64 everywhere."""
    profile = bundled_profile()
    chosen = bit_map(profile, ["4/64"] * len(profile.units))
    return {
        name: sha256(recipe_json(profile, chosen, name).encode())[:16] for name in RUNTIME_CONFIGS
    }


# --- What ships


def _as_before(record: Measured) -> dict[str, Any]:
    """A record's fields, without those that older records lack and that change none of theirs."""
    fields = dataclasses.asdict(record)
    assert fields.pop("insertions_on_silence") == 0
    for name in ("runaways", "long", "asked"):
        if not fields[name]:
            del fields[name]
    for option in fields["options"]:  # as before there were block types
        if not option["block"]:
            del option["block"]
    return fields


def shipped(name: str) -> dict[str, Any]:
    """What a profile that ships, and its measurements, read as."""
    profile = bundled_profile(name)
    records = read_shipped(bundled_profiles() / name / JSON_NAME)
    fields = [sorted(_as_before(record).items()) for record in records]
    return {
        "digest": profile.digest,
        "units": len(profile.units),
        "menu": _keys(profile.menu),
        "targets": usable_targets(profile.menu, profile.source.family),
        "measured": len(records),
        "measured_sha256": sha256(repr(fields).encode()),
    }


# --- Files as they are written


def written_profile() -> Profile:
    """A small profile, every number of which is exact."""
    random = np.random.RandomState(1)
    units = synthetic.units(4)
    options = grid_options((2, 4), (8,)) + coded_options((2.5,))
    inputs = {unit.inputs: unit.columns for unit in units}
    lengths = np.array([7, 12], dtype=np.int64)
    uniform = tuple(options[0] for _ in units)
    return Profile(
        source=Source(
            model="made",
            family="whisper",
            model_digest="a" * 64,
            parameters=9000,
            derived=20,
            calibration="speech/made",
            calibration_digest="b" * 64,
            utterances=2,
            tokens=19,
            listened=3,
            listening_digest="c" * 64,
        ),
        settings=Settings(options, draws=2, seed=5, rank=4),
        units=units,
        projections=(random.randint(-99, 99, (2, 2, 4, 3)) / 64).astype(np.float32),
        lengths=lengths,
        anchors=(Anchor(uniform, 0.375),),
        sketches={
            name: {
                "factor": random.randint(-127, 128, (columns, 4)).astype(np.int8),
                "scale": np.full(4, 0.25, dtype=np.float32),
                "diagonal": np.full(columns, 0.5, dtype=np.float32),
            }
            for name, columns in inputs.items()
        },
        importance={
            name: np.full(rows, 1.5, dtype=np.float16)
            for name, rows in {u.parameter: u.stop for u in units}.items()
        },
        seconds=12.5,
        digest="",
    )


def content_of(profile: Profile) -> dict[str, Any]:
    """All that a profile holds, its arrays as digests."""
    arrays = {"projections": profile.projections, "lengths": profile.lengths}
    arrays |= {f"importance {name}": array for name, array in profile.importance.items()}
    for name, parts in profile.sketches.items():
        arrays |= {f"sketch {name} {part}": array for part, array in parts.items()}
    settings = {**vars(profile.settings), "options": _keys(profile.settings.options)}
    return {
        "digest": profile.digest,
        "seconds": profile.seconds,
        "source": _without_overhead(profile.source),
        "settings": settings,
        "units": [vars(unit) for unit in profile.units],
        "anchors": [[_keys(a.options), a.loss] for a in profile.anchors],
        "arrays": {name: sha256_array(array)[:16] for name, array in arrays.items()},
    }


def _without_overhead(source: Source) -> dict[str, Any]:
    """A source's fields, without those that older profiles lack and that change no result."""
    fields = dict(vars(source))
    for name in (
        "overhead",
        *(name for name in ("language", "task", "anchored") if not fields[name]),
    ):
        del fields[name]
    return fields


def _keys(options: Sequence[Option]) -> list[str]:
    return [option.key for option in options]


def written_map(profile: Profile) -> tuple[BitMap, str]:
    """A map of `written_profile`, and its file."""
    chosen = bit_map(profile, ["2/8", "2.5", "16", "4/8"])
    figures = {"target": "native", "bytes": 1234, "avg_bits": 6.25, "predicted_loss": 0.125}
    return chosen, bit_map_json(profile, chosen, **figures)


RECORD = Measured(
    label="uniform 4",
    map_digest="d" * 64,
    options=(Option(4, 64), Option(2.25), Option(16)),
    bytes=123_456,
    avg_bits=3.5,
    reduction_vs_fp32=0.875,
    wer=0.0625,
    wer_full_precision=0.05,
    wer_increase=0.0125,
    ci95=(-0.005, 0.03),
    loss=0.01,
    predicted_loss=0.0075,
    speech="demo/manifest",
    speech_digest="e" * 64,
    utterances=2,
    words=20,
    normalizer="whisper-english",
    method="inputs of full precision; greedy, at most 224 tokens",
    profile_digest="f" * 64,
    seconds=1.5,
    when="2025-01-01",
    looped=1,
    transcripts=(("0" * 64, "the cat", "the bat"), ("1" * 64, "nine o’clock", "nine o’clock")),
)
"""A measurement as a store keeps it."""

OLDER = ("normalizer", "looped", "transcripts", "sha256")
"""What the first records that were stored lack."""


def written_store(folder: Path) -> dict[str, Any]:
    """The store of `RECORD`, as SQL."""
    folder.mkdir(parents=True)
    save_measured(folder, RECORD.profile_digest, RECORD)
    return dumped(folder / "measured.sqlite")


_MAP = ("data/profiles/made", "f" * 64, "d" * 64, RECORD.options)
REQUESTS: tuple[Request, ...] = (
    Transcribe(*_MAP, "uploads/a.wav", "my <voice>", "what I said", "browser"),
    ComputeProfile("whisper-tiny.en", "m.jsonl", 8, "out", (3, 4), (32, 64), (2.25,), 2, 1),
    Measure(*_MAP, "data/speech/demo/manifest.jsonl", None, "uniform 4"),
    ExportMap(*_MAP, "native", "exports/made"),
)
"""One of each kind that the page can ask for."""

HEARD = {"full": "the cat", "picked": "the bat"}
MESSAGE = "profile.json does not exist."


def written_queue(path: Path) -> dict[str, Any]:
    """A queue with one job done, one failed, one that a dead worker left, and one that waits."""
    queue = Queue(path)
    for request in REQUESTS:
        queue.add(request)
    for state, message, result in ((DONE, "", HEARD), (FAILED, MESSAGE, None), (None, "", None)):
        job = queue.claim()
        assert job is not None
        queue.progress(job.id, "measuring", job.id, 40)
        if state:
            queue.finish(job.id, state, message, result)
    with closing(sqlite3.connect(path)) as connection, connection:
        for column in ("created", "stage_started", "heartbeat", "finished"):
            connection.execute(f"UPDATE jobs SET {column} = 1e9 WHERE {column} IS NOT NULL")
    return dumped(path)


def dumped(path: Path) -> dict[str, Any]:
    """A database's version, tables and rows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        tables = {row["name"]: row["sql"] for row in made if not row["name"].startswith("sqlite_")}
        return {
            "version": connection.execute("PRAGMA user_version").fetchone()[0],
            "tables": tables,
            "rows": {
                name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
                for name in tables
            },
        }


def restored(path: Path, dump: Mapping[str, Any]) -> None:
    """Make a database of what `dumped` said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, made in dump["tables"].items():
            connection.execute(made)
            for row in dump["rows"][name]:
                marks = ", ".join("?" * len(row))
                into = f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})"
                connection.execute(into, tuple(row.values()))
        connection.execute(f"PRAGMA user_version = {int(dump['version'])}")


def written_export(folder: Path, model: SpeechModel) -> str:
    """The native export of a tiny model; returns the digest of the weights that it reads as."""
    profile = exportable(model)
    widths = ["4", "3/16", "8/16", *["2/16"] * (len(profile.units) - 4), "16"]
    with one_thread():
        export(profile, bit_map(profile, widths), "native", folder, model)
    return load_model(str(folder)).digest


def manifest_fields(folder: Path) -> dict[str, Any]:
    """What an export's manifest says, once every file was checked against it."""
    return dataclasses.asdict(export_file.verify(folder))


def packed(folder: Path) -> dict[str, Any]:
    """Every file below a folder but locks: text as it is, anything else compressed."""
    return {
        name: text if (text := _text(data)) is not None else {"zlib": _compressed(data)}
        for name, data in contents(folder).items()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file below a folder but locks, by its name from there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def unpacked(files: Mapping[str, Any]) -> dict[str, bytes]:
    """What `packed` packed."""
    return {
        name: one.encode() if isinstance(one, str) else _decompressed(one["zlib"])
        for name, one in files.items()
    }


def unpack(files: Mapping[str, Any], folder: Path) -> None:
    """Write what `packed` packed."""
    for name, data in unpacked(files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _text(data: bytes) -> str | None:
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _compressed(data: bytes) -> str:
    return base64.b85encode(zlib.compress(data, 9)).decode()


def _decompressed(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


# --- The cache

RECIPE = CompileSettings(sequential=2, passes=1, batch=1, held_out=1, checks=1)
CACHED = Settings(grid_options((2, 4), (32,)) + coded_options((6,)), draws=1, rank=4)
KEPT = {"made": torch.arange(6, dtype=torch.float32).reshape(2, 3)}
"""Stands in for a map's rounded weights."""


def clips(folder: Path) -> SpeechSet:
    """Three recordings of a quarter of a second, the same to the byte on every machine."""
    folder.mkdir(parents=True)
    random = np.random.RandomState(2)
    found = []
    for index in range(3):
        path = folder / f"{index}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(random.randint(-3000, 3000, 4000).astype("<i2").tobytes())
        found.append(utterance(path, "a b"))
    # In the order in which a shard takes them, so that one baseline does for all.
    return speech_set("made/clips", sorted(found, key=lambda one: one.digest))


@dataclasses.dataclass(frozen=True)
class Cached:
    """What a user's work on one tiny model gives, be it computed or found in the cache."""

    outcome: ComputedProfile
    record: Measured
    compiled: Compiled
    kept: Mapping[str, torch.Tensor]

    def fields(self) -> dict[str, Any]:
        """All of it that does not depend on the day or on the processor once it is cached."""
        record = dataclasses.replace(self.record, when="", options=())
        return {
            "profile": self.outcome.profile.digest,
            "record": json.loads(json.dumps(_as_before(record))),
            "compiled": self.compiled.digest,
            "tuned": _digest(self.compiled.tuned),
            "kept": _digest(self.kept),
        }


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    return sha256_json({name: sha256_array(tensor.numpy()) for name, tensor in tensors.items()})


def cached(model: SpeechModel, folder: Path, keep: bool = False) -> Cached:
    """Profile, measure, compile and keep a map of a tiny model in the cache folder.

    Args:
        model: `tiny_ctc`.
        folder: for what is not cached.
        keep: put `KEPT` where a map's rounded weights are kept.
    """
    with one_thread():
        speech = clips(folder / "clips")
        outcome = compute(model, speech, folder / "profile", CACHED, float32=True)
        profile = of_weights(outcome.profile)
        chosen = bit_map(profile, ["4/32", *["2/32"] * (len(profile.units) - 2), "16"])
        key = rounding_key(profile, chosen.options)
        if keep:
            write_cached(cache_folder() / "kept" / "weights.safetensors", KEPT, key)
        return Cached(
            outcome,
            measure(model, profile, chosen, speech),
            compile_map(model, profile, chosen, speech, RECIPE),
            kept_weights(model, profile, chosen.options),
        )


def shortened() -> None:
    """Empty the steps' means in what is kept of a finished tuning: noise, and not read again."""
    for path in cache_folder().glob("compiled/*/tuning.safetensors"):
        found = read_cached(path)
        assert found is not None
        tensors = {
            name: torch.zeros_like(tensor) if name.startswith(("mean/", "square/")) else tensor
            for name, tensor in found[0].items()
        }
        write_cached(path, tensors, found[1])


class _Enough(Exception):
    """Raised once a computation has named its folder."""


def keys(name: str, folder: Path) -> dict[str, str]:
    """The keys under which the cache keeps what is computed of a bundled model."""
    model, profile, speech = load_model(name), bundled_profile(name), clips(folder / "clips")
    never = [Utterance(Path("none.wav"), "", "", digit * 64) for digit in "12"]
    menu = profile.menu
    rounded = rounding_key(profile, [menu[i % len(menu)] for i in range(len(profile.units))])
    return {
        "model": model.digest,
        "speech": speech.digest,
        "rounding": rounded,
        "shard": shard_key(model, rounded, never),
        "work": _work_key(model, speech, None, None),
        "work_listening": _work_key(model, speech, CACHED, speech),
    }


def _work_key(
    model: SpeechModel, speech: SpeechSet, settings: Settings | None, listening: SpeechSet | None
) -> str:
    """Name of the folder in which a profile's stages keep what is done."""

    def stop(_: Progress) -> None:
        raise _Enough

    work = cache_folder() / "work"
    before = set(work.iterdir()) if work.exists() else set()
    with suppress(_Enough):
        compute(
            model,
            speech,
            cache_folder() / "never",
            settings,
            stop,
            listening=listening,
            float32=True,
        )
    (made,) = set(work.iterdir()) - before
    return made.name
