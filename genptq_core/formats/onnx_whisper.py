"""Whisper as two ONNX graphs: an encoder, and a decoder that takes one or more tokens a step.

The architecture is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (2022), section 2.2, with weights named as `transformers` names them. Keys and values
of cross-attention depend on the recording alone, so the encoder gives them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from .onnx_graph import Graph, Weights
from .onnx_names import cross_names, past_names

_EMBEDDING = "model.decoder.embed_tokens.weight"


def write_encoder(path: Path, weights: Weights, config: Any) -> int:
    """Log-mel features (batch, mels, frames) to encoder states and keys and values of each layer.

    Returns:
        Bytes of the parameters in it.
    """
    graph, base = Graph(weights), "model.encoder"
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
        found = _attention(graph, query, key, value, heads, config.d_model)
        found = graph.linear(found, f"{layer}.self_attn.out_proj")
        states = _feed_forward(graph, graph.op("Add", states, found), layer)
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
        found = _split(graph, graph.linear(states, module), heads)
        outputs[name] = (found, ["batch", heads, frames, size // heads])
    shape: list[int | str] = ["batch", config.num_mel_bins, 2 * frames]
    graph.save(path, {"features": (TensorProto.FLOAT, shape)}, outputs, {})
    return graph.bytes


def write_decoder(path: Path, weights: Weights, config: Any, notes: dict[str, str]) -> int:
    """Tokens (batch, tokens) after what is kept of earlier ones, to logits and what is kept then.

    Returns:
        Bytes of the parameters in it.
    """
    graph, base = Graph(weights), "model.decoder"
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
    scalars = [graph.op("Squeeze", place, axis) for place in (begin, end)]
    zero, one = graph.constant(0), graph.constant(1)
    asking = graph.op("Unsqueeze", graph.op("Range", *scalars, one), graph.constant([1]))
    asked = graph.op("Unsqueeze", graph.op("Range", zero, scalars[1], one), axis)
    hidden = graph.op("Cast", graph.op("Greater", asked, asking), to=TensorProto.FLOAT)
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
        for part, found in (("key", key), ("value", value)):
            kept[f"now.{part}.{index}"] = (found, ["batch", heads, "after", size // heads])
        found = _attention(graph, query, key, value, heads, size, mask)
        states = graph.op("Add", states, graph.linear(found, f"{layer}.self_attn.out_proj"))
        normed = _norm(graph, states, f"{layer}.encoder_attn_layer_norm")
        query = _split(graph, graph.linear(normed, f"{layer}.encoder_attn.q_proj"), heads)
        cross = (f"cross.key.{index}", f"cross.value.{index}")
        found = _attention(graph, query, *cross, heads, size)
        found = graph.linear(found, f"{layer}.encoder_attn.out_proj")
        states = _feed_forward(graph, graph.op("Add", states, found), layer)
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
    found = graph.op("Gelu", graph.linear(normed, f"{layer}.fc1"))
    return graph.op("Add", states, graph.linear(found, f"{layer}.fc2"))


def _split(graph: Graph, states: str, heads: int) -> str:
    """(batch, length, size) to (batch, heads, length, size / heads)."""
    parts = graph.op("Reshape", states, graph.constant([0, 0, heads, -1]))
    return graph.op("Transpose", parts, perm=[0, 2, 1, 3])


def _attention(
    graph: Graph, query: str, key: str, value: str, heads: int, size: int, mask: str = ""
) -> str:
    """Scaled dot-product attention: (batch, length, size)."""
    query = graph.op("Mul", query, graph.constant((size // heads) ** -0.5, np.float32))
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
    if mask:
        scores = graph.op("Add", scores, mask)
    found = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
    found = graph.op("Transpose", found, perm=[0, 2, 1, 3])
    return graph.op("Reshape", found, graph.constant([0, 0, size]))
