"""How fast a map's WER is measured, compared with faster-whisper and plain `generate`, in one run.

    pip install -r requirements-bench.txt
    python -m benchmarks.measure --profile data/profiles/whisper-tiny.en --speech MANIFEST

Each decodes the same utterances greedily with the same number of threads. Ours and `generate`
decode the same quantized weights in batches, as a measurement does; faster-whisper (CTranslate2,
float32, beam 1) the unquantized ones, for it can load no such map, one utterance at a time, as it
is made for. Rounds take turns, and the fastest of each counts. Recordings are read before; all
times include features, encoder and decoder. What a measurement takes in addition (the divergence on
full precision's transcript) is a line of its own.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

from genptq_core import bit_map, load_manifest, load_model, load_profile, problem, solve
from genptq_core.measurement.shards import random_blocks
from genptq_core.models import SpeechModel, bundled
from genptq_core.models.divergence import divergence
from genptq_core.models.weights import replaced
from genptq_core.profile import of_weights
from genptq_core.rounding.baseline import baseline
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import RATE, SpeechSet, load_audio
from genptq_core.speech.wer import count_errors

Texts = list[str]


def batches(speech: SpeechSet) -> list[list[int]]:
    """Utterances alike in length together, as a measurement takes them."""
    return [list(shard) for block in random_blocks(speech) for shard in block]


def in_batches(speech: SpeechSet, decode: Callable[[list[int]], Texts]) -> Texts:
    """Texts in the set's order."""
    texts: dict[int, str] = {}
    for part in batches(speech):
        texts.update(zip(part, decode(part), strict=True))
    return [texts[i] for i in range(len(speech))]


def ours(model: SpeechModel, audio: list[np.ndarray], speech: SpeechSet) -> Texts:
    """What a measurement decodes."""

    def decode(part: list[int]) -> Texts:
        with torch.no_grad():
            transcripts = model.transcribe(model.encode([audio[i] for i in part]))
        return [t.text for t in transcripts]

    return in_batches(speech, decode)


def generated(model: Any, audio: list[np.ndarray], speech: SpeechSet) -> Texts:
    """The same by `generate` of transformers."""
    module, tokenizer = model.module, model._tokenizer
    settings = copy.deepcopy(module.generation_config)
    settings.max_length, settings.max_new_tokens = None, module.config.max_target_positions // 2
    settings.num_beams, settings.do_sample, settings.return_timestamps = 1, False, False
    times = range(int(settings.no_timestamps_token_id) + 1, int(module.config.vocab_size))
    settings.suppress_tokens = [*(settings.suppress_tokens or ()), *times]

    def decode(part: list[int]) -> Texts:
        features = model._features(
            [audio[i] for i in part], sampling_rate=RATE, return_tensors="pt"
        )
        with torch.no_grad():
            states = module.model.encoder(features.input_features).last_hidden_state
            rows = module.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
                generation_config=settings,
            )
        return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]

    return in_batches(speech, decode)


def fast_whisper(model: Any, audio: list[np.ndarray]) -> Texts:
    """An utterance at a time by faster-whisper."""
    texts = []
    for samples in audio:
        parts, _ = model.transcribe(
            samples,
            beam_size=1,
            temperature=0,
            language="en",
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        texts.append(" ".join(part.text.strip() for part in parts))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=Path("data/profiles/whisper-tiny.en"))
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--stored-bits", type=float, default=3.49)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from faster_whisper import WhisperModel

    profile = of_weights(load_profile(options.profile))
    model = load_model(profile.source.model)
    speech = load_manifest(options.speech, options.limit)
    audio = [load_audio(u) for u in speech.utterances]
    budget = int(options.stored_bits * profile.source.parameters / 8)
    chosen = bit_map(profile, solve(problem(profile), budget).options)
    started = time.perf_counter()
    weights = quantized_weights(model, profile, chosen.options)
    rounding = time.perf_counter() - started
    full, states = baseline(model, speech.utterances)

    def quantized(decode: Callable[..., Texts]) -> Texts:
        with replaced(model, weights):
            return decode(model, audio, speech)

    def divergences() -> Texts:
        for part in batches(speech):
            with torch.no_grad():
                with replaced(model, weights):
                    encoded = model.encode([audio[i] for i in part])
                    heads = model.head_inputs(encoded, [full[i] for i in part])
                    changed = [model.log_probs(s) for s in heads]
                divergence([model.log_probs(states[i]) for i in part], changed)
        return []

    fast = WhisperModel(
        str(bundled.folder()), device="cpu", compute_type="float32", cpu_threads=options.threads
    )
    ways: dict[str, Callable[[], Texts]] = {
        "faster-whisper, float32, beam 1": lambda: fast_whisper(fast, audio),
        "ours": lambda: quantized(ours),
        "`generate`, the same batches": lambda: quantized(generated),
        "divergence, encoding included": divergences,
    }
    wall = {name: np.inf for name in ways}
    processor = dict(wall)
    texts: dict[str, Texts] = {}
    for _ in range(options.rounds):
        for name, way in ways.items():
            started, used = time.perf_counter(), time.process_time()
            texts[name] = way()
            processor[name] = min(processor[name], time.process_time() - used)
            wall[name] = min(wall[name], time.perf_counter() - started)
    spoken = sum(len(a) for a in audio) / RATE
    references = [u.text for u in speech.utterances]
    about = f"{len(speech)} utterances, {spoken:.0f} s of speech, {options.threads} threads"
    print(f"{about}; map of {options.stored_bits} stored bits, rounded in {rounding:.1f} s\n")
    print("| | real-time factor | processor factor | of faster-whisper's | WER, % |")
    print("|---|---|---|---|---|")
    unit = processor["faster-whisper, float32, beam 1"]
    for name in ways:
        wer = f"{100 * count_errors(references, texts[name]).wer:.2f}" if texts[name] else ""
        print(
            f"| {name} | {wall[name] / spoken:.4f} | {processor[name] / spoken:.4f} "
            f"| {processor[name] / unit:.2f} | {wer} |"
        )
    same = sum(
        a == b for a, b in zip(texts["ours"], texts["`generate`, the same batches"], strict=True)
    )
    print(f"\nSame text as `generate`: {same} of {len(speech)} utterances.")


if __name__ == "__main__":
    main()
