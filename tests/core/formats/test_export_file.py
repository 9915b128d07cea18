"""`export.json`: written and read the same; the first wrong field is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genptq_core.errors import ExportError
from genptq_core.formats import export_file

EXPORT = export_file.ExportFile(
    target="native",
    model="a model",
    family="whisper",
    model_digest="1" * 64,
    profile_digest="2" * 64,
    map_digest="3" * 64,
    bytes=12,
    files={"weights.safetensors": "4" * 64},
)


def test_round_trip(tmp_path: Path) -> None:
    export_file.write(tmp_path, EXPORT)
    assert export_file.read(tmp_path) == EXPORT


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bytes", "12", "'bytes': Input should be a valid integer"),
        ("bytes", -1, "'bytes': Input should be greater than or equal to 0"),
        ("model", None, "'model': Input should be a valid string"),
        ("files", ["weights.safetensors"], "'files': Input should be a valid dictionary"),
        ("files", {"a": 5}, "'files', 'a': Input should be a valid string"),
        ("colour", "red", "'colour': Unexpected keyword argument"),
    ],
)
def test_the_first_wrong_field_is_named(
    field: str, value: object, message: str, tmp_path: Path
) -> None:
    export_file.write(tmp_path, EXPORT)
    path = tmp_path / export_file.NAME
    document = json.loads(path.read_text())
    del document["sha256"]
    path.write_text(json.dumps({**document, field: value}))
    with pytest.raises(ExportError, match=f"is wrong in {message}") as caught:
        export_file.read(tmp_path)
    assert str(path) in caught.value.message
