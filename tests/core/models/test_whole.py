"""A checkpoint is loaded whole and exactly, or refused in one line, whatever its family."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from genptq_core.errors import GenPTQError, ModelError, ModelWarning
from genptq_core.loading import load_model
from genptq_core.models.checkpoint import bare_name
from tests.core.tiny_models import CONFORMER, PARAKEET, WAV2VEC2, random_ctc

FAMILIES = ("whisper", PARAKEET, WAV2VEC2, CONFORMER)
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def sound(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("sound")
    made = {name: random_ctc(root / name, name) for name in FAMILIES[1:]}
    return {"whisper": random_whisper, **made}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(family: str, sound: Mapping[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound[family], tmp_path / "model"))


def edit(folder: Path, change: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    changed = change(load_file(path))
    save_file({n: t.contiguous() for n, t in changed.items()}, path, metadata={"format": "pt"})


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def refused(folder: Path, match: str) -> str:
    with pytest.raises(ModelError, match=match) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def a_layer(weights: Weights) -> str:
    return sorted(n for n in weights if ".layers." in n and n.endswith("weight"))[-1]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_a_known_prefix_is_taken_off_and_said(
    folder: Path, family: str, sound: Mapping[str, Path], prefix: str
) -> None:
    edit(folder, lambda weights: {prefix + name: t for name, t in weights.items()})
    with pytest.warns(ModelWarning, match=f"names its weights as {prefix}"):
        found = load_model(str(folder))
    assert found.digest == load_model(str(sound[family])).digest


def test_prefixes_may_be_several() -> None:
    assert bare_name("module._orig_mod.model.a._orig_mod.b") == "model.a.b"
    assert bare_name("model.module.a") == "model.module.a"


def test_missing_weights_are_refused(folder: Path) -> None:
    gone: list[str] = []

    def drop(weights: Weights) -> Weights:
        gone.append(a_layer(weights))
        return {name: t for name, t in weights.items() if name not in gone}

    edit(folder, drop)
    refused(folder, "lacks 1 of the weights")


def test_one_weight_too_many_is_refused(folder: Path) -> None:
    edit(folder, lambda weights: {**weights, "another.weight": torch.zeros(2)})
    refused(folder, r"holds 1 that they do not describe, first another\.weight")


def test_an_adapter_that_is_not_merged_is_refused(folder: Path) -> None:
    edit(folder, lambda weights: {**weights, f"{a_layer(weights)}.lora_A": torch.zeros(2)})
    assert "merge_and_unload" in refused(folder, "do not describe")


def test_another_shape_is_refused(folder: Path) -> None:
    edit(folder, lambda weights: {**weights, a_layer(weights): torch.zeros(3, 5)})
    refused(folder, r"of shape \(3, 5\), and its config.json describes")


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_are_compared_both_ways(
    folder: Path, family: str, layers: int, tmp_path: Path
) -> None:
    path = folder / "config.json"
    if family == "whisper":
        if layers == 1:
            edit(
                folder,
                lambda w: {**w, "model.decoder.layers.1.fc1.weight": torch.zeros(24, 16)},
            )
        change(path, decoder_layers=layers)
    elif family == PARAKEET:
        encoder = json.loads(path.read_text())["encoder_config"]
        change(path, encoder_config={**encoder, "num_hidden_layers": layers})
    else:
        change(path, num_hidden_layers=layers)
    refused(folder, "lacks" if layers == 3 else "do not describe")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_every_parameter_is_finite(folder: Path, value: float) -> None:
    """Also those that are never quantized: norms and biases."""

    def spoil(weights: Weights) -> Weights:
        name = sorted(n for n in weights if n.endswith("norm.bias"))[-1]
        return {**weights, name: torch.full_like(weights[name], value)}

    edit(folder, spoil)
    refused(folder, "holds NaN or infinite weights")


def test_integers_are_another_tool_s(folder: Path) -> None:
    edit(folder, lambda w: {**w, a_layer(w): w[a_layer(w)].to(torch.int8)})
    refused(folder, "as integers: another tool has quantized it")


def test_what_only_training_uses_need_not_be_stored(
    sound: Mapping[str, Path], tmp_path: Path
) -> None:
    """Many checkpoints of Wav2Vec2 lack what stands for masked frames; it is the same each time."""
    folder = Path(shutil.copytree(sound[WAV2VEC2], tmp_path / "model"))
    edit(folder, lambda w: {n: t for n, t in w.items() if "masked_spec_embed" not in n})
    assert load_model(str(folder)).digest == load_model(str(folder)).digest


def test_positions_need_not_be_stored(random_whisper: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_whisper, tmp_path / "model"))
    edit(folder, lambda w: {n: t for n, t in w.items() if "encoder.embed_positions" not in n})
    assert load_model(str(folder)).digest == load_model(str(random_whisper)).digest


def test_an_output_of_its_own_is_taken(random_whisper: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_whisper, tmp_path / "model"))
    edit(folder, lambda w: {**w, "proj_out.weight": w["model.decoder.embed_tokens.weight"] + 1})
    change(folder / "config.json", tie_word_embeddings=False)
    model = load_model(str(folder))
    assert model.head == "proj_out.weight"
    assert {u.parameter for u in model.units if u.part == "embedding"} == {"proj_out.weight"}


@pytest.mark.parametrize(
    "name", ["model.safetensors", "preprocessor_config.json", "tokenizer_config.json"]
)
def test_a_pointer_is_called_one(folder: Path, name: str) -> None:
    (folder / name).write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"
    )
    assert "git lfs pull" in refused(folder, f"{name} is a Git LFS pointer")


def test_an_adapter_next_to_its_model_is_refused(folder: Path) -> None:
    change(folder / "adapter_config.json", base_model_name_or_path="openai/whisper-small")
    refused(folder, "which of them is meant")


def adapter(folder: Path, base: Path, rank: int = 2) -> Weights:
    """Write an adapter of a Whisper's queries to a folder; its matrices."""
    folder.mkdir()
    change(
        folder / "adapter_config.json",
        base_model_name_or_path=str(base),
        peft_type="LORA",
        r=rank,
        lora_alpha=2 * rank,
        target_modules=["q_proj"],
    )
    torch.manual_seed(0)
    names = [n.removesuffix(".weight") for n in load_file(base / "model.safetensors")]
    weights = {
        f"base_model.model.{name}.lora_{side}.weight": 0.1 * torch.randn(shape)
        for name in names
        if name.endswith("q_proj")
        for side, shape in (("A", (rank, 16)), ("B", (16, rank)))
    }
    save_file(weights, folder / "adapter_model.safetensors")
    return weights


