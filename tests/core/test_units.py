"""Units' names as people read them."""

from __future__ import annotations

import pytest

from genptq_core.profile import JSON_NAME, load_profile
from genptq_core.storage.locations import bundled_profiles
from genptq_core.units import Unit, readable


def _unit(parameter: str, part: str, kind: str, block: int = 0, rows: str = "") -> Unit:
    start, _, stop = rows.partition(":")
    return Unit(
        name=f"{parameter}@{rows}" if rows else parameter,
        parameter=parameter,
        start=int(start or 0),
        stop=int(stop or 64),
        columns=32,
        part=part,
        kind=kind,
        block=block,
        inputs="",
    )


@pytest.mark.parametrize(
    ("parameter", "part", "kind", "words"),
    [
        (
            "model.encoder.layers.3.self_attn.v_proj.weight",
            "encoder",
            "attention",
            "encoder 3 · attention · value",
        ),
        (
            "model.decoder.layers.3.encoder_attn.out_proj.weight",
            "decoder",
            "cross-attention",
            "decoder 3 · cross-attention · output",
        ),
        (
            "model.decoder.layers.3.fc2.weight",
            "decoder",
            "feed-forward",
            "decoder 3 · feed-forward · out",
        ),
        ("model.encoder.conv2.weight", "encoder", "convolution", "encoder · convolution 2"),
        (
            "encoder.layers.3.feed_forward1.linear2.weight",
            "encoder",
            "feed-forward",
            "encoder 3 · feed-forward 1 · out",
        ),
        (
            "encoder.layers.3.self_attn.relative_k_proj.weight",
            "encoder",
            "attention",
            "encoder 3 · attention · position",
        ),
        (
            "encoder.layers.3.conv.pointwise_conv1.weight",
            "encoder",
            "conv-module",
            "encoder 3 · convolution module · in",
        ),
        ("ctc_head.weight", "decoder", "output", "output"),
        (
            "wav2vec2.encoder.layers.3.feed_forward.intermediate_dense.weight",
            "encoder",
            "feed-forward",
            "encoder 3 · feed-forward · in",
        ),
        (
            "wav2vec2_conformer.encoder.layers.3.self_attn.linear_pos.weight",
            "encoder",
            "attention",
            "encoder 3 · attention · position",
        ),
        (
            "a.layers.3.mixer.new_thing.weight",
            "encoder",
            "feed-forward",
            "encoder 3 · feed-forward · new thing",
        ),
    ],
)
def test_names_are_words(parameter: str, part: str, kind: str, words: str) -> None:
    assert readable(_unit(parameter, part, kind, block=3)) == words


def test_rows_are_named() -> None:
    embedding = _unit("embed.weight", "embedding", "embedding", 1, "512:2048")
    assert readable(embedding) == "word pieces 512 to 2,047"
    split = _unit("a.layers.0.fc1.weight", "encoder", "feed-forward", 0, "0:32")
    assert readable(split) == "encoder 0 · feed-forward · in · rows 0 to 31"


@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base", "conformer-an4"])
def test_names_tell_layers_apart(name: str) -> None:
    folder = bundled_profiles() / name
    if not (folder / JSON_NAME).is_file():
        pytest.skip("the bundled profile is not here")
    units = load_profile(folder).units
    assert len({readable(unit) for unit in units}) == len(units)
