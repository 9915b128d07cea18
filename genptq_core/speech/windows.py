"""Long recordings cut at pauses into utterances of up to 30 s, for what needs no texts.

A profile transcribes its calibration speech itself, so that any cut will do which goes through no
word: the quietest moment of the last ten seconds of each window. Each window is a file of its own
in the cache, named by a digest of its content, so that all that is computed from it is keyed by its
samples.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from scipy.io import wavfile

from ..storage.digests import sha256, sha256_file
from ..storage.files import atomic
from ..storage.locations import recording_file
from .long_audio import LongAudio, is_long
from .utterances import LONGEST, RATE, SpeechSet, Utterance, speech_set

_EARLIEST = 20.0  # seconds into a window before which it is not cut
_PAUSE = 0.2  # seconds over which energy is averaged
_STEP = RATE // 50  # samples between the moments that are compared
_SHORTEST = RATE // 10  # samples of a rest that is kept: no word is shorter


def in_windows(speech: SpeechSet) -> SpeechSet:
    """A set whose recordings of more than 30 s are cut into windows, without texts.

    Returns:
        The set itself if none is as long.

    Raises:
        SpeechError: a recording cannot be used.
        GenPTQError: the cache cannot be written.
    """
    long = [is_long(utterance) for utterance in speech.utterances]
    if not any(long):
        return speech
    found: list[Utterance] = []
    for utterance, cut in zip(speech.utterances, long, strict=True):
        found += [_stored(part, utterance) for part in windows(utterance)] if cut else [utterance]
    return speech_set(speech.name, found)


def windows(recording: Utterance) -> Iterator[np.ndarray]:
    """The samples of a recording of any length, cut at pauses into parts of up to 30 s.

    Raises:
        SpeechError: it cannot be used.
    """
    audio, start, size = LongAudio(recording), 0, int(LONGEST * RATE)
    while True:
        samples = audio.read(start, size)
        if not audio.reaches(start + size + _SHORTEST):
            yield samples
            return
        samples = samples[: quietest(samples)]
        start += len(samples)
        yield samples


def quietest(samples: np.ndarray) -> int:
    """Where a window, (n,), is cut: the quietest moment after its first 20 s, in samples."""
    half = int(_PAUSE * RATE) // 2
    energy = np.concatenate([[0.0], np.square(samples, dtype=np.float64).cumsum()])
    moments = np.arange(int(_EARLIEST * RATE), len(samples) - half, _STEP)
    around = energy[moments + half] - energy[moments - half]
    # Of moments that are as quiet the last, so that a pause belongs to the window that it ends.
    return int(moments[len(moments) - 1 - np.argmin(around[::-1])])


def _stored(samples: np.ndarray, whole: Utterance) -> Utterance:
    """A window as an utterance, its samples in a file of the cache."""
    data = _wave(samples)
    digest = sha256(data)
    path = recording_file(digest, ".wav")
    if not path.is_file() or sha256_file(path) != digest:
        with atomic(path) as temporary:
            temporary.write_bytes(data)
    return Utterance(path, "", whole.speaker, digest, whole.language)


def _wave(samples: np.ndarray) -> bytes:
    """A WAV of float32 samples; libsndfile's would hold the time at which it was written."""
    file = io.BytesIO()
    wavfile.write(file, RATE, np.ascontiguousarray(samples, dtype="<f4"))
    return file.getvalue()
