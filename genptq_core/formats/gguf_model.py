"""A model in a GGUF file as transcribe.cpp loads it, whatever its architecture.

Matrices may be of any type that ggml computes with, one each; convolutions that are counted as
units are float16, all else float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import ExportError
from . import gguf_file
from .gguf_file import Packed, Value
from .parameters import half

RUNTIME = "transcribe.cpp"

_MOST_FILLING = gguf_file.ALIGNMENT - 2  # blocks of 32 weights have an even number of bytes


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """What a file of one model holds besides the values of its parameters.

    Attributes:
        where: the model, for messages.
        keys: values by key.
        shapes: of every parameter, by its name in `transformers`.
        name_of: what the file calls a parameter.
        is_matrix: whether a parameter of a shape may be of any type.
        is_half: whether a parameter of a shape that may not is float16.
        constants: tensors that are no parameters, by the file's names.
        computed: parameters that follow from a formula, for those that do not come.
        sums: parameters of the file alone, each the sum of others, which it does not hold.
    """

    where: str
    keys: Mapping[str, Value]
    shapes: Mapping[str, tuple[int, ...]]
    name_of: Callable[[str], str]
    is_matrix: Callable[[str, tuple[int, ...]], bool]
    is_half: Callable[[str, tuple[int, ...]], bool]
    constants: Mapping[str, np.ndarray]
    computed: Mapping[str, Callable[[], np.ndarray]]
    sums: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def write(self, path: Path, tensors: Iterable[tuple[str, Packed | np.ndarray]]) -> int:
        """Write a file, one tensor after another.

        Args:
            path: the file.
            tensors: every parameter with its name in `transformers`, in any order: packed or as
                floats. Those of `computed` may be missing.

        Returns:
            Bytes of the parameters, without what aligns them.

        Raises:
            ExportError: a parameter is missing, unknown or of another shape, or float16 cannot
                hold it.
        """
        total = 0

        def content() -> Iterator[tuple[str, Packed | np.ndarray]]:
            nonlocal total
            yield from self.constants.items()
            for name, tensor in self._stored(self._summed(tensors)):
                total += (tensor.data if isinstance(tensor, Packed) else tensor).nbytes
                yield name, tensor

        gguf_file.write(path, self.keys, self._ranks(), content())
        total += self._spared
        # What aligns tensors differs with their types; the file's size must not.
        with path.open("ab") as file:
            file.write(bytes(self.overhead + total - file.tell()))
        return total

    @property
    def overhead(self) -> int:
        """Bytes of a file beyond those of its parameters, whatever their types."""
        header = gguf_file.header_bytes(self.keys, self._ranks())
        constants = sum(gguf_file.padded(array.nbytes) for array in self.constants.values())
        filling = sum(self._filling(name) for name in self._held)
        return header + constants + filling - self._spared

    @cached_property
    def _held(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters that the file holds."""
        gone = {name for names in self.sums.values() for name in names}
        kept = {name: shape for name, shape in self.shapes.items() if name not in gone}
        return kept | {name: self.shapes[names[0]] for name, names in self.sums.items()}

    @property
    def _spared(self) -> int:
        """Bytes of the parameters that are only in sums, beyond those of the sums; float32."""
        sizes = (math.prod(self.shapes[names[0]]) for names in self.sums.values())
        rest = (len(names) - 1 for names in self.sums.values())
        return 4 * sum(size * count for size, count in zip(sizes, rest, strict=True))

    def _summed(
        self, tensors: Iterable[tuple[str, Packed | np.ndarray]]
    ) -> Iterator[tuple[str, Packed | np.ndarray]]:
        """Tensors, sums in place of their terms as soon as all are there."""
        sum_of = {name: total for total, names in self.sums.items() for name in names}
        terms: dict[str, list[np.ndarray]] = {}
        for name, tensor in tensors:
            if name not in sum_of or isinstance(tensor, Packed):
                yield name, tensor
                continue
            found = terms.setdefault(sum_of[name], [])
            found.append(tensor)
            if len(found) == len(self.sums[sum_of[name]]):
                yield sum_of[name], np.sum(found, axis=0)

    def _filling(self, parameter: str) -> int:
        """The most bytes that align the tensor after a parameter."""
        shape = self._held[parameter]
        weights = int(np.prod(shape))
        if self.is_matrix(parameter, shape):
            return 0 if weights % (32 * 16) == 0 else _MOST_FILLING
        size = weights * (2 if self.is_half(parameter, shape) else 4)
        return gguf_file.padded(size) - size

    def _ranks(self) -> dict[str, int]:
        ranks = {name: array.ndim for name, array in self.constants.items()}
        return ranks | {self.name_of(p): len(shape) for p, shape in self._held.items()}

    def _stored(
        self, tensors: Iterable[tuple[str, Packed | np.ndarray]]
    ) -> Iterator[tuple[str, Packed | np.ndarray]]:
        """Tensors under the file's names and in its types."""
        missing = dict(self.computed)
        for parameter, tensor in tensors:
            shape = self._held.get(parameter)
            if shape is None or tuple(tensor.shape) != shape:
                raise ExportError(f"{parameter} of {self.where} has shape {tuple(tensor.shape)}.")
            missing.pop(parameter, None)
            matrix = self.is_matrix(parameter, shape)
            if isinstance(tensor, Packed):
                if not matrix:
                    raise ExportError(f"{parameter} cannot be packed for {RUNTIME}.")
                yield self.name_of(parameter), tensor
            elif matrix or self.is_half(parameter, shape):
                yield self.name_of(parameter), half(tensor, parameter)
            else:
                yield self.name_of(parameter), tensor.astype(np.float32)
        for parameter, compute in missing.items():
            yield self.name_of(parameter), compute()
