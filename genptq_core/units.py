"""Units: the pieces of a model that each have a bit width of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROLES = {
    "q": "query",
    "k": "key",
    "v": "value",
    "o": "output",
    "out": "output",
    "pos": "position",
    "relative_k": "position",
    "fc1": "in",
    "fc2": "out",
    "linear1": "in",
    "linear2": "out",
    "intermediate_dense": "in",
    "output_dense": "out",
    "pointwise_conv1": "in",
    "pointwise_conv2": "out",
    "depthwise_conv": "depthwise",
    "gru_rel_pos_linear": "position gate",
    "encoder_projector": "encoder",
    "decoder_projector": "prediction",
    "head": "output",
    "weight_ih": "input",
    "weight_hh": "state",
}
_KINDS = {"conv-module": "convolution module", "embedding": "word pieces"}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The smallest piece of a model with a bit width of its own: a weight, or some rows of it.

    Attributes:
        name: key in bit maps: the parameter's name, followed by `@start:stop` if it is only rows.
        parameter: the parameter's name in the model.
        start: first row.
        stop: one past the last row.
        columns: columns of the weight (input features).
        part: "encoder", "decoder" or "embedding".
        kind: what the weight does: "attention", "cross-attention", "feed-forward", "embedding",
            "convolution" (before the first block), "conv-module" (inside a Conformer's blocks),
            "output", "projection" (before the decoder); of transducers "prediction" (an LSTM) and
            "joint".
        block: index of the layer in its part, or of the row block.
        inputs: the module whose input multiplies this weight; units that share it share a Hessian.
    """

    name: str
    parameter: str
    start: int
    stop: int
    columns: int
    part: str
    kind: str
    block: int
    inputs: str

    @property
    def group(self) -> str:
        """The set of units whose coarse widths are checked together against measured losses."""
        return f"{self.part}-{self.block if self.part == 'embedding' else self.kind}"

    @property
    def rows(self) -> int:
        """Rows of the unit (output features)."""
        return self.stop - self.start

    @property
    def weights(self) -> int:
        """Weights in the unit."""
        return self.rows * self.columns


def readable(unit: Unit) -> str:
    """A unit's name as a person reads it: `encoder 3 \u00b7 attention \u00b7 value`.

    What the unit does stands first, then which of its block's weights it is. Names that no rule
    knows end in their last word as it is.
    """
    rows = f"{unit.start:,} to {unit.stop - 1:,}"
    if unit.part == "embedding":
        return f"word pieces {rows}"
    pieces = unit.parameter.removesuffix(".weight").split(".")
    numbered = [i for i, piece in enumerate(pieces) if piece.isdigit()]
    inner = pieces[numbered[-1] + 1 :] if numbered else pieces[-1:]
    kind = _KINDS.get(unit.kind, unit.kind)
    half = re.search(r"(?:feed_forward|ffn)([0-9])$", inner[0] if inner else "")
    if half and kind == "feed-forward":
        kind = f"{kind} {half[1]}"
    last = inner[-1] if inner else ""
    stem = last.removesuffix("_proj").removeprefix("linear_")
    role = _ROLES.get(stem, _ROLES.get(last, last.replace("_", " ")))
    if unit.kind == "convolution":
        words = [unit.part, _front(unit, last, bool(numbered))]
    elif unit.kind == "prediction":
        words = [f"prediction {unit.block}", _ROLES.get(last.rsplit("_l", 1)[0], last)]
    elif unit.kind == "joint":
        words = ["joint", role]
    elif unit.kind == "projection":
        words = [unit.part, "projection of the encoder"]
    elif not numbered:
        words = [kind] if unit.kind == "output" else [unit.part, kind]
    else:
        words = [f"{unit.part} {unit.block}", kind, role]
    if "@" in unit.name:
        words.append(f"rows {rows}")
    return " \u00b7 ".join(word for word in words if word)


def _front(unit: Unit, last: str, numbered: bool) -> str:
    """What a weight before the first block is called."""
    if numbered:
        return f"convolution {unit.block}"
    number = re.search(r"[0-9]+$", last)
    if last.startswith("conv"):
        return f"convolution {number[0]}" if number else "convolution"
    return f"front end {last.replace('_', ' ')}"
