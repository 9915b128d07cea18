"""What a Whisper is asked for: from its own settings, its configuration, and its tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from genptq_core.errors import ModelError, ModelWarning
from genptq_core.loading import load_model
from genptq_core.measurement.shards import shard_key
from genptq_core.models.greedy import greedy
from genptq_core.models.whisper_settings import WhisperSettings, settings_of
from genptq_core.rounding.baseline import baseline
from genptq_core.speech import languages
from genptq_core.speech.utterances import load_manifest

START, SIZE = 50258, 51865
CODES = list(LANGUAGES)[:99]
CONTROLS = (
    *("<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in CODES)),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"),
    "<|notimestamps|>",
)
VOCABULARY = {
    **{f"w{i}": i for i in range(50257)},
    **{t: 50257 + i for i, t in enumerate(CONTROLS)},
}
SAID: dict[str, Any] = {
    "is_multilingual": True,
    "lang_to_id": {f"<|{code}|>": START + 1 + i for i, code in enumerate(CODES)},
    "task_to_id": {"translate": 50358, "transcribe": 50359},
    "decoder_start_token_id": START,
    "no_timestamps_token_id": 50363,
    "eos_token_id": 50257,
    "pad_token_id": 50257,
}
GERMAN, HINDI = 50261, 50276


def test_language_codes_are_those_of_transformers() -> None:
    assert tuple(LANGUAGES) == languages.LANGUAGES
    assert {name: languages.code_of(name) for name in TO_LANGUAGE_CODE} == TO_LANGUAGE_CODE
    assert {code: languages.code_of(code) for code in LANGUAGES} == {c: c for c in LANGUAGES}
    assert all(languages.name_of(code).lower() == name for code, name in LANGUAGES.items())


def made(
    vocabulary: dict[str, int] | None = None, config: dict[str, Any] | None = None, **said: Any
) -> WhisperSettings:
    """Settings of a multilingual model; `None` takes a field of `SAID` away."""
    fields = {k: v for k, v in {**SAID, **said}.items() if v is not None}
    about = {"vocab_size": SIZE, "max_target_positions": 448, **(config or {})}
    known = VOCABULARY if vocabulary is None else vocabulary
    return settings_of("m", SimpleNamespace(**about), SimpleNamespace(**fields), known)


def english(**said: Any) -> WhisperSettings:
    """Settings of a model that knows only English."""
    vocabulary = {name: i - 1 for name, i in VOCABULARY.items() if i}
    ids = {"decoder_start_token_id": 50257, "no_timestamps_token_id": 50362, "eos_token_id": 50256}
    fields = {"is_multilingual": False, "lang_to_id": None, "task_to_id": None, **ids, **said}
    return made(vocabulary, {"vocab_size": 51864}, **fields)


@pytest.mark.parametrize("name", ["german", "German", "de", "<|de|>", ["de"]])
def test_the_language_that_is_named(name: Any) -> None:
    found = made(language=name)
    assert found.prompt == (START, GERMAN, 50359, 50363)
    assert (found.language, found.task, found.english) == ("de", "transcribe", False)
    assert found.words == "greedy, at most 224 tokens, de transcribe"


def test_the_task_that_is_named() -> None:
    found = made(language="german", task="translate")
    assert found.prompt == (START, GERMAN, 50358, 50363)
    assert found.english


@pytest.mark.parametrize("where", ["generation", "config"])
def test_forced_tokens_name_them_too(where: str) -> None:
    forced = {"forced_decoder_ids": [[1, HINDI], [2, 50358], [3, 50363]]}
    found = made(**forced) if where == "generation" else made(config=forced)
    assert (found.language, found.task) == ("hi", "translate")
    assert made(**forced, language="de", task="transcribe").language == "de"


def test_what_generation_settings_force_goes_before_the_configuration() -> None:
    config = {"forced_decoder_ids": [[1, HINDI], [2, 50359]]}
    assert made(config=config, forced_decoder_ids=[[1, GERMAN], [2, 50359]]).language == "de"
    assert made(config=config, forced_decoder_ids=[[1, None], [2, 50359]]).language == "hi"


def test_english_where_nothing_is_said() -> None:
    assert made().prompt == (START, 50259, 50359, 50363)
    assert made().words == "greedy, at most 224 tokens, en transcribe"
    assert made(lang_to_id={"<|de|>": GERMAN}).language == "de"  # the only one that it knows
    with pytest.raises(ModelError, match="does not say its language"):
        made(lang_to_id={"<|de|>": GERMAN, "<|hi|>": HINDI})


@pytest.mark.parametrize("left", [(), ("lang_to_id",), ("is_multilingual", "lang_to_id")])
def test_what_the_settings_lack_is_the_tokenizer_s(left: tuple[str, ...]) -> None:
    gone = dict.fromkeys(("task_to_id", "no_timestamps_token_id", "pad_token_id", *left))
    whole, found = made(language="hi"), made(language="hi", **gone)
    assert (found.prompt, found.ends, found.never) == (whole.prompt, whole.ends, whole.never)
    nothing = made(**dict.fromkeys(SAID))
    assert nothing.prompt == made().prompt


def test_the_usual_order_where_the_tokenizer_is_another() -> None:
    other = {name: i - 1 for name, i in VOCABULARY.items() if i} | {"more": 50363}
    gone = {"lang_to_id": None, "task_to_id": None}
    with pytest.warns(ModelWarning, match="may be another model's"):
        assert made(other, language="hi", **gone).prompt == (START, HINDI, 50359, 50363)


def test_a_model_of_english_alone() -> None:
    assert english().prompt == (50257, 50362)
    assert english().words == "greedy, at most 224 tokens"
    assert english(is_multilingual=None).prompt == (50257, 50362)
    assert english(language="english", forced_decoder_ids=[[1, 50362]]).prompt == (50257, 50362)
    for fields in ({"forced_decoder_ids": [[1, 50260]]}, {"task": "translate"}):
        with pytest.raises(ModelError, match="knows only English"):
            english(**fields)


def test_times_are_barred_and_words_added_later_are_not() -> None:
    more = {**VOCABULARY, "added": 51865, "also": 51866}
    found = made(more, {"vocab_size": 51880})
    assert set(found.never) == set(range(50364, 51865)) | set(range(51867, 51880))


def test_tokens_that_do_not_exist_are_left_out_and_said() -> None:
    with pytest.warns(ModelWarning, match="bars token 51900"):
        assert made(suppress_tokens=[7, 51900]).suppressed == (7,)
    with pytest.warns(ModelWarning, match="bars token -1"):
        assert made(begin_suppress_tokens=[-1, 9]).not_first == (9,)


def test_several_ends() -> None:
    assert made(eos_token_id=[50257, 11]).ends == (50257, 11)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"language": "klingon"}, "says language 'klingon'"),
        ({"language": ["de", "hi"]}, "says language"),
        ({"task": "sing"}, "says task 'sing'"),
        ({"forced_decoder_ids": [[1, 5]]}, "forces token 5"),
        ({"forced_decoder_ids": [1, 2]}, "no list of pairs"),
        ({"forced_decoder_ids": 7}, "no list of pairs"),
        ({"lang_to_id": ["<|en|>"]}, "no table"),
        ({"lang_to_id": {"<|en|>": "x"}}, "says lang_to_id x"),
        ({"eos_token_id": "x"}, "says eos_token_id x"),
        ({"eos_token_id": [99999]}, "says eos_token_id 99999"),
        ({"decoder_start_token_id": -1}, "says decoder_start_token_id -1"),
        ({"no_timestamps_token_id": 1.5}, r"says no_timestamps_token_id 1\.5"),
        ({"suppress_tokens": "all"}, "no list of numbers"),
        ({"task_to_id": {"translate": 50358}}, "no token for task transcribe"),
    ],
)
def test_what_cannot_be_is_one_line(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        made(**fields)
    assert "\n" not in str(caught.value)


def test_what_nobody_says_is_one_line() -> None:
    bare = {f"w{i}": i for i in range(50300)}
    with pytest.raises(ModelError, match=r"no_timestamps_token_id, and its tokenizer has no"):
        made(bare, no_timestamps_token_id=None)


@pytest.mark.parametrize("words", [{}, {"a": 0}, {**VOCABULARY, "far": SIZE}])
def test_a_tokenizer_of_another_size_is_refused(words: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="and its tokenizer has"):
        made(words)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([*SAID, "language", "task", "forced_decoder_ids", "suppress_tokens"]), VALUES
)
def test_whatever_a_setting_is_it_is_read_or_named(field: str, value: Any) -> None:
    try:
        found = made(**{field: value})
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        tokens = (*found.prompt, *found.ends, *found.never, *found.not_first, found.pad)
        assert all(type(token) is int and 0 <= token < SIZE for token in tokens)


def test_a_row_ends_at_any_of_its_ends(random_whisper: Path) -> None:
    model: Any = load_model(str(random_whisper))
    with torch.no_grad():
        states = model.encode([torch.zeros(16_000).numpy()]).states
        row = greedy(model.module, states, model.prompt, (), 4)[0]
        assert (
            greedy(model.module, states, model.prompt, (*model.settings.ends, row[1]), 4)[0]
            == row[: row.index(row[1]) + 1]
        )


def _changed(source: Path, folder: Path, file: str, **fields: Any) -> Any:
    shutil.copytree(source, folder)
    path = folder / file
    content = json.loads(path.read_text())
    content.update(fields)
    if file == "tokenizer.json":  # two words change places
        words = content["model"]["vocab"]
        first, second = list(words)[600:602]
        words[first], words[second] = words[second], words[first]
    path.write_text(json.dumps(content))
    return load_model(str(folder))


def test_the_digest_is_of_content_alone(random_whisper: Path, tmp_path: Path) -> None:
    first = load_model(str(random_whisper))
    again = _changed(random_whisper, tmp_path / "a", "config.json", transformers_version="0.1")
    assert again.text_digest == first.text_digest
    first.save_settings(tmp_path / "b")
    shutil.copy(random_whisper / "model.safetensors", tmp_path / "b")
    assert load_model(str(tmp_path / "b")).text_digest == first.text_digest


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("generation_config.json", {"suppress_tokens": [5]}),
        ("config.json", {"encoder_attention_heads": 4}),
        ("preprocessor_config.json", {"dither": 0.5}),
        ("tokenizer.json", {}),
    ],
)
def test_what_turns_audio_into_text_is_in_the_keys(
    random_whisper: Path,
    tmp_path: Path,
    tones: Path,
    cache: Path,
    file: str,
    fields: dict[str, Any],
) -> None:
    first = load_model(str(random_whisper))
    other = _changed(random_whisper, tmp_path / "other", file, **fields)
    assert other.digest == first.digest
    assert other.text_digest != first.text_digest
    speech = load_manifest(tones, 1).utterances
    assert shard_key(first, "w", speech) != shard_key(other, "w", speech)
    baseline(first, speech)
    before = len(list(cache.rglob("*.safetensors")))
    baseline(other, speech)
    assert len(list(cache.rglob("*.safetensors"))) == before + 1
