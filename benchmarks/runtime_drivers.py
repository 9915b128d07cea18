"""Decodes a speech set in one runtime, in a process of its own; the figures are printed as JSON.

    python -m benchmarks.runtime_drivers --runtime transcribe.cpp --model X.gguf --speech Y.jsonl

`benchmarks.runtimes` starts it for each row of its table, so that memory and processor time are of
that runtime and model alone. A driver takes the path of a model and returns a function from samples
to text: greedy decoding, one thread, at most 224 tokens where the runtime lets one say so.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import peak_bytes
from genptq_core.speech.utterances import RATE, load_audio, load_manifest

MOST_TOKENS = 224
"""Tokens of a transcript, half of Whisper's text context, as OpenAI's decoder has it."""

LONGEST_SAMPLES = 30 * RATE
"""Samples that Whisper hears at once."""

Transcribe = Callable[[np.ndarray], str]


def transcribe_cpp(model: Path) -> Transcribe:
    """transcribe.cpp with its own settings, so greedy at first: it decodes again, less and less
    greedily, what it takes for a loop. A text that it gives up on counts as far as it went.
    """
    import transcribe_cpp as runtime

    session = runtime.Model(str(model)).session(n_threads=1)

    def run(samples: np.ndarray) -> str:
        try:
            return str(session.run(samples).text)
        except runtime.OutputTruncated as stopped:  # repetition, or too many tokens
            return str(stopped.partial_result.text) if stopped.partial_result else ""

    return run


def _faster_whisper(compute_type: str, padded: bool = False) -> Callable[[Path], Transcribe]:
    """faster-whisper; it fills short recordings up with zero features, unless they are padded."""

    def load(model: Path) -> Transcribe:
        from faster_whisper import WhisperModel

        whisper = WhisperModel(str(model), device="cpu", compute_type=compute_type, cpu_threads=1)

        def run(samples: np.ndarray) -> str:
            silence = max(LONGEST_SAMPLES - len(samples), 0) if padded else 0
            parts, _ = whisper.transcribe(
                np.pad(samples, (0, silence)),
                beam_size=1,
                temperature=0,
                language="en",
                without_timestamps=True,
                condition_on_previous_text=False,
                max_new_tokens=MOST_TOKENS,
            )
            return " ".join(part.text.strip() for part in parts)

        return run

    return load


def _export(name: str) -> Callable[[Path], Transcribe]:
    """An export, read by the module that wrote it, decoded as a measurement is."""

    def load(model: Path) -> Transcribe:
        from importlib import import_module

        loaded = import_module(f"genptq_core.formats.{name}").load(model, str(model))

        def run(samples: np.ndarray) -> str:
            return str(loaded.transcribe(loaded.encode([samples]))[0].text)

        return run

    return load


def transformers(model: Path) -> Transcribe:
    """`generate` of transformers, float32 whatever the file holds."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers import WhisperTokenizer as Tokenizer

    torch.set_num_threads(1)
    options: dict[str, Any] = {"local_files_only": True}
    whisper: Any = WhisperForConditionalGeneration.from_pretrained(
        model, dtype=torch.float32, **options
    )
    extract = WhisperFeatureExtractor.from_pretrained(model, **options)
    tokenizer: Any = Tokenizer.from_pretrained(model, **options)
    settings = whisper.generation_config
    settings.max_length = None

    def run(samples: np.ndarray) -> str:
        features = extract(samples, sampling_rate=RATE, return_tensors="pt").input_features
        with torch.no_grad():
            rows = whisper.generate(
                features, max_new_tokens=MOST_TOKENS, num_beams=1, do_sample=False
            )
        return str(tokenizer.decode(rows[0], skip_special_tokens=True)).strip()

    return run


@dataclass(frozen=True)
class Runtime:
    """A runtime: the packages whose versions are told, and its driver."""

    packages: tuple[str, ...]
    load: Callable[[Path], Transcribe]


RUNTIMES: dict[str, Runtime] = {
    "transcribe.cpp": Runtime(("transcribe-cpp",), transcribe_cpp),
    "faster-whisper": Runtime(("faster-whisper", "ctranslate2"), _faster_whisper("int8")),
    "faster-whisper, float32": Runtime(
        ("faster-whisper", "ctranslate2"), _faster_whisper("float32")
    ),
    "faster-whisper, padded": Runtime(
        ("faster-whisper", "ctranslate2"), _faster_whisper("int8", padded=True)
    ),
    "faster-whisper, float32, padded": Runtime(
        ("faster-whisper", "ctranslate2"), _faster_whisper("float32", padded=True)
    ),
    "ONNX Runtime": Runtime(("onnxruntime",), _export("onnx_runtime")),
    "transformers": Runtime(("transformers", "torch"), transformers),
    "MLX": Runtime(("mlx", "mlx-audio"), _export("mlx")),
}


def mapped_bytes(model: Path) -> int:
    """Bytes of the model's files that this process has mapped and in memory, now."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        first = line.split(maxsplit=5)
        if "-" in first[0] and not first[0].endswith(":"):
            inside = len(first) == 6 and Path(first[5]).is_relative_to(model.resolve())
        elif inside and first[0] == "Rss:":
            total += int(first[1]) * 1024
    return total


def main() -> None:
    """Load, decode one utterance after another, and print the figures as one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = "; ".join(RUNTIMES)
    parser.add_argument("--runtime", choices=RUNTIMES, required=True, metavar="NAME", help=names)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    speech = load_manifest(options.speech, options.limit)
    runtime = RUNTIMES[options.runtime]
    transcribe = runtime.load(options.model)
    texts, seconds, processor = [], 0.0, 0.0
    for utterance in speech.utterances:
        samples = load_audio(utterance)
        started = time.process_time()
        texts.append(transcribe(samples))
        processor += time.process_time() - started
        seconds += len(samples) / RATE
    figures = {
        "versions": {package: version(package) for package in runtime.packages},
        "processor_factor": processor / seconds,
        "peak_bytes": peak_bytes(),
        "mapped_bytes": mapped_bytes(options.model),
        "seconds": seconds,
        "texts": texts,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
