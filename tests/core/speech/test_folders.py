"""Folders: LibriSpeech, Kaldi, Common Voice and metadata; links, hidden files, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from genptq_core.errors import SpeechError
from genptq_core.speech import folders
from genptq_core.speech.sources import load_speech


def recording(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(1600, 0.1), 16_000)
    return path


def speaker(folder: Path, name: str, words: str = "HELLO") -> Path:
    recording(folder / name / "1" / f"{name}-1-0000.flac")
    (folder / name / "1" / f"{name}-1.trans.txt").write_text(f"{name}-1-0000 {words}\n")
    return folder / name


def found(source: Path | str) -> list[tuple[str, str]]:
    return [(u.speaker, u.text) for u in load_speech(source).utterances]


def test_links_to_speakers_are_followed_once(tmp_path: Path) -> None:
    speaker(tmp_path / "set", "7", "ONE\x0cTWO")
    elsewhere = speaker(tmp_path / "elsewhere", "84", "THREE")
    (tmp_path / "set" / "84").symlink_to(elsewhere)
    (tmp_path / "set" / "84" / "round").symlink_to(tmp_path / "set")
    assert found(tmp_path / "set") == [("7", "ONE\x0cTWO"), ("84", "THREE")]
    (tmp_path / "set" / "99").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SpeechError, match="99 leads nowhere"):
        load_speech(tmp_path / "set")


def test_a_name_without_words_is_not_silence(tmp_path: Path) -> None:
    speaker(tmp_path / "set", "7", "ONE")
    speaker(tmp_path / "set", "84", "")
    with pytest.raises(SpeechError, match=r"84-1\.trans\.txt, line 1 has no text"):
        load_speech(tmp_path / "set")


def test_hidden_files_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = speaker(tmp_path / "set", "84")
    (folder / "1" / "._84-1.trans.txt").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "__MACOSX" / "84-1.trans.txt").write_bytes(b"\xff")
    (tmp_path / "set" / ".cache").mkdir()
    (tmp_path / "set" / ".cache" / "a.parquet").write_bytes(b"")
    assert found(tmp_path / "set") == [("84", "HELLO")]
    monkeypatch.setattr(folders, "MOST_FILES", 5)
    with pytest.raises(SpeechError, match="more than 5 files"):
        load_speech(tmp_path / "set")


def kaldi(folder: Path, scp: str, text: str | None = None) -> Path:
    recording(folder / "wav" / "a.wav")
    recording(folder / "wav" / "b.wav")
    (folder / "wav.scp").write_text(scp)
    if text is not None:
        (folder / "text").write_text(text)
    return folder


def test_kaldi(tmp_path: Path) -> None:
    folder = kaldi(tmp_path / "test", "u1 wav/a.wav\nu2\twav/b.wav\n", "u2 two words\nu1\n")
    (folder / "utt2spk").write_text("u1 anna\nu2 bob\n")
    assert found(folder) == found(folder / "wav.scp") == [("anna", ""), ("bob", "two words")]
    (folder / "text").unlink()
    assert found(folder) == [("anna", ""), ("bob", "")]


@pytest.mark.parametrize(
    ("scp", "text", "problem"),
    [
        ("u1 touch HERE; cat wav/a.wav |\n", "u1 x\n", "line 1 is a command, and .* never run"),
        ("u1 wav/a.wav\nu2 wav/b.wav\n", "u1 x\n", "line 2: .*text has no text of u2"),
        ("u1 wav/a.wav\n", "u1 x\nu2 y\n", "line 2: .*wav.scp names no recording of u2"),
        ("u1 wav/a.wav\nu1 wav/b.wav\n", "u1 x\n", "line 2 names u1 again"),
        ("u1 raw.ark:12\n", "u1 x\n", r"the archive raw\.ark"),
        ("u1 wav/c.wav\n", "u1 x\n", "line 1: .*c.wav does not exist"),
    ],
)
def test_what_kaldi_says_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scp: str, text: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = kaldi(tmp_path / "test", scp, text)
    with pytest.raises(SpeechError, match=problem):
        load_speech(folder)
    assert not (tmp_path / "HERE").exists()


def test_segments_are_refused(tmp_path: Path) -> None:
    folder = kaldi(tmp_path / "test", "u1 wav/a.wav\n")
    (folder / "segments").write_text("u1-0 u1 0.0 0.5\n")
    with pytest.raises(SpeechError, match="cuts recordings into parts"):
        load_speech(folder)


def test_common_voice(tmp_path: Path) -> None:
    recording(tmp_path / "clips" / "common_voice_en_1.mp3").rename(
        tmp_path / "clips" / "common_voice_en_1.mp3"
    )
    rows = [
        "client_id\tpath\tsentence_id\tsentence\tup_votes\tage\tlocale\tsegment",
        'abc\tcommon_voice_en_1.mp3\tx\t"Stop," he said.\t2\t\ten\t',
    ]
    (tmp_path / "test.tsv").write_text("\n".join(rows) + "\n")
    assert found(tmp_path / "test.tsv") == [("abc", '"Stop," he said.')]
    with pytest.raises(SpeechError, match=r"holds neither.*Give a manifest in it: .*test\.tsv"):
        load_speech(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,transcription\ndata/a.wav,hello\n"),
        ("metadata.jsonl", '{"file_name": "data/a.wav", "transcription": "hello"}\n'),
    ],
)
def test_metadata(tmp_path: Path, name: str, content: str) -> None:
    recording(tmp_path / "train" / "data" / "a.wav")
    (tmp_path / "train" / name).write_text(content)
    assert found(tmp_path / "train") == found(tmp_path) == [("", "hello")]
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / name).write_text(content)
    with pytest.raises(SpeechError, match="several lists of recordings"):
        load_speech(tmp_path)


def test_columns_of_a_layout_without_any(tmp_path: Path) -> None:
    speaker(tmp_path / "set", "84")
    with pytest.raises(SpeechError, match="has no columns"):
        load_speech(f"{tmp_path / 'set'}?text=words")
    with pytest.raises(SpeechError, match="cannot be opened"):
        load_speech("x" * 5000)
