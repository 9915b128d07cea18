"""Exports that do not fit together: one line each, in bounded time and memory."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ExportError, GenPTQError, ModelError
from genptq_core.export.export import export
from genptq_core.formats import export_file, native, settings_files
from genptq_core.formats.onnx_notes import Notes
from genptq_core.loading import load_model
from tests.core import synthetic
from tests.core.tiny_models import PARAKEET, random_ctc

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def exports(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One export of each format; "ctc" is a native one of a Conformer."""
    root = tmp_path_factory.mktemp("exports")
    whisper = load_model(str(random_whisper))
    conformer = load_model(str(random_ctc(root / "conformer", PARAKEET)))
    made = {}
    for name, target, model in (
        ("native", "native", whisper),
        ("ctc", "native", conformer),
        ("onnx", "onnx", whisper),
        ("compressed-tensors", "compressed-tensors", whisper),
    ):
        profile = synthetic.profile_of(model, bits=(2, 4, 8), group_size=16)
        widths = ["16"] * len(profile.units)
        if target == "native":
            widths = ["4/16"] * len(profile.units)
        export(profile, bit_map(profile, widths), target, root / name, model)
        made[name] = root / name
    return made


@pytest.fixture
def copy(exports: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(exports[name], tmp_path / name))


def sign(folder: Path) -> None:
    """Make the digests right, as the author of a hostile export does."""
    path = folder / export_file.NAME
    document = json.loads(path.read_text())
    document.pop("sha256", None)
    document["files"] = export_file.digests(folder)
    path.write_text(json.dumps(document))


def refused(folder: Path, match: str = ".") -> None:
    sign(folder)
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(GenPTQError, match=match) as caught:
            load_model(str(folder))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 120
    assert peak < 300e6


def setting(folder: Path, name: str) -> Any:
    """A settings file of an export, which may be in its archive."""
    return json.loads(settings_files.read(folder)[name])


def settle(folder: Path, name: str, text: str) -> None:
    """Replace a settings file of an export."""
    archive = folder / settings_files.NAME
    if not archive.exists():
        (folder / name).write_text(text)
        return
    contents = settings_files.read(folder) | {name: text.encode()}
    with zipfile.ZipFile(archive, "w") as written:
        for file, content in contents.items():
            written.writestr(file, content)


def change(folder: Path, **fields: Any) -> None:
    """Change an export's configuration."""
    settle(folder, "config.json", json.dumps({**setting(folder, "config.json"), **fields}))


