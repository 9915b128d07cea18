"""Speech sets of every layout: all are read the same, and errors name what cannot be read."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from genptq_core.errors import SpeechError
from genptq_core.speech.sources import load_speech
from genptq_core.speech.utterances import load_audio, load_manifest

TEXTS = ("one two", "THREE, four!", "")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Recordings of one length at several rates, mono and stereo, in several formats."""
    for name, rate, channels in (("a.flac", 16_000, 1), ("b.wav", 8_000, 2), ("c.ogg", 44_100, 1)):
        time = np.arange(rate) / rate
        tone = 0.3 * np.sin(2 * np.pi * 440 * time)
        soundfile.write(tmp_path / name, np.repeat(tone[:, None], channels, axis=1), rate)
    return tmp_path


NAMES = ("a.flac", "b.wav", "c.ogg")


def jsonl(folder: Path) -> Path:
    rows = [
        f'{{"audio": "{name}", "text": "{text}", "speaker": "s{i}"}}'
        for i, (name, text) in enumerate(zip(NAMES, TEXTS, strict=True))
    ]
    path = folder / "set.jsonl"
    path.write_text("\n".join(rows))
    return path


def separated(folder: Path, suffix: str) -> Path:
    mark = "\t" if suffix == ".tsv" else ","
    rows = [mark.join(("speaker", "text", "audio"))]
    for i, (name, text) in enumerate(zip(NAMES, TEXTS, strict=True)):
        rows.append(mark.join((f"s{i}", f'"{text}"' if suffix == ".csv" else text, name)))
    path = folder / f"set{suffix}"
    path.write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_separated_values_are_read_as_lines_of_json(clips: Path, suffix: str) -> None:
    speech, expected = load_speech(separated(clips, suffix)), load_manifest(jsonl(clips))
    assert speech == expected
    assert load_speech(jsonl(clips)) == expected
    assert [len(load_audio(u)) for u in speech.utterances] == [16_000] * 3
    samples = [load_audio(u) for u in speech.utterances]
    for again in samples[1:]:
        assert np.corrcoef(samples[0][100:-100], again[100:-100])[0, 1] > 0.99


def test_librispeech_s_folders(clips: Path) -> None:
    for speaker, name, words in (("84", "a.flac", "ONE TWO"), ("7", "b.wav", "THREE")):
        chapter = clips / "dev-clean" / speaker / "121"
        chapter.mkdir(parents=True)
        (clips / name).rename(chapter / f"{speaker}-121-0000{Path(name).suffix}")
        (chapter / f"{speaker}-121.trans.txt").write_text(f"{speaker}-121-0000 {words}\n\n")
    speech = load_speech(clips / "dev-clean")
    assert speech.name == f"{clips.name}/dev-clean"
    assert sorted((u.speaker, u.text) for u in speech.utterances) == [
        ("7", "THREE"),
        ("84", "ONE TWO"),
    ]
    assert len(load_speech(clips / "dev-clean", limit=1)) == 1
    next(clips.rglob("*.flac")).unlink()
    with pytest.raises(SpeechError, match=r"84-121.trans.txt, line 1: there is no audio file of"):
        load_speech(clips / "dev-clean")


def parquet(folder: Path, **columns: Any) -> Path:
    datasets = pytest.importorskip("datasets")
    data = []
    for name in NAMES:
        data.append({"bytes": (folder / name).read_bytes(), "path": name})
    rows = datasets.Dataset.from_dict({"audio": data, **columns})
    path = folder / "dev.parquet"
    rows.cast_column("audio", datasets.Audio(decode=False)).to_parquet(str(path))
    return path


def test_parquet_with_the_audio_inside(clips: Path, cache: Path) -> None:
    path = parquet(clips, sentence=list(TEXTS), speaker_id=[4, 5, 6])
    speech, expected = load_speech(path), load_manifest(jsonl(clips))
    assert [(u.digest, u.text) for u in speech.utterances] == [
        (u.digest, u.text) for u in expected.utterances
    ]
    assert [u.speaker for u in speech.utterances] == ["4", "5", "6"]
    assert speech.digest == expected.digest
    assert all(cache in u.audio.parents for u in speech.utterances)
    assert [len(load_audio(u)) for u in speech.utterances] == [16_000] * 3
    (clips / "set").mkdir()
    path.rename(clips / "set" / "part-0.parquet")
    assert load_speech(clips / "set", limit=2).utterances == speech.utterances[:2]


