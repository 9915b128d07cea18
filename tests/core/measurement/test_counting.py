"""How a measurement counts: the normalizer that fits, and what is written where nothing is said."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import SpeechError
from genptq_core.loading import load_model
from genptq_core.measurement.evaluation import Evaluation
from genptq_core.measurement.measure import measure, normalizer_of, score
from genptq_core.measurement.records import Measured, from_fields, to_fields
from genptq_core.measurement.shards import ShardResult
from genptq_core.measurement.store import load_measured, save_measured
from genptq_core.models import SpeechModel
from genptq_core.speech.utterances import SpeechSet, load_manifest
from tests.core import synthetic
from tests.core.tiny_models import WAV2VEC2, random_ctc

CHINESE = ("今天天气很好", "你好")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(random_ctc(tmp_path_factory.mktemp("model"), WAV2VEC2)))


def _speech(folder: Path, texts: Sequence[str]) -> SpeechSet:
    lines = []
    for index, text in enumerate(texts):
        wave = np.random.default_rng(index).normal(0, 0.1, 4_800)
        soundfile.write(folder / f"{index}.wav", wave, 16_000)
        lines.append(json.dumps({"audio": f"{index}.wav", "text": text}))
    (folder / "talks.jsonl").write_text("\n".join(lines))
    return load_manifest(folder / "talks.jsonl")


def test_the_record_names_the_normalizer_that_fits(model: SpeechModel, tmp_path: Path) -> None:
    speech = _speech(tmp_path, CHINESE)
    profile = synthetic.profile_of(model, group_size=16, bits=(2, 4))
    chosen = bit_map(profile, ["4/16"] * len(profile.units))
    record = measure(model, profile, chosen, speech)
    assert record.normalizer == "multilingual-characters"
    assert record.words == 8
    assert record.set_key == f"{speech.digest}/multilingual-characters"
    with pytest.raises(SpeechError, match=r"'basic' does not fit the texts of .*talks") as caught:
        measure(model, profile, chosen, speech, normalizer="basic")
    assert "'multilingual-characters'" in caught.value.hint
    with pytest.raises(SpeechError, match="does not fit"):
        score(model, {}, speech, normalizer="multilingual")


def test_the_model_s_own_normalizer_stays_where_it_fits(model: SpeechModel, tmp_path: Path) -> None:
    speech = _speech(tmp_path, ["the cat sat", "five five"])
    assert normalizer_of(model, speech) == model.normalizer == "basic"
    assert normalizer_of(model, speech, "whisper-english") == "whisper-english"


def _evaluated(speech: SpeechSet, full: Sequence[str], picked: Sequence[str]) -> Evaluation:
    evaluation = Evaluation(speech, "basic")
    for number in evaluation.remaining:
        at = [speech.utterances.index(u) for u in evaluation.utterances(number)]
        evaluation.add(
            number,
            ShardResult(
                full=tuple(full[i] for i in at),
                heard=tuple(picked[i] for i in at),
                losses=(0.1,) * len(at),
                tokens=(1,) * len(at),
                seconds=1.0,
            ),
        )
    return evaluation


def test_what_is_written_on_silence_enters_no_rate(tmp_path: Path) -> None:
    speech = _speech(tmp_path, ["the cat sat", "[noise]", "..."])
    scored = _evaluated(
        speech, ["the cat sat", "", "hm"], ["the cat", "thank you very much", "bye"]
    ).score()
    assert (scored.wer_full_precision, scored.wer, scored.words) == (0, pytest.approx(1 / 3), 3)
    assert scored.insertions_on_silence == 5


def test_a_set_of_silence_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="no reference texts"):
        Evaluation(_speech(tmp_path, ["[noise]", "..."]), "multilingual")


def test_the_count_is_stored_only_where_there_is_one(tmp_path: Path) -> None:
    """So that older programs read what has none, and older files stay as they are."""
    profile = synthetic.profile(1)
    none: Measured = synthetic.measured(profile, 4)
    assert "insertions_on_silence" not in to_fields(none)
    assert from_fields(to_fields(none)) == none
    some = dataclasses.replace(none, insertions_on_silence=3)
    assert from_fields(to_fields(some)) == some
    save_measured(tmp_path, profile.digest, some)
    assert load_measured(tmp_path, profile.digest) == [some]
    for wrong in (True, 1.5, None):
        with pytest.raises(ValueError, match="insertions_on_silence"):
            from_fields({**to_fields(none), "insertions_on_silence": wrong})
