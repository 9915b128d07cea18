"""A speech set coded as MP3, or with white noise: writes the recordings and a manifest.

    python -m benchmarks.degrade --speech an4/train.jsonl --limit 256 --noise-db 20 --out FOLDER
    python -m benchmarks.degrade --speech librispeech-mini/dev.jsonl --mp3 --out FOLDER

Noise is white, of the given distance to the mean power of each recording, and the same for the
same recording whenever it is made. MP3 has 32 kbit/s.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genptq_core import SpeechSet, Utterance, load_speech
from genptq_core.speech.utterances import RATE, load_audio, speech_set, utterance

MP3_LEVEL = 0.85  # of libsndfile's encoder: 32 kbit/s at 16 kHz


def degraded(
    name: str, utterances: Sequence[Utterance], folder: Path, noise_db: float | None
) -> SpeechSet:
    """The recordings with noise, or as MP3 where no distance is given; their texts stay.

    Args:
        name: of the set that comes out.
        utterances: what to degrade.
        folder: where the recordings go.
        noise_db: power of the speech over that of the noise.
    """
    import soundfile

    made = []
    for recording in utterances:
        samples = load_audio(recording)
        if noise_db is None:
            path = folder / f"{recording.audio.stem}.mp3"
            soundfile.write(
                path,
                samples,
                RATE,
                format="MP3",
                bitrate_mode="CONSTANT",
                compression_level=MP3_LEVEL,
            )
        else:
            path = folder / f"{recording.audio.stem}.flac"
            power = float(np.square(samples).mean()) / 10 ** (noise_db / 10)
            random = np.random.default_rng(int(recording.digest[:8], 16))
            noise = random.normal(0, np.sqrt(power), len(samples))
            soundfile.write(path, np.clip(samples + noise, -1, 1), RATE, subtype="PCM_16")
        made.append(utterance(path, recording.text, recording.speaker))
    return speech_set(name, made)


def main() -> None:
    """Write a degraded set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--limit", type=int)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--noise-db", type=float)
    how.add_argument("--mp3", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    audio = options.out / "audio"
    audio.mkdir(parents=True)
    speech = load_speech(options.speech, options.limit)
    made = degraded(speech.name, speech.utterances, audio, options.noise_db)
    lines = [
        json.dumps({"audio": f"audio/{u.audio.name}", "text": u.text, "speaker": u.speaker})
        for u in made.utterances
    ]
    (options.out / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