def test_a_data_set_of_the_hub(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own loader, reading the folder of a data set as the hub would serve it."""
    datasets = pytest.importorskip("datasets")
    path = parquet(clips, words=list(TEXTS))
    asked: list[Any] = []
    load = datasets.load_dataset

    def serve(name: str, config: str | None, **settings: Any) -> Any:
        asked.append((name, config, settings["split"]))
        return load("parquet", data_files=[str(path)], split="train", streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", serve)
    speech = load_speech("hf:owner/letters?config=clean&split=validation&text=words", limit=2)
    assert asked == [("owner/letters", "clean", "validation")]
    assert speech.name == "letters/clean/validation"
    assert [u.text for u in speech.utterances] == list(TEXTS[:2])
    with pytest.raises(SpeechError, match=r"row 1 has no column 'text'; .* 'audio', 'words'"):
        load_speech("hf:owner/letters?text=text")


def test_a_data_set_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    damaged = tmp_path / "dev.parquet"
    damaged.write_bytes(b"not parquet at all")
    with pytest.raises(SpeechError, match=r"dev.parquet cannot be read as a data set"):
        load_speech(damaged)
    with pytest.raises(SpeechError, match=r"'colour'.* is unknown"):
        load_speech("hf:owner/name?colour=red")
    with pytest.raises(SpeechError, match="names no data set"):
        load_speech("hf:?split=test")


def test_without_the_library_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'")
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SpeechError, match=r"needs the package `datasets`.*pip install datasets=="):
        load_speech(tmp_path / "dev.parquet")


def test_what_is_wrong_is_named_with_its_line(clips: Path) -> None:
    path = clips / "set.csv"
    path.write_text("text,sound\nhello,a.flac\n")
    with pytest.raises(SpeechError, match=r"set.csv, line 1 has no known column of recordings"):
        load_speech(path)
    path.write_text("audio,text\na.flac,x\nno.flac,y\n")
    with pytest.raises(SpeechError, match=r"set.csv, line 3: The audio file .*no.flac does not"):
        load_speech(path)
    path.write_text("audio,text\n")
    with pytest.raises(SpeechError, match="names no utterance"):
        load_speech(path)
    with pytest.raises(SpeechError, match="does not exist"):
        load_speech(clips / "absent.csv")
    (clips / "empty").mkdir()
    with pytest.raises(SpeechError, match="holds neither"):
        load_speech(clips / "empty")
    with pytest.raises(SpeechError, match="leaves nothing"):
        load_speech(path, limit=0)


def test_long_recordings_are_refused_by_name_in_every_layout(clips: Path) -> None:
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros(8_000 * 31), 8_000, format="WAV")
    (clips / "a.flac").write_bytes(memory.getvalue())
    for path in (jsonl(clips), separated(clips, ".csv")):
        (first, *_) = load_speech(path).utterances
        with pytest.raises(SpeechError, match=r"a.flac lasts 31.0 s, and 30 s is the longest"):
            load_audio(first)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"text": ["one", None, "three"]}, "row 2 has no text, and .*row 1 has one"),
        ({"text": [1, 2, 3]}, 'row 1 has a "text" that is not a string'),
        ({"sentence": ["a"] * 3, "transcription": ["b"] * 3}, "could be the text: 'sentence', 'tr"),
        ({"text": ["a"] * 3, "duration": [1.0, 1.0, 9.0]}, "row 3: .* much shorter than"),
    ],
)
def test_parquet_obeys_the_same_rules(
    clips: Path, columns: dict[str, list[object]], problem: str
) -> None:
    with pytest.raises(SpeechError, match=problem):
        load_speech(parquet(clips, **columns))


def test_the_advice_on_columns_can_be_followed(clips: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = clips / "dev.parquet"
    datasets.Dataset.from_dict({"speech": list(NAMES), "words": list(TEXTS)}).to_parquet(str(path))
    with pytest.raises(SpeechError, match=r"no known column of recordings.*\?audio=COLUMN") as said:
        load_speech(path)
    assert "'speech', 'words'" in said.value.message
    speech = load_speech(f"{path}?audio=speech&text=words")  # relative to the table's folder
    assert speech.digest == load_manifest(jsonl(clips)).digest
    assert speech.name == load_speech(f"{path}?audio=speech").name
    (clips / "set").mkdir()
    path.rename(clips / "set" / "dev.parquet")
    for name in NAMES:
        (clips / name).rename(clips / "set" / name)
    assert load_speech(f"{clips / 'set'}?audio=speech&text=words").digest == speech.digest