def test_an_adapter_is_merged_or_says_what_it_needs(
    random_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lora"
    weights = adapter(folder, random_whisper)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "peft", None)
        with pytest.raises(ModelError, match="without its model") as caught:
            load_model(str(folder))
        assert "pip install peft" in str(caught.value) and "\n" not in str(caught.value)
    change(folder / "adapter_config.json", peft_type="IA3")
    refused(folder, "adapter of type 'IA3'")
    change(folder / "adapter_config.json", peft_type="LORA")
    pytest.importorskip("peft", reason="peft is not installed")
    merged = dict(load_model(str(folder)).module.named_parameters())
    for name, plain in load_model(str(random_whisper)).module.named_parameters():
        low, high = (
            weights.get(f"base_model.model.{name.removesuffix('.weight')}.lora_{side}.weight")
            for side in "AB"
        )
        wanted = plain if low is None or high is None else plain + 2 * high @ low
        torch.testing.assert_close(merged[name], wanted)
    spare = {**weights, "base_model.model.other.q_proj.lora_A.weight": torch.zeros(2, 16)}
    save_file(spare, folder / "adapter_model.safetensors")
    refused(folder, "does not fit its model")


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "compressed-tensors", None])
def test_quantized_checkpoints_are_refused_by_name(folder: Path, method: str | None) -> None:
    change(folder / "config.json", quantization_config={"quant_method": method, "bits": 4})
    refused(folder, f"quantized already, by {method or 'a tool'}")


@pytest.mark.parametrize("what", ["tokenizer", "preprocessor"])
def test_missing_tokenizers_and_features_are_refused(folder: Path, what: str) -> None:
    for path in folder.iterdir():
        if path.name.startswith(what) or (what == "tokenizer" and path.name.startswith("vocab")):
            path.unlink()
    refused(folder, f"holds no {'tokenizer' if what == 'tokenizer' else 'feature settings'}")


