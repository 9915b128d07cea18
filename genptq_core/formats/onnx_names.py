"""Names of the keys and values that pass between the two graphs of an ONNX export."""

from __future__ import annotations


def cross_names(layers: int) -> list[str]:
    """What the encoder gives to each decoder layer: keys, then values."""
    return [f"cross.{part}.{index}" for index in range(layers) for part in ("key", "value")]


def past_names(layers: int) -> list[str]:
    """What each decoder layer keeps from step to step: keys, then values."""
    return [f"past.{part}.{index}" for index in range(layers) for part in ("key", "value")]
