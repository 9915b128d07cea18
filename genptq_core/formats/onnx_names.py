"""Names of the keys and values that pass between the graphs of an ONNX export."""

from __future__ import annotations


def cross_names(layers: int) -> list[str]:
    """Keys and values that the encoder gives to each decoder layer."""
    return [f"cross.{part}.{index}" for index in range(layers) for part in ("key", "value")]


def past_names(layers: int) -> list[str]:
    """Keys and values that each decoder layer keeps from step to step."""
    return [f"past.{part}.{index}" for index in range(layers) for part in ("key", "value")]
