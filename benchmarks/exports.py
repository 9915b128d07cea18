"""What exports weigh, transcribe and take to run, compared with what was promised and measured.

    python -m benchmarks.exports [--speech MANIFEST] [--targets native,onnx] [--limit N]
    python -m benchmarks.exports --markdown

For 4.3, 3.8 and 3.5 stored bits per parameter and every target: the map that the solver gives for
that target and size is exported, and loaded and decoded in a process of its own, one utterance at a
time. Where a target cannot be so small, what it cannot hold of the integers' map of that size
stays at 16 bit. As well as: the same maps as they are measured (rounded weights in float32),
ONNX Runtime and transformers with 16-bit weights (computed in float32), and CTranslate2, which is
faster-whisper's runtime, in int8 and float32.

`processor factor` is processor seconds per second of speech, which other work on the machine does
not change; the real-time factor is of the clock.

Results go to benchmarks/results/exports.json as they come; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.memory import peak_bytes
from genptq_core import bit_map, load_manifest, load_model, load_profile, problem, solve
from genptq_core.bitmaps.bitmap import BitMap
from genptq_core.errors import InfeasibleError
from genptq_core.export.export import export
from genptq_core.measurement.measure import score
from genptq_core.models import SpeechModel, Transcript, bundled
from genptq_core.models.weights import replaced
from genptq_core.options import UNQUANTIZED
from genptq_core.profile import Profile, of_weights
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import SpeechSet, load_audio
from genptq_core.speech.wer import count_errors
from genptq_core.storage.files import write_text
from genptq_core.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "exports.json"
PICKS = (4.3, 3.8, 3.5)
RIVALS = ("ctranslate2 int8", "ctranslate2 float32")
_COMPARED = 4  # utterances whose outputs are compared number by number


def pick(profile: Profile, target: str, stored_bits: float) -> tuple[BitMap, str]:
    """The map of a size of weights for a target, and what had to give."""
    profile = of_weights(profile)
    budget = int(stored_bits * profile.source.parameters / 8)
    try:
        allocation = solve(problem(profile, target=target), budget)
        return bit_map(profile, allocation.options), ""
    except InfeasibleError:
        held = TARGETS[target].holds
        allocation = solve(problem(profile, target="integer"), budget)
        options = [
            option if held(unit, option) else UNQUANTIZED
            for unit, option in zip(profile.units, allocation.options, strict=True)
        ]
        return bit_map(profile, options), "what it cannot hold at 16 bit"


def logits(model: Any, audio: np.ndarray, transcript: Transcript, prompt: list[int]) -> np.ndarray:
    """Outputs at each decision on a transcript: (tokens, vocabulary)."""
    tokens = np.array([[*prompt, *transcript.tokens[:-1]]])
    with torch.no_grad():
        encoded = model.encode([audio])
        if hasattr(type(model), "step"):
            return np.asarray(model.step(tokens, encoded)[0][0])
        outputs = model.module(
            encoder_outputs=(encoded.states,), decoder_input_ids=torch.tensor(tokens)
        )
    return np.asarray(outputs.logits[0].numpy())


def difference(
    original: Any, weights: dict[str, torch.Tensor], exported: Any, speech: SpeechSet
) -> float:
    """The largest difference of any output between a measured map and its export."""
    largest = 0.0
    for utterance in speech.utterances[:_COMPARED]:
        audio = load_audio(utterance)
        with torch.no_grad():
            transcript = original.transcribe(original.encode([audio]))[0]
        with replaced(original, weights):
            expected = logits(original, audio, transcript, original.prompt)
        actual = logits(exported, audio, transcript, original.prompt)
        largest = max(largest, float(np.abs(actual - expected).max()))
    return largest


def apart(name: str, speech: Path, limit: int | None) -> dict[str, Any]:
    """Load and decode in a process of its own; see `alone`."""
    command = [sys.executable, "-m", "benchmarks.exports", "--alone", name, "--speech", str(speech)]
    command += ["--limit", str(limit)] if limit else []
    completed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    figures: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return figures


def alone(name: str, speech: SpeechSet) -> dict[str, Any]:
    """Decode one utterance at a time: texts, seconds, and the process's peak of memory."""
    audio = [load_audio(u) for u in speech.utterances]
    transcribe = runtime(name)
    started, used = time.perf_counter(), time.process_time()
    texts = [transcribe(samples) for samples in audio]
    wall, processor = time.perf_counter() - started, time.process_time() - used
    spoken = sum(len(a) for a in audio) / 16_000
    return {
        "real_time_factor": wall / spoken,
        "processor_factor": processor / spoken,
        "peak_mb": peak_bytes() / 1e6,
        "wer": count_errors([u.text for u in speech.utterances], texts).wer,
        "texts": texts,
    }


