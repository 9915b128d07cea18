"""Long recordings against the same utterances one by one: word errors, and memory by length.

    python -m benchmarks.long_form --speech librispeech-mini/dev.jsonl \\
        --more librispeech-mini/calibration-large.jsonl
    python -m benchmarks.long_form --report

Utterances of `--speech`, and of `--more` as far as an hour needs them, are joined in their order to
recordings of 5, 20 and 60 minutes, with 0.3 to 0.8 s of silence between them (drawn, seed 0), and
decoded window by window on one thread at full precision; each row in a process of its own, whose
peak memory is told. The utterances of `--speech` alone, in one recording, are also decoded with
solved maps: how many windows loop, and how much of the audio is covered. Rows are saved in
`benchmarks/results/long_form.json` as they come, and another run goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import peak_bytes
from genptq_core.speech.utterances import RATE, Utterance, duration, load_audio, utterance
from genptq_core.speech.wer import WHISPER_ENGLISH, blockwise, count_errors, paired_interval

RESULTS = Path("benchmarks/results/long_form.json")
SINGLE = "single utterances"
MINUTES = (60, 5, 20)
WIDTHS = (2.0, 1.75)
HOUR = 3600.0


def chosen(options: argparse.Namespace) -> list[Utterance]:
    """An hour of utterances: those of `--speech`, then of `--more`."""
    from genptq_core import load_speech

    found: list[Utterance] = []
    seconds = 0.0
    for source in (options.speech, options.more):
        for one in load_speech(source).utterances if source else ():
            if seconds < HOUR:
                found.append(one)
                seconds += duration(one)
    return found


def joined(utterances: Sequence[Utterance], minutes: float, folder: Path) -> list[Utterance]:
    """The utterances in recordings of about so many minutes, silence between them."""
    import dataclasses

    import soundfile

    random = np.random.default_rng(0)
    made: list[Utterance] = []
    waiting = list(utterances)
    while waiting:
        texts, length = [], 0
        path = folder / f"{len(made)}.flac"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            while waiting and length < minutes * 60 * RATE:
                one = waiting.pop(0)
                silence = np.zeros(int(random.uniform(0.3, 0.8) * RATE), dtype=np.float32)
                samples = np.concatenate([load_audio(one), silence])
                file.write(samples)
                texts.append(one.text)
                length += len(samples)
        made.append(dataclasses.replace(utterance(path), text=" ".join(texts)))
    return made


def decoded(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """One row: the texts, how they were heard, and what that took."""
    import torch

    from genptq_core import load_model, load_profile
    from genptq_core.measurement.measure import transcribe_files
    from genptq_core.models.long_form import long_form_of
    from genptq_core.models.weights import replaced
    from genptq_core.rounding.long_recordings import groups
    from genptq_core.speech.utterances import speech_set

    torch.set_num_threads(1)
    profile = load_profile(options.profile)
    model = load_model(profile.source.model)
    kind, _, value = name.partition(" ")
    speech = chosen(options)
    if kind == "map":
        from genptq_core import load_speech

        speech = list(load_speech(options.speech).utterances)
    weights: Any = {}
    if kind == "map":
        weights = weights_of(model, profile, float(value))
    with tempfile.TemporaryDirectory() as folder:
        if name == SINGLE:
            recordings = speech
        else:
            minutes = float(value) if kind == "minutes" else HOUR
            recordings = joined(speech, minutes, Path(folder))
        began, texts, windows = time.process_time(), [], []
        if name == SINGLE:
            texts = transcribe_files(model, speech_set(SINGLE, recordings))
        else:
            form = long_form_of(model)
            with replaced(model, weights):
                for one in recordings:
                    heard = [w for group in groups(model, one, None) for w in group.windows]
                    texts.append(form.text([token for w in heard for token in w.said]))
                    windows += heard
        seconds = sum(duration(one) for one in recordings)
        return {
            "recordings": len(recordings),
            "utterances": len(speech),
            "seconds": round(seconds, 1),
            "references": [one.text for one in recordings],
            "texts": texts,
            "windows": len(windows),
            "loops": sum(w.loops for w in windows),
            "covered": sum(w.covered for w in windows) / RATE / seconds if windows else None,
            "processor_seconds": round(time.process_time() - began, 1),
            "peak_mb": round(peak_bytes() / 1e6),
        }


def weights_of(model: Any, profile: Any, bits: float) -> Any:
    """The weights of a solved map of so many bits."""
    from genptq_core import problem, quantized_weights
    from genptq_core.allocation.solving import solve_average_bits

    return quantized_weights(model, profile, solve_average_bits(problem(profile), bits).options)


def report(rows: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        "| what | recordings | minutes | windows | loops | covered % | WER % | change, points | "
        "interval | peak MB | processor s per s |",
        "| --- " * 11 + "|",
    ]
    single = rows[SINGLE]
    for name in sorted(rows, key=_order):
        row = rows[name]
        words = " ".join(row["references"])
        counted = [count_errors([words], [" ".join(row["texts"])], WHISPER_ENGLISH)]
        texts = single["texts"][: row["utterances"]]
        counted.append(count_errors([words], [" ".join(texts)], WHISPER_ENGLISH))
        both = [" ".join(texts), " ".join(row["texts"])]
        blocks = [
            blockwise(errors, [words], [text], WHISPER_ENGLISH)
            for errors, text in zip(counted[::-1], both, strict=True)
        ]
        low, high = paired_interval(blocks[0], blocks[1])
        change = 100 * (counted[0].wer - counted[1].wer)
        covered = "" if row["covered"] is None else f"{100 * row['covered']:.1f}"
        cells = [
            *(said(name), row["recordings"], f"{row['seconds'] / 60:.1f}", row["windows"] or ""),
            *(row["loops"] if row["windows"] else "", covered, f"{100 * counted[0].wer:.2f}"),
            *(("", "") if name == SINGLE else _difference(change, low, high)),
            *(row["peak_mb"], f"{row['processor_seconds'] / row['seconds']:.3f}"),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _order(name: str) -> tuple[int, float]:
    """Single utterances, then longer and longer recordings, then smaller and smaller maps."""
    kind, _, value = name.partition(" ")
    if name == SINGLE:
        return 0, 0.0
    return (1, float(value)) if kind == "minutes" else (2, -float(value))


def _difference(change: float, low: float, high: float) -> tuple[str, str]:
    return f"{change:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"


def said(name: str) -> str:
    """A row's name in words."""
    kind, _, value = name.partition(" ")
    if kind == "minutes":
        return f"{value} minutes each"
    return f"the first set in one, {value} bits" if kind == "map" else name


def main() -> None:
    """Decode what is missing, row by row, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=Path("data/profiles/whisper-tiny.en"))
    parser.add_argument("--speech", default="")
    parser.add_argument("--more", default="")
    parser.add_argument("--row", default="", help=argparse.SUPPRESS)
    parser.add_argument("--report", action="store_true", help="print the table, decode nothing")
    options = parser.parse_args()
    if options.row:
        sys.stdout.write(json.dumps(decoded(options, options.row)))
        return
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    names = [SINGLE, *(f"minutes {m}" for m in MINUTES), *(f"map {bits:g}" for bits in WIDTHS)]
    for name in names if not options.report else ():
        if name in rows:
            continue
        command = [sys.executable, "-m", "benchmarks.long_form", "--row", name]
        command += ["--profile", str(options.profile), "--speech", options.speech]
        command += ["--more", options.more]
        rows[name] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        rows = {known: rows[known] for known in names if known in rows}
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(report(rows))


if __name__ == "__main__":
    main()
