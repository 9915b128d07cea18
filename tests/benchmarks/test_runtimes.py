"""The table of runtimes: what is kept, what is compared, and a row from end to end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import ggml_presets, runtimes
from benchmarks.runtime_report import FULL, compared, markdown
from benchmarks.runtimes import Model, Row, digest_of, judged, keep, key_of
from genptq_core.formats import gguf_whisper
from genptq_core.formats.whisper_layout import WhisperLayout
from tests.conftest import ROOT
from tests.core.formats import small_whisper

WORDS = [4, 4, 20]


def row(errors: list[int], way: str = "preset", **more: Any) -> dict[str, Any]:
    figures = {"versions": {"ggml": "1"}, "processor_factor": 0.1, "mapped_bytes": 0}
    key = {"runtime": "r", "size": "8 bit", "compiled": False, "digest": "d", "speech": "s"}
    sizes = {"download_bytes": 2_000_000, "model_bytes": 1, "peak_bytes": 3_000_000}
    ran = {"loops": [], "stops": [], "weight_bytes": None}
    return {"way": way, **key, **figures, **sizes, **ran, "errors": errors, **more}


def test_runaways_are_told_by_runs_of_words() -> None:
    said = ["cats like milk"] * 2 + ["dogs bark " * 10, "a b c d e f g h i j k l m n"]
    heard = ["Cats like milk.", "milk " * 17, "dogs bark", "a b c d e f g x y z l m n"]
    found = judged(said, heard)
    assert found == {"errors": [0, 16, 18, 4], "loops": [1], "stops": [2]}


def test_a_row_takes_the_place_of_another_of_its_cell() -> None:
    results: dict[str, Any] = {"speech": {}, "rows": []}
    for new in (row([1, 1, 1]), row([2, 2, 2], digest="e"), row([3, 3, 3], size="5 bit")):
        keep(results, new)
    assert [r["errors"][0] for r in results["rows"]] == [2, 3]
    assert key_of(row([1])) == key_of(row([2]))
    assert key_of(row([1])) != key_of(row([1], digest="e"))


def test_what_full_precision_runs_away_on_is_apart() -> None:
    full = row([0, 1, 18], FULL, stops=[2])
    found = compared(row([2, 20, 19], loops=[1], stops=[2]), full, WORDS)
    assert found["own"] == [1]
    assert found["wer"] == 41 / 28
    assert (found["errors_apart"], found["increase_apart"]) == (2, 2 / 4)
    assert found["increase_shared"] == (22 - 1) / 8


def test_the_report_names_runaways() -> None:
    speech = {"name": "dev", "utterances": ["a", "b", "c"], "words": WORDS}
    rows = [row([2, 20, 0], loops=[1], compiled=True), row([0, 1, 0], FULL)]
    printed = markdown({"speech": {"s": speech}, "rows": rows})
    assert "3 utterances, 28 words" in printed
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    assert lines[2].startswith(f"| {FULL}, 8 bit | 2.0 | 3 |  | 0.100 | 3.57 |  |  | 1 | 0, 0 | 1")
    assert "| +75.00 |" in lines[3] and lines[3].endswith("| 22 | 1, 0 | 2, +8.33 |")
    assert "- preset, 8 bit, compiled: loops on b (20 errors)" in printed


def test_notes_have_no_part_in_a_digest(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"1")
    before = digest_of(tmp_path)
    (tmp_path / "export.json").write_text("{}")
    assert digest_of(tmp_path) == before
    (tmp_path / "model.bin").write_bytes(b"2")
    assert digest_of(tmp_path) != before


@pytest.fixture(scope="module")
def float16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    layout = WhisperLayout.of(small_whisper.files(), "small")
    gguf_whisper.write(path, layout, "whisper-small.test", small_whisper.tensors(layout))
    return path


def test_presets_are_of_one_type(float16: Path, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="pip install -r requirements-dev.txt")
    pytest.importorskip("transcribe_cpp_native", reason="the extra gguf is not installed")
    out = tmp_path / "q8.gguf"
    ggml_presets.quantize(float16, out, "Q8_0")
    before, after = gguf.GGUFReader(float16), gguf.GGUFReader(out)
    changed = {"general.file_type", "GGUF.kv_count"}
    for name in before.fields.keys() - changed:
        assert after.fields[name].contents() == before.fields[name].contents(), name
    assert after.fields["general.file_type"].contents() == 7
    kinds = {t.name: t.tensor_type.name for t in after.tensors}
    assert kinds["dec.token_embd.weight"] == kinds["enc.blocks.0.attn.q.weight"] == "Q8_0"
    others = {name for name, kind in kinds.items() if kind == "F32"}
    assert {"enc.conv.0.weight", "enc.pos_emb.weight", "enc.blocks.0.norm_ffn.weight"} <= others
    for old, new in zip(before.tensors, after.tensors, strict=True):
        back = gguf.quants.dequantize(new.data, new.tensor_type)
        exact = np.asarray(old.data, dtype=np.float32)
        assert abs(back - exact).max() <= (0 if new.name in others else abs(exact).max() / 250)


def test_a_row_is_measured_once(float16: Path, tmp_path: Path) -> None:
    pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    speech = ROOT / "data" / "speech" / "demo" / "manifest.jsonl"
    out = tmp_path / "runtimes.json"
    options = argparse.Namespace(speech=speech, limit=1, out=out)
    asked = Row("transcribe.cpp", FULL, "float16", "transcribe.cpp", lambda: Model(float16))
    runtimes.run([asked], options)
    written = out.read_bytes()
    results = runtimes.read(out)
    (found,) = results["rows"]
    (known,) = results["speech"].values()
    assert found["digest"] == digest_of(float16)
    assert found["download_bytes"] == float16.stat().st_size
    assert 0 < found["mapped_bytes"] <= found["peak_bytes"]
    assert len(found["errors"]) == len(found["texts"]) == len(known["words"]) == 1
    runtimes.run([asked], options)
    assert out.read_bytes() == written
