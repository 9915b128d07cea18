"""Make the demo speech: synthetic voices, a third of them with noise or reverberation.

Reads ``demo/sentences.txt`` (voice | condition | text), speaks each line with a free
synthesizer, mixes in the condition's noise from fixed seeds, and writes 16 kHz mono FLAC
files with ``manifest.jsonl`` next to them. The same versions of the tools give the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from scipy.signal import fftconvolve

RATE = 16_000
SEED = 20_240_501
PAD_S = 0.25  # quiet (or noise alone) before and after the words
LEVEL_DB = -26.0  # root mean square of every file, relative to full scale
PEAK = 0.89
BABBLE_TALKERS = 5

#: Each voice's command; "{text}" and "{wav}" stand for the input and output files.
VOICES: dict[str, list[str]] = {
    "flite-slt": ["flite", "-voice", "slt", "-f", "{text}", "-o", "{wav}"],
    "flite-rms": ["flite", "-voice", "rms", "-f", "{text}", "-o", "{wav}"],
    "flite-awb": ["flite", "-voice", "awb", "-f", "{text}", "-o", "{wav}"],
    "festival-kal": ["text2wave", "-o", "{wav}", "-eval", "(voice_kal_diphone)", "{text}"],
    "festival-ked": ["text2wave", "-o", "{wav}", "-eval", "(voice_ked_diphone)", "{text}"],
    "festival-slt-hts": [
        *("text2wave", "-o", "{wav}", "-eval", "(voice_cmu_us_slt_arctic_hts)", "{text}"),
    ],
    "espeak-en-us-steph": [
        *("espeak-ng", "-v", "en-us+steph", "-s", "140", "-f", "{text}", "-w", "{wav}"),
    ],
    "espeak-en-us-klatt2": [
        *("espeak-ng", "-v", "en-us+klatt2", "-s", "150", "-f", "{text}", "-w", "{wav}"),
    ],
    "espeak-en-us-m3": [
        *("espeak-ng", "-v", "en-us+m3", "-s", "130", "-f", "{text}", "-w", "{wav}"),
    ],
    "espeak-en-us-f2": [
        *("espeak-ng", "-v", "en-us+f2", "-s", "130", "-f", "{text}", "-w", "{wav}"),
    ],
}

#: The Debian packages that hold each command and its voices.
PACKAGES = {
    "flite": "flite",
    "text2wave": "festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts",
    "espeak-ng": "espeak-ng",
}

NOISE = re.compile(r"(white|pink|babble) (-?\d+(?:\.\d+)?) dB")
REVERB = re.compile(r"reverb (\d+(?:\.\d+)?) s")


class DemoError(Exception):
    """Something the person running the script can put right, in one sentence."""


@dataclass(frozen=True)
class Line:
    """One utterance to make: who speaks, under which condition, and the words."""

    voice: str
    condition: str
    text: str


def read_lines(path: Path) -> list[Line]:
    """Read the sentence file; blank lines and lines that start with # are skipped."""
    lines = []
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DemoError(f"The sentence file {path} cannot be read: {error.strerror}.") from error
    for number, row in enumerate(rows, start=1):
        if not row.strip() or row.startswith("#"):
            continue
        parts = [part.strip() for part in row.split("|")]
        where = f"Line {number} of {path.name}"
        if len(parts) != 3 or not all(parts):
            raise DemoError(f"{where} is not of the form: voice | condition | text.")
        if parts[0] not in VOICES:
            raise DemoError(f'{where} names the unknown voice "{parts[0]}".')
        for part in parts[1].split(" + "):
            if part != "clean" and not NOISE.fullmatch(part) and not REVERB.fullmatch(part):
                raise DemoError(f'{where} names the unknown condition "{part}".')
        voice, condition, text = parts
        lines.append(Line(voice, condition, text))
    if not lines:
        raise DemoError(f"The sentence file {path} holds no sentences.")
    return lines


def check_tools(lines: list[Line]) -> None:
    """Raise DemoError for the first synthesizer that the lines need and the PATH lacks."""
    for tool in sorted({VOICES[line.voice][0] for line in lines}):
        if shutil.which(tool) is None:
            raise DemoError(
                f'The program "{tool}" is missing; install it with: apt-get install '
                f"{PACKAGES[tool]}"
            )


def speak(line: Line, folder: Path) -> np.ndarray:
    """Speak one line; return it at 16 kHz, silent ends cut, with a root mean square of 1."""
    text, wav = folder / "line.txt", folder / "line.wav"
    text.write_text(line.text + "\n", encoding="utf-8")
    wav.unlink(missing_ok=True)
    places = {"text": str(text), "wav": str(wav)}
    command = [word.format(**places) for word in VOICES[line.voice]]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode != 0 or not wav.is_file():
        reason = " ".join(completed.stderr.split()) or f"exit code {completed.returncode}"
        raise DemoError(
            f'The voice "{line.voice}" gave no speech ({reason}); is everything installed? '
            f"apt-get install {PACKAGES[command[0]]}"
        )
    samples, rate = sf.read(wav, dtype="float64", always_2d=True)
    speech = samples.mean(axis=1)
    if rate != RATE:
        speech = soxr.resample(speech, rate, RATE, quality="VHQ")
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max(initial=0.0))
    if loud.size == 0:
        raise DemoError(f'The voice "{line.voice}" spoke only silence for: {line.text}')
    return unit_rms(speech[loud[0] : loud[-1] + 1])


