"""Long recordings, window by window: Whispers and CTC models."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.models import Transcript
from genptq_core.models.long_form import Window, heard, long_form_of
from genptq_core.models.overlapping_windows import OverlappingWindows
from genptq_core.models.timed_windows import SIZE
from genptq_core.speech.utterances import RATE, Utterance, load_audio, load_manifest, utterance
from genptq_core.speech.wer import count_errors


def noise(path: Path, seconds: float) -> Utterance:
    samples = np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE))
    soundfile.write(path, samples, RATE)
    return utterance(path)


def test_a_whisper_s_windows_follow_one_another(random_whisper: Path, tmp_path: Path) -> None:
    model = load_model(str(random_whisper))
    form, recording = long_form_of(model), noise(tmp_path / "a.wav", 37)
    found = [window for window, _ in heard(form, recording)]
    assert found[0].start == 0 and found[-1].next >= int(36.9 * RATE)
    for before, after in itertools.pairwise(found):
        assert after.start == before.next > before.start
        assert before.stop == min(before.start + SIZE, 37 * RATE)
    late = found[len(found) // 2]
    assert next(w.start for w, _ in heard(form, recording, late.start)) == late.start
    assert "<|" not in form.text([token for window in found for token in window.said])
    for window in found:  # times that are decided count for no divergence, and are no text
        decided = [window.transcript.tokens[i] for i in window.kept]
        assert set(window.said) <= set(decided) and len(decided) < len(window.transcript.tokens)


def test_a_short_recording_is_heard_as_before(random_whisper: Path, tmp_path: Path) -> None:
    """Times are asked for in windows alone: the model that they belong to stays as it was."""
    model: Any = load_model(str(random_whisper))
    audio = [load_audio(noise(tmp_path / "a.wav", 2))]
    asked, digest, before = model.settings, model.text_digest, model.transcribe(model.encode(audio))
    form: Any = long_form_of(model)
    assert form.model.settings.prompt == asked.prompt[:-1]
    assert model.settings == asked and model.text_digest == digest
    assert model.transcribe(model.encode(audio)) == before


def test_what_hears_no_long_recordings_says_so() -> None:
    class Short:
        name, family = "x", "moonshine"

    with pytest.raises(ModelError, match=r"x \(moonshine\) takes recordings of up to 30 s"):
        long_form_of(Short())


@settings(max_examples=60)
@given(st.integers(31 * RATE, 200 * RATE), st.sampled_from([320, 640, 1280]))
def test_every_frame_is_taken_once(samples: int, hop: int) -> None:
    """Of the window in which it has two seconds or more on both sides."""
    form = OverlappingWindows(None, hop)
    start, frames, last = 0, [], False
    while not last:
        stop = min(start + form.size, samples)
        last = stop == samples
        labels = range(start // hop, start // hop + max((stop - start) // hop, 1))
        window: Window = form.window(start, stop, Transcript("", tuple(labels)), last)
        frames += window.said
        inside = [i * hop for i in window.kept]
        assert start == 0 or inside[0] >= 2 * RATE - 2 * hop
        assert last or form.size - inside[-1] >= 2 * RATE - 2 * hop
        start = window.next
    assert frames == list(range(len(frames))) and len(frames) >= samples // hop - 1


def test_seams_lose_no_word(shared_speech: Path, tmp_path: Path) -> None:
    """Joined utterances, heard in windows, are heard as well as in one pass over all of them."""
    model: Any = load_model("conformer-an4")
    spoken = load_manifest(shared_speech / "an4" / "dev.jsonl", limit=24).utterances
    audio = np.concatenate([load_audio(one) for one in spoken])
    soundfile.write(tmp_path / "a.flac", audio, RATE)
    form = long_form_of(model)
    windows = [w for w, _ in heard(form, utterance(tmp_path / "a.flac"))]
    with torch.no_grad():
        (whole,) = model.transcribe(model.encode([audio]))
    assert len(windows) > 2 and sum(len(w.said) for w in windows) == len(whole.tokens)
    text = form.text([label for w in windows for label in w.said])
    said = " ".join(one.text for one in spoken)
    errors = count_errors([said, said], [text, whole.text], model.normalizer).errors
    assert errors[0] <= errors[1] + 3
