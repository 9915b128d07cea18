"""Units: the pieces of a model that each have a bit width of their own."""

from __future__ import annotations

from dataclasses import dataclass


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
            "output".
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