def runtime(name: str) -> Any:
    """A function from samples to text."""
    if name not in RIVALS:
        model: SpeechModel = load_model(name)

        def ours(samples: np.ndarray) -> str:
            with torch.no_grad():
                return model.transcribe(model.encode([samples]))[0].text

        return ours
    import ctranslate2
    from tokenizers import Tokenizer
    from transformers import WhisperFeatureExtractor

    whisper = ctranslate2.models.Whisper(
        str(bundled.folder()),
        device="cpu",
        compute_type=name.split()[1],
        intra_threads=torch.get_num_threads(),
    )
    tokenizer = Tokenizer.from_file(str(bundled.folder() / "tokenizer.json"))
    extract = WhisperFeatureExtractor()

    def theirs(samples: np.ndarray) -> str:
        features = extract(samples, sampling_rate=16_000, return_tensors="np").input_features
        view = ctranslate2.StorageView.from_array(features.astype(np.float32))
        prompt = [["<|startoftranscript|>", "<|notimestamps|>"]]
        results = whisper.generate(view, prompt, beam_size=1, max_length=224)
        return str(tokenizer.decode(results[0].sequences_ids[0]).strip())

    return theirs


def run(options: argparse.Namespace) -> None:
    """Export, load, decode; a row of results each."""
    profile = load_profile(ROOT / "data" / "profiles" / "whisper-tiny.en")
    speech = load_manifest(options.speech, options.limit)
    rows: list[dict[str, Any]] = read()
    measured = {
        (row["target"], row["stored_bits"], row["speech"], row["utterances"]) for row in rows
    }
    named = options.targets.split(",") if options.targets else list(TARGETS)
    targets = [name for name in named if name in TARGETS]
    cases = [(target, bits) for bits in options.picks for target in targets]
    cases += [("onnx", 16.0)] if "onnx" in named else []
    others = [name for name in ("transformers", *RIVALS) if name in named or not options.targets]
    cases += [(name, 0.0) for name in others]
    for target, bits in cases:
        if (target, bits, speech.name, len(speech)) in measured:
            continue
        row = {"target": target, "stored_bits": bits, "speech": speech.name}
        row["utterances"] = len(speech)
        if target in TARGETS:
            row |= exported_row(profile, target, bits, speech, options)
        else:
            name = profile.source.model if target == "transformers" else target
            row |= apart(name, options.speech, options.limit)
        row.pop("texts", None)
        rows.append(row)
        write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def exported_row(
    profile: Profile, target: str, bits: float, speech: SpeechSet, options: argparse.Namespace
) -> dict[str, Any]:
    """Everything about one export."""
    model = load_model(profile.source.model)
    if bits == 16:
        chosen, note = bit_map(profile, [UNQUANTIZED] * len(profile.units)), "nothing rounded"
    else:
        chosen, note = pick(profile, target, bits)
    weights = quantized_weights(model, profile, chosen.options)
    measured = score(model, weights, speech)
    with tempfile.TemporaryDirectory() as folder:
        out = export(profile, chosen, target, Path(folder) / "model", model)
        figures = apart(str(out.folder), options.speech, options.limit)
        gap = difference(model, weights, load_model(str(out.folder)), speech)
    expected = [text for _, _, text in measured.transcripts]
    return {
        "note": note,
        "predicted_bytes": out.predicted_bytes,
        "bytes": out.bytes,
        "disk_bytes": out.disk_bytes,
        "largest_difference": gap,
        "wer_measured_map": measured.wer,
        "same_texts": sum(a == b for a, b in zip(expected, figures["texts"], strict=True)),
        **figures,
    }


def read() -> list[dict[str, Any]]:
    """The results so far."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The results as a table."""
    lines = [
        "| speech | target | bits asked | MB promised | MB written | files MB | largest output "
        "difference | WER % | of the measured map | same texts | real-time factor "
        "| processor factor | peak MB |",
        "| " + "--- | " * 13,
    ]
    for row in rows:
        name = row["target"] + (f" ({row['note']})" if row.get("note") else "")
        sizes = [row.get(key) for key in ("predicted_bytes", "bytes", "disk_bytes")]
        cells = [f"{row['speech']} ({row['utterances']})", name, f"{row['stored_bits'] or 16:g}"]
        cells += ["" if size is None else f"{size / 1e6:.3f}" for size in sizes]
        gap, wer, same = (
            row.get(key) for key in ("largest_difference", "wer_measured_map", "same_texts")
        )
        cells.append("" if gap is None else f"{gap:.1e}")
        cells.append(f"{100 * row['wer']:.2f}")
        cells.append("" if wer is None else f"{100 * wer:.2f}")
        cells.append("" if same is None else f"{same}")
        cells += [f"{row[key]:.3f}" for key in ("real_time_factor", "processor_factor")]
        cells.append(f"{row['peak_mb']:.0f}" if "peak_mb" in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    demo = ROOT / "data" / "speech" / "demo" / "manifest.jsonl"
    parser.add_argument("--speech", type=Path, default=demo)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--targets", default="", help="only these, comma-separated")
    parser.add_argument("--picks", type=float, nargs="+", default=PICKS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--markdown", action="store_true", help="print what there is as a table")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(alone(options.alone, load_manifest(options.speech, options.limit))))
    elif options.markdown:
        print(markdown(read()))
    else:
        run(options)


if __name__ == "__main__":
    main()
