"""Whisper as two ONNX graphs: an encoder, and a decoder of one or more tokens per step.

The architecture is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (2022), section 2.2, with weights named as `transformers` names them. Keys and values
of cross-attention depend only on the recording, so the encoder graph computes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from .onnx_graph import Graph
from .onnx_names import cross_names, past_names

_EMBEDDING = "model.decoder.embed_tokens.weight"


def write_encoder(path: Path, graph: Graph, config: Any) -> int:
    """Write the graph from log-mel features (batch, mels, frames) to encoder states.

    It also gives keys and values of cross-attention for each decoder layer.

    Returns:
        Bytes of the parameters in it.
    """
    base = "model.encoder"
    states = "features"
    for index in (1, 2):
        kernel, bias = (graph.parameter(f"{base}.conv{index}.{w}") for w in ("weight", "bias"))
        states = graph.op("Conv", states, kernel, bias, strides=[index], pads=[1, 1])
        states = graph.op("Gelu", states)
    states = graph.op("Transpose", states, perm=[0, 2, 1])
    states = graph.op("Add", states, graph.parameter(f"{base}.embed_positions.weight"))
    heads = config.encoder_attention_heads
    for index in range(config.encoder_layers):
        layer = f"{base}.layers.{index}"
        normed = _norm(graph, states, f"{layer}.self_attn_layer_norm")
        query, key, value = (
            _split(graph, graph.linear(normed, f"{layer}.self_attn.{part}_proj"), heads)
            for part in ("q", "k", "v")
        )
        attended = _attention(graph, query, key, value, heads=heads, size=config.d_model)
        attended = graph.linear(attended, f"{layer}.self_attn.out_proj")
        states = _feed_forward(graph, graph.op("Add", states, attended), layer)
    states = _norm(graph, states, f"{base}.layer_norm")
    heads = config.decoder_attention_heads
    frames, size = config.max_source_positions, config.d_model
    outputs: dict[str, tuple[str, list[int | str]]] = {"states": (states, ["batch", frames, size])}
    for name, module in zip(
        cross_names(config.decoder_layers),
        (
            f"model.decoder.layers.{index}.encoder_attn.{part}_proj"
            for index in range(config.decoder_layers)
            for part in ("k", "v")
        ),
        strict=True,
    ):
        projected = _split(graph, graph.linear(states, module), heads)
        outputs[name] = (projected, ["batch", heads, frames, size // heads])
    shape: list[int | str] = ["batch", config.num_mel_bins, 2 * frames]
    graph.save(path, {"features": (TensorProto.FLOAT, shape)}, outputs, {})
    return graph.bytes


def write_decoder(path: Path, graph: Graph, config: Any, notes: dict[str, str]) -> int:
    """Write the graph from tokens (batch, tokens) to their logits.

    Keys and values of earlier tokens are inputs; those with the new tokens are outputs.

    Returns:
        Bytes of the parameters in it.
    """
    base = "model.decoder"
    heads, size, layers = config.decoder_attention_heads, config.d_model, config.decoder_layers
    past = past_names(layers)
    axis = graph.constant([0])
    begin = graph.op("Shape", past[0], start=2, end=3)
    end = graph.op("Add", begin, graph.op("Shape", "tokens", start=1, end=2))
    states = graph.rows("tokens", _EMBEDDING)
    if config.scale_embedding:
        states = graph.op("Mul", states, graph.constant(size**0.5, np.float32))
    table = graph.parameter(f"{base}.embed_positions.weight")
    states = graph.op("Add", states, graph.op("Slice", table, begin, end, axis))
    # A token attends to itself and to all before it.
    first, last = (graph.op("Squeeze", place, axis) for place in (begin, end))
    zero, one = graph.constant(0), graph.constant(1)
    queries = graph.op("Unsqueeze", graph.op("Range", first, last, one), graph.constant([1]))
    keys = graph.op("Unsqueeze", graph.op("Range", zero, last, one), axis)
    hidden = graph.op("Cast", graph.op("Greater", keys, queries), to=TensorProto.FLOAT)
    mask = graph.op("Mul", hidden, graph.constant(-1e9, np.float32))
    kept: dict[str, tuple[str, list[int | str]]] = {}
    for index in range(layers):
        layer = f"{base}.layers.{index}"
        normed = _norm(graph, states, f"{layer}.self_attn_layer_norm")
        query, key, value = (
            _split(graph, graph.linear(normed, f"{layer}.self_attn.{part}_proj"), heads)
            for part in ("q", "k", "v")
        )
        key = graph.op("Concat", past[2 * index], key, axis=2)
        value = graph.op("Concat", past[2 * index + 1], value, axis=2)
        shape: list[int | str] = ["batch", heads, "after", size // heads]
        kept[f"now.key.{index}"], kept[f"now.value.{index}"] = (key, shape), (value, shape)
        attended = _attention(graph, query, key, value, heads=heads, size=size, mask=mask)
        states = graph.op("Add", states, graph.linear(attended, f"{layer}.self_attn.out_proj"))
        normed = _norm(graph, states, f"{layer}.encoder_attn_layer_norm")
        query = _split(graph, graph.linear(normed, f"{layer}.encoder_attn.q_proj"), heads)
        key, value = f"cross.key.{index}", f"cross.value.{index}"
        attended = _attention(graph, query, key, value, heads=heads, size=size)
        attended = graph.linear(attended, f"{layer}.encoder_attn.out_proj")
        states = _feed_forward(graph, graph.op("Add", states, attended), layer)
    states = _norm(graph, states, f"{base}.layer_norm")
    logits = graph.product(states, _EMBEDDING)
    outputs = {"logits": (logits, ["batch", "tokens", config.vocab_size]), **kept}
    inputs: dict[str, tuple[int, list[int | str]]] = {
        "tokens": (TensorProto.INT64, ["batch", "tokens"])
    }
    for name in past:
        inputs[name] = (TensorProto.FLOAT, ["batch", heads, "before", size // heads])
    for name in cross_names(layers):
        shape = ["batch", heads, config.max_source_positions, size // heads]
        inputs[name] = (TensorProto.FLOAT, shape)
    graph.save(path, inputs, outputs, notes)
    return graph.bytes


def _norm(graph: Graph, states: str, module: str) -> str:
    scale, bias = (graph.parameter(f"{module}.{part}") for part in ("weight", "bias"))
    return graph.op("LayerNormalization", states, scale, bias, axis=-1, epsilon=1e-5)


def _feed_forward(graph: Graph, states: str, layer: str) -> str:
    normed = _norm(graph, states, f"{layer}.final_layer_norm")
    hidden = graph.op("Gelu", graph.linear(normed, f"{layer}.fc1"))
    return graph.op("Add", states, graph.linear(hidden, f"{layer}.fc2"))


def _split(graph: Graph, states: str, heads: int) -> str:
    """(batch, length, size) to (batch, heads, length, size / heads)."""
    parts = graph.op("Reshape", states, graph.constant([0, 0, heads, -1]))
    return graph.op("Transpose", parts, perm=[0, 2, 1, 3])


def _attention(
    graph: Graph, query: str, key: str, value: str, *, heads: int, size: int, mask: str = ""
) -> str:
    """Scaled dot-product attention: (batch, length, size)."""
    query = graph.op("Mul", query, graph.constant((size // heads) ** -0.5, np.float32))
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
    if mask:
        scores = graph.op("Add", scores, mask)
    attended = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
    attended = graph.op("Transpose", attended, perm=[0, 2, 1, 3])
    return graph.op("Reshape", attended, graph.constant([0, 0, size]))