def relaid(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the layout of a native export."""
    path = folder / native.NAME
    with safe_open(path, framework="pt") as handle:
        layout = json.loads(handle.metadata()["layout"])
    tensors = load_file(path)
    change(layout)
    save_file(tensors, path, metadata={"layout": json.dumps(layout)})


def _first(layout: dict[str, Any]) -> list[Any]:
    found: list[Any] = next(iter(layout["units"].values()))
    return found


def _cut(layout: dict[str, Any]) -> None:
    _first(layout)[2] -= 1


def _late(layout: dict[str, Any]) -> None:
    _first(layout)[1] += 1


def _dropped(layout: dict[str, Any]) -> None:
    layout["units"].pop(next(name for name in layout["units"] if "@" in name))


def _twice(layout: dict[str, Any]) -> None:
    layout["units"]["again"] = _first(layout)


def _large(layout: dict[str, Any]) -> None:
    parameter = _first(layout)[0]
    layout["parameters"][parameter] = [10**9, *layout["parameters"][parameter][1:]]
    _first(layout)[2] = 10**9


def _wide(layout: dict[str, Any]) -> None:
    layout["parameters"][_first(layout)[0]][1] = 10**9


def _huge(layout: dict[str, Any]) -> None:
    layout["parameters"][_first(layout)[0]] = [10**30]


def _negative(layout: dict[str, Any]) -> None:
    layout["parameters"][_first(layout)[0]][0] = -1


def _many(layout: dict[str, Any]) -> None:
    for index in range(10_000):
        layout["parameters"][f"model.decoder.layers.{index}.fc1.weight"] = [10**9, 10**9]
        layout["units"][f"u{index}"] = [
            f"model.decoder.layers.{index}.fc1.weight",
            0,
            10**9,
            "4/16",
        ]


def _listed(layout: dict[str, Any]) -> None:
    layout["units"] = list(layout["units"].values())


def _words(layout: dict[str, Any]) -> None:
    _first(layout)[1:3] = ["0", "16"]


@pytest.mark.parametrize(
    "fault",
    [_cut, _late, _dropped, _twice, _large, _wide, _huge, _negative, _many, _listed, _words],
)
def test_a_layout_that_does_not_fit_is_refused(
    copy: Callable[[str], Path], fault: Callable[[dict[str, Any]], None]
) -> None:
    folder = copy("native")
    relaid(folder, fault)
    refused(folder, "is not a native export")


def test_a_layout_without_end_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("native")
    tensors = load_file(folder / native.NAME)
    for text in (DEEP, "[]", "{}", '{"parameters": [], "units": {}}', "9" * 10_000):
        save_file(tensors, folder / native.NAME, metadata={"layout": text})
        refused(folder, "is not a native export")


def test_tensors_are_those_of_the_layout(copy: Callable[[str], Path]) -> None:
    folder = copy("native")
    path = folder / native.NAME
    with safe_open(path, framework="pt") as handle:
        metadata = handle.metadata()
    tensors = load_file(path)
    plain = next(name for name in sorted(tensors) if ":" not in name)
    for wrong in (
        {**tensors, "another": torch.zeros(1)},
        {**tensors, plain: torch.zeros(3, 5)},
        {**tensors, plain: torch.full_like(tensors[plain], float("nan"))},
        {name: t for name, t in tensors.items() if name != plain},
        {name: t for name, t in tensors.items() if not name.endswith(":scales")},
    ):
        save_file(wrong, path, metadata=metadata)
        refused(folder)


@pytest.mark.parametrize("name", ["native", "ctc", "compressed-tensors", "onnx"])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", DEEP),
        ("config.json", '["a"]'),
        ("preprocessor_config.json", DEEP),
        ("preprocessor_config.json", '{"n_fft": 1000000000}'),
        ("tokenizer_config.json", DEEP),
        ("vocabulary", '["a", "b"]'),
        ("vocabulary", "{}"),
        ("vocabulary", DEEP),
    ],
)
def test_settings_of_another_form_are_refused(
    copy: Callable[[str], Path], name: str, file: str, text: str
) -> None:
    folder = copy(name)
    if file == "vocabulary":
        file = "vocab.json" if name == "ctc" else "tokenizer.json"
    settle(folder, file, text)
    refused(folder)


@pytest.mark.parametrize("name", ["native", "ctc", "compressed-tensors"])
@pytest.mark.parametrize("value", [10**6, 3, 0, -1, "two", None])
def test_layers_that_are_not_there_are_refused(
    copy: Callable[[str], Path], name: str, value: object
) -> None:
    folder = copy(name)
    if name == "ctc":
        config = setting(folder, "config.json")
        config["encoder_config"]["num_hidden_layers"] = value
        change(folder, **config)
    else:
        change(folder, decoder_layers=value)
    refused(folder)


@pytest.mark.parametrize("name", ["native", "ctc"])
@pytest.mark.parametrize("value", [10**9, 2**24])
def test_sizes_that_are_not_there_are_refused(
    copy: Callable[[str], Path], name: str, value: int
) -> None:
    folder = copy(name)
    if name == "ctc":
        config = setting(folder, "config.json")
        config["encoder_config"]["hidden_size"] = value
        change(folder, **config)
    else:
        change(folder, d_model=value)
    refused(folder)


@pytest.mark.parametrize("fault", ["not", "cut", "elsewhere", "many", "bomb", "absent"])
def test_an_archive_of_other_things_is_refused(copy: Callable[[str], Path], fault: str) -> None:
    folder = copy("native")
    path = folder / settings_files.NAME
    if fault == "not":
        path.write_bytes(b"PK" * 100)
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif fault == "absent":
        path.unlink()
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for index in range(100 if fault == "many" else 1):
                name = "../config.json" if fault == "elsewhere" else f"{index}.json"
                archive.writestr(name, bytes(300_000_000 if fault == "bomb" else 2))
    refused(folder, "config.json" if fault == "absent" else r"settings\.zip cannot be read")


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_graphs_must_be_there_and_be_graphs(copy: Callable[[str], Path], name: str) -> None:
    folder = copy("onnx")
    (folder / name).write_bytes(b"\x08" * 100)
    refused(folder, "cannot be loaded")
    (folder / name).unlink()
    refused(folder, f"does not name {name}")


def _notes(folder: Path, text: str) -> None:
    path = folder / "decoder.onnx"
    graph = onnx.load(path)
    for entry in graph.metadata_props:
        if entry.key == "decoding":
            entry.value = text
    onnx.save(graph, path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", 10**9),
        ("layers", 2),
        ("layers", "1"),
        ("most", 10**9),
        ("prompt", []),
        ("prompt", [10**9]),
        ("prompt", "text"),
        ("suppressed", {"a": 1}),
        ("suppressed_at_first", [-1]),
        ("end", None),
        ("end", []),
    ],
)
def test_notes_of_a_graph_are_checked(copy: Callable[[str], Path], field: str, value: Any) -> None:
    folder = copy("onnx")
    said = {"prompt": [1], "end": 2, "suppressed": [], "suppressed_at_first": [], "most": 16}
    _notes(folder, json.dumps({**said, "layers": 1, field: value}))
    refused(folder, field if field != "layers" else "layers")


def test_notes_without_end_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("onnx")
    for text in (DEEP, "[]", "{"):
        _notes(folder, text)
        refused(folder, "cannot be loaded")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(["prompt", "end", "suppressed", "most", "layers"]), VALUES)
def test_any_notes_are_read_or_named(field: str, value: Any) -> None:
    said = {"prompt": [1], "end": 2, "suppressed": [], "suppressed_at_first": [], "most": 16}
    try:
        notes = Notes.of({**said, "layers": 1, field: value}, 10)
    except ValueError:
        return
    assert Notes.of(notes.as_json(), 10) == notes


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_layout_is_read_or_named(exports: dict[str, Path], tmp_path: Path, data: Any) -> None:
    path = exports["ctc"] / native.NAME
    with safe_open(path, framework="pt") as handle:
        layout = json.loads(handle.metadata()["layout"])
    part = data.draw(st.sampled_from(["parameters", "units"]))
    name = data.draw(st.sampled_from(sorted(layout[part])))
    layout[part][name] = data.draw(VALUES | st.lists(VALUES, min_size=4, max_size=4))
    text = json.dumps(layout)
    save_file(load_file(path), tmp_path / native.NAME, metadata={"layout": text})
    with pytest.raises(ExportError) as caught:
        native.read(tmp_path / native.NAME)
    assert "\n" not in str(caught.value)


def test_what_has_no_digest_is_not_read(copy: Callable[[str], Path]) -> None:
    folder = copy("native")
    path = folder / export_file.NAME
    document = json.loads(path.read_text())
    document.pop("sha256", None)
    document["files"].pop(native.NAME)
    path.write_text(json.dumps(document))
    with pytest.raises(ExportError, match=r"does not name weights[.]safetensors"):
        load_model(str(folder))


def test_an_export_without_its_manifest_is_no_plain_model(copy: Callable[[str], Path]) -> None:
    folder = copy("compressed-tensors")
    (folder / export_file.NAME).unlink()
    with pytest.raises(ModelError, match="quantized already, by compressed-tensors"):
        load_model(str(folder))
