"""Rows of manifests: what was written comes back, or is refused with its line."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import SpeechError
from genptq_core.speech.rows import manifest_rows
from genptq_core.speech.sources import load_speech

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BREAKS = st.lists(TEXT | st.sampled_from(["\u2028", "\x0c", "\r\n", "\n", "\r", '"', ",", "\t"]))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a manifest beside three recordings."""
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(tmp_path / name, np.zeros(1600), 16_000)

    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode())
        return path

    return write


def texts(path: Path | str) -> list[str]:
    return [u.text for u in load_speech(path).utterances]


@settings(max_examples=150, deadline=None)
@given(st.lists(BREAKS.map("".join), min_size=1, max_size=4))
def test_what_writers_of_csv_and_json_write_comes_back(
    tmp_path_factory: pytest.TempPathFactory, written: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerows([["audio", "text", "more"], *(["a.wav", text, text] for text in written)])
    (folder / "set.csv").write_bytes(b"\xef\xbb\xbf" + lines.getvalue().encode())
    found = [row.text for row in manifest_rows(folder / "set.csv", {})]
    assert found == [t.replace("\r\n", " ").replace("\n", " ").replace("\r", " ") for t in written]

    records = [json.dumps({"audio": "a.wav", "text": t}, ensure_ascii=False) for t in written]
    (folder / "set.jsonl").write_bytes("\r\n".join(records).encode())
    assert [row.text for row in manifest_rows(folder / "set.jsonl", {})] == written

    flat = [t.translate(str.maketrans("\t\r\n", "   ")) for t in written]
    (folder / "set.tsv").write_bytes(
        "\n".join(["audio\ttext", *(f"a.wav\t{t}" for t in flat)]).encode()
    )
    assert [row.text for row in manifest_rows(folder / "set.tsv", {})] == flat


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('a",\n\r\t \ufeff'), max_size=30), st.sampled_from([".csv", ".tsv"]))
def test_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, content: str, suffix: str
) -> None:
    """Every letter of a text is in some row, or the manifest is refused."""
    path = tmp_path_factory.mktemp("rows") / f"set{suffix}"
    path.write_bytes(f"audio{',' if suffix == '.csv' else chr(9)}text\n{content}".encode())
    try:
        rows = list(manifest_rows(path, {}))
    except SpeechError:
        return
    found = sum(row.audio.name.count("a") + (row.text or "").count("a") for row in rows)
    assert found == content.count("a")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('audio,text\na.wav,"Please move\nb.wav,The train\n', "line 2 opens a quotation mark that"),
        ('audio,text\na.wav,x\nb.wav,"y\nc.wav,"z"\n', "line 3 opens .* more than a comma"),
        ('audio,text\na.wav,"x\nb.wav,y "\n', "line 2 opens .* only after a further row"),
        ('audio,text\na.wav,"x" said he\n', "line 2 opens .* more than a comma"),
        ('text,audio\n"x\ny",a.wav\n"z,b.wav\n', "line 4 opens a quotation mark that is never"),
        ("audio,text\na.wav,Please, move\n", "line 2 has 3 fields, and there are 2 columns"),
        ("audio,text\n\na.wav\n", "line 3 has 1 fields, and there are 2 columns"),
        ("audio;text\na.wav;x\n", "line 1 has no known column.*'audio;text'.*known are audio"),
        ("a.wav,x\nb.wav,y\n", "line 1 has no known column"),
        ("audio,text\ra.wav,x\r", "carriage return alone"),
        ("audio,sentence,transcript\na.wav,x,y\n", "several columns that could be the text: 'sen"),
        ("audio,text,text\na.wav,x,y\n", "several columns that could be the text"),
        ("audio,Text,TEXT\na.wav,x,y\n", "several columns that could be the text"),
        ("path,file,text\na.wav,b.wav,y\n", "several columns that could be the audio"),
        ("audio,text\n ,x\n", 'line 2 has no "audio" path'),
        ("audio,duration\na.wav,long\n", 'line 2 has a "duration" that is no number'),
        ("audio,duration\na.wav,nan\n", 'line 2 has a "duration" that is no number'),
    ],
)
def test_damaged_csv_is_named(
    write: Callable[[str, str], Path], content: str, problem: str
) -> None:
    with pytest.raises(SpeechError, match=problem):
        load_speech(write("set.csv", content))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"audio": "a.wav", "text": "x", "text": "y"}', '"text" stands there twice'),
        ('{"audio": "a.wav", "text": 5}', '"text" that is not a string'),
        ('{"audio": "a.wav", "text": "\\ud800"}', "half a character"),
        ('{"audio": "a.wav", "speaker": [1]}', "neither name nor number"),
        ('{"audio_filepath": "a.wav", "offset": 1.5}', '"offset" that is not 0'),
        ('{"audio_filepath": "a.wav", "duration": true}', '"duration" that is no number'),
        ('{"audio_filepath": "a.wav", "duration": 1e999}', '"duration" that is no number'),
        ('[{"audio": "a.wav"}]', "is not a JSON object"),
        ('{"audio": "a.wav"} {"audio": "b.wav"}', "is not JSON"),
        ('{"id": 1, "recording": {}, "supervisions": []}', "'id', 'recording', 'supervisions'"),
        ('{"audio": {"path": "a.wav"}}', 'no "audio" path'),
    ],
)
def test_damaged_json_is_named(write: Callable[[str, str], Path], line: str, problem: str) -> None:
    with pytest.raises(SpeechError, match=rf"line 2.*{problem}"):
        load_speech(write("set.jsonl", f'{{"audio": "a.wav", "text": ""}}\n{line}\n'))