def unit_rms(samples: np.ndarray) -> np.ndarray:
    """Scale samples to a root mean square of 1."""
    return samples / np.sqrt(np.mean(np.square(samples)))


def pink_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Make noise whose power falls by 3 dB an octave, level below 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20.0)), count)


def babble(count: int, others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Mix several other utterances, each repeated to length from a random place."""
    if not others:
        raise DemoError("Babble needs at least one other sentence spoken by another voice.")
    mixed = np.zeros(count)
    for pick in rng.choice(len(others), size=min(BABBLE_TALKERS, len(others)), replace=False):
        talker = np.roll(others[pick], int(rng.integers(others[pick].size)))
        mixed += np.resize(talker, count)
    return mixed


def reverberate(samples: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Add a synthetic room: a noise tail that falls by 60 dB in the given seconds.

    The tail starts 5 ms after the direct sound and carries the same energy.
    """
    times = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(times.size) * 10.0 ** (-3.0 * times / seconds)
    tail[: int(0.005 * RATE)] = 0.0
    tail /= np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1.0
    return fftconvolve(samples, tail)[: samples.size]


def apply_condition(
    speech: np.ndarray, condition: str, others: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Pad one utterance, add what its condition names, and bring it to the common level.

    The ratio in dB is that of the spoken part, silent ends left out, to the noise.
    """
    quiet = np.zeros(int(PAD_S * RATE))
    tail = quiet if "reverb" not in condition else np.zeros(2 * quiet.size)
    mixed = np.concatenate([quiet, speech, tail])
    for part in condition.split(" + "):
        if room := REVERB.fullmatch(part):
            mixed = reverberate(mixed, float(room[1]), rng)
        elif noise := NOISE.fullmatch(part):
            if noise[1] == "babble":
                added = babble(mixed.size, others, rng)
            elif noise[1] == "pink":
                added = pink_noise(mixed.size, rng)
            else:
                added = rng.standard_normal(mixed.size)
            spoken = mixed[quiet.size : quiet.size + speech.size]
            gain = np.sqrt(np.mean(np.square(spoken))) * 10.0 ** (-float(noise[2]) / 20.0)
            mixed = mixed + gain * unit_rms(added)
    mixed = unit_rms(mixed) * 10.0 ** (LEVEL_DB / 20.0)
    return mixed * min(1.0, PEAK / np.abs(mixed).max())


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Write 16-bit mono FLAC under a temporary name, then rename it."""
    part = path.with_name(f".{path.name}.part")
    whole = np.round(samples * 32767.0).astype(np.int16)
    sf.write(part, whole, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
    os.replace(part, path)


def make_demo(sentences: Path, out: Path) -> tuple[int, float, int]:
    """Make every file and the manifest; return the count, the seconds and the audio bytes."""
    lines = read_lines(sentences)
    check_tools(lines)
    with tempfile.TemporaryDirectory() as folder:
        spoken = [speak(line, Path(folder)) for line in lines]
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows, seconds, size = [], 0.0, 0
    for index, line in enumerate(lines):
        rng = np.random.default_rng([SEED, index])
        others = [
            speech
            for speech, talker in zip(spoken, lines, strict=True)
            if talker.voice != line.voice and talker.text != line.text
        ]
        samples = apply_condition(spoken[index], line.condition, others, rng)
        name = f"audio/demo-{index + 1:03d}.flac"
        write_flac(out / name, samples)
        seconds += samples.size / RATE
        size += (out / name).stat().st_size
        row = {
            "audio": name,
            "text": line.text,
            "duration": round(samples.size / RATE, 2),
            "speaker": line.voice,
            "condition": line.condition,
        }
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    part = out / ".manifest.jsonl.part"
    part.write_text("".join(rows), encoding="utf-8")
    os.replace(part, out / "manifest.jsonl")
    return len(rows), seconds, size


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after one sentence on standard error."""
    here = Path(__file__).resolve().parent / "demo"
    parser = argparse.ArgumentParser(description="Make the demo speech again.")
    parser.add_argument("--sentences", type=Path, default=here / "sentences.txt")
    parser.add_argument("--out", type=Path, default=here, help="folder to write into")
    options = parser.parse_args(argv)
    try:
        count, seconds, size = make_demo(options.sentences, options.out)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The demo speech cannot be written: {error}.", file=sys.stderr)
        return 2
    print(f"{count} utterances, {seconds / 60:.2f} minutes, {size:,} bytes of FLAC")
    return 0


if __name__ == "__main__":
    sys.exit(main())