def test_features_of_another_rate_are_refused(folder: Path) -> None:
    change(folder / "preprocessor_config.json", sampling_rate=8000)
    refused(folder, "hears audio at 8000 Hz")


@pytest.mark.parametrize("family", ["whisper", PARAKEET], indirect=True)
def test_features_of_other_bands_are_refused(folder: Path) -> None:
    change(folder / "preprocessor_config.json", feature_size=64)
    refused(folder, "80 mel bands.* makes .*64")


@pytest.mark.parametrize("family", FAMILIES[1:], indirect=True)
def test_labels_and_letters_are_compared(folder: Path) -> None:
    path = folder / "vocab.json"
    letters = json.loads(path.read_text())
    path.write_text(json.dumps({**letters, "ä": len(letters)}))
    refused(folder, "'ä' no label")
    letters.pop("q")
    path.write_text(json.dumps(letters))
    refused(folder, "label 19 has no letter")


def test_a_pickle_is_read_without_its_code(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    digest = load_model(str(folder)).digest
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.warns(ModelWarning, match="none of its code is run"):
        assert load_model(str(folder)).digest == digest
    torch.save({"state_dict": weights, "epoch": 3}, folder / "pytorch_model.bin")
    assert "save_pretrained" in refused(folder, "it holds state_dict, epoch")
    torch.save({"args": Trap(tmp_path / "ran")}, folder / "pytorch_model.bin")
    refused(folder, "holds more than tensors")
    assert not (tmp_path / "ran").exists()
    (folder / "pytorch_model.bin").unlink()
    (folder / "flax_model.msgpack").write_bytes(b"x")
    refused(folder, "holds no weights.*it has flax_model.msgpack")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_folder_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    autos = ("AutoConfig", "AutoModelForCTC", "AutoModelForSpeechSeq2Seq", "AutoTokenizer")
    names = {auto: "code.Thing" for auto in (*autos, "AutoFeatureExtractor", "AutoProcessor")}
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        change(folder / name, auto_map=names)

    def ask(*_: object) -> str:
        raise AssertionError("it was offered to run")

    monkeypatch.setattr("builtins.input", ask)
    before = set(sys.modules)
    try:
        load_model(str(folder))
    except ModelError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "ran").exists()
    assert not [name for name in set(sys.modules) - before if name.endswith(".code")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[" * 100_000),
        ("config.json", "[]"),
        ("generation_config.json", "{"),
        ("preprocessor_config.json", "[1]"),
        ("tokenizer_config.json", '{"a":' * 50_000),
        ("model.safetensors.index.json", "{}"),
    ],
)
def test_damaged_settings_are_one_line(
    random_whisper: Path, tmp_path: Path, name: str, text: str
) -> None:
    folder = Path(shutil.copytree(random_whisper, tmp_path / "model"))
    (folder / name).write_text(text)
    if "index" in name:
        (folder / "model.safetensors").unlink()
    refused(folder, "cannot be read|no JSON object|names no weights")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder_layers", 10**6),
        ("encoder_layers", 10**9),
        ("d_model", 10**9),
        ("vocab_size", 2**24),
        ("max_source_positions", 2**24),
        ("encoder_ffn_dim", -(10**30)),
    ],
)
def test_impossible_sizes_are_refused_soon(
    random_whisper: Path, tmp_path: Path, name: str, value: int
) -> None:
    folder = Path(shutil.copytree(random_whisper, tmp_path / "model"))
    change(folder / "config.json", **{name: value})
    refused(folder, "no model has more than|with weight files|weight files|cannot be loaded")


@pytest.mark.parametrize("field", ["n_fft", "feature_size", "chunk_length", "hop_length"])
@pytest.mark.parametrize("value", [0, -1, 10**9, "many", None])
def test_impossible_features_are_refused_soon(
    random_whisper: Path, tmp_path: Path, field: str, value: object
) -> None:
    folder = Path(shutil.copytree(random_whisper, tmp_path / "model"))
    change(folder / "preprocessor_config.json", **{field: value})
    with pytest.raises(GenPTQError) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


def test_all_parts_must_be_there(random_whisper: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_whisper, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    for part in ("model-00001-of-00001.safetensors", "../other.safetensors"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": part}}))
        refused(folder, "not a file of that folder")