def test_tsv_has_no_quotation_marks(write: Callable[[str, str], Path]) -> None:
    path = write("set.tsv", 'path\tsentence\na.wav\t"Please move\nb.wav\tHe said "no"\n')
    assert texts(path) == ['"Please move', 'He said "no"']
    with pytest.raises(SpeechError, match="line 2 has 3 fields"):
        load_speech(write("set.tsv", "path\tsentence\na.wav\tx\ty\n"))


def test_a_line_break_in_quotation_marks_is_white_space(
    write: Callable[[str, str], Path],
) -> None:
    content = 'audio,text\r\na.wav,"Please move the\r\ndentist"\r\nb.wav,"one\n\ntwo"\r\n'
    assert texts(write("set.csv", content)) == ["Please move the dentist", "one  two"]


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e", "\x85"])
def test_only_line_feeds_end_lines(write: Callable[[str, str], Path], letter: str) -> None:
    text = f"one{letter}two"
    assert texts(write("a.csv", f"audio,text\na.wav,{text}\n")) == [text]
    assert texts(write("a.tsv", f"audio\ttext\na.wav\t{text}\r\n")) == [text]
    record = json.dumps({"audio": "a.wav", "text": text}, ensure_ascii=False)
    assert texts(write("a.jsonl", record)) == [text]


@pytest.mark.parametrize(
    "content",
    [
        "audio, text\na.wav, one\nb.wav, two\n",
        'audio, text\na.wav, "one"\nb.wav, "two"\n',
        "\ufeffAudio ,TEXT\na.wav,one\nb.wav,two\n",
        "text,path\none,a.wav\ntwo, b.wav\n",
        ",filename,transcription,text\n0,a.wav,x,one\n1,b.wav,y,two\n",
        "audio_filepath,transcript,locale\na.wav,one,en\nb.wav,two,en\n",
        "Text,audio,text\nx,a.wav,one\ny,b.wav,two\n",
    ],
)
def test_names_of_columns(write: Callable[[str, str], Path], content: str) -> None:
    assert texts(write("set.csv", content)) == ["one", "two"]
    assert texts(write("set.tsv", content.replace(",", "\t").replace('"', ""))) == ["one", "two"]


def test_columns_can_be_named(write: Callable[[str, str], Path]) -> None:
    path = write("set.csv", "audio,sentence,transcript\na.wav,x,y\n")
    assert texts(f"{path}?text=transcript") == ["y"]
    with pytest.raises(SpeechError, match="has no column 'words'"):
        load_speech(f"{path}?text=words")
    for query, problem in (("split=a", "'split' is unknown"), ("text=", "not at all")):
        with pytest.raises(SpeechError, match=problem):
            load_speech(f"{path}?{query}")
    write("set.csv?text=odd", "")
    with pytest.raises(SpeechError, match="names no utterance"):
        load_speech(path.with_name("set.csv?text=odd"))  # a file of that name


@pytest.mark.parametrize("missing", ['{"audio": "b.wav"}', '{"audio": "b.wav", "text": null}'])
def test_a_row_without_a_text_is_not_silence(
    write: Callable[[str, str], Path], missing: str
) -> None:
    said = '{"audio": "a.wav", "text": "one"}'
    for lines, line in (([said, missing], 2), ([missing, said], 1)):
        with pytest.raises(SpeechError, match=rf"line {line} has no text, and .*line {3 - line}"):
            load_speech(write("set.jsonl", "\n".join(lines)))
    assert texts(write("set.jsonl", missing)) == [""]
    assert texts(write("set.jsonl", f'{said}\n{{"audio": "b.wav", "text": ""}}')) == ["one", ""]
    assert texts(write("set.jsonl", f'{said}\n{{"audio": "b.wav", "sentence": "two"}}')) == [
        "one",
        "two",
    ]


@pytest.mark.parametrize("duration", [0.02, 0.5, 100.0])
def test_a_recording_lasts_as_long_as_its_manifest_says(
    write: Callable[[str, str], Path], duration: float
) -> None:
    record = {"audio_filepath": "a.wav", "text": "one", "offset": 0.0, "duration": duration}
    path = write("set.json", json.dumps(record))  # as NeMo names them
    if duration == 0.02:
        assert texts(path) == ["one"]  # 0.1 s: within the rounding
        return
    with pytest.raises(SpeechError, match=r"line 1: .*a\.wav lasts 0\.10 s, much shorter than"):
        load_speech(path)
    soundfile.write(path.parent / "a.wav", np.zeros(32_000), 16_000)
    if duration == 0.5:
        with pytest.raises(SpeechError, match=r"much longer than the 0\.50 s"):
            load_speech(path)


def test_reading_takes_linear_time(tmp_path: Path) -> None:
    for name, content in (
        ("a.csv", "audio,text\n" + '"' * 600_001),
        ("b.csv", "audio,text\n" + "," * 600_000),
        ("c.csv", "audio,text\na," + '"x""\n' * 200_000),
        ("d.csv", ",".join(f"c{i}" for i in range(100_000)) + "\n"),
        ("e.jsonl", "{" + ",".join(f'"c{i}":1' for i in range(100_000)) + "}"),
        ("f.jsonl", "[" * 600_000),
    ):
        (tmp_path / name).write_text(content)
        before = time.process_time()
        with pytest.raises(SpeechError) as caught:
            load_speech(tmp_path / name)
        assert time.process_time() - before < 30
        assert len(str(caught.value)) < 3000
