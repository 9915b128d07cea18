"""The quantizers that ours is compared with, each at its best under a size.

    from benchmarks.rivals import RIVALS, best_under
    rival = best_under("hqq", model, hessians, room)

All quantize weights only and without labels: every Linear weight, and the embedding tied to the
output projection. Everything else in the model is the caller's. The packages come with
`pip install -r requirements-bench.txt` and are imported when they are first used.

`rtn` is our grid without search or compensation, `gptq` our GPTQ at uniform widths; `hqq`,
`quanto` and `torchao` are the libraries; `modelopt` is NVIDIA's allocation of widths, rounded by
our GPTQ. A library gets one width for the embedding and one for all the rest, equal or next to
each other in what it offers, and any of its group sizes for each: uniform maps hardly ever fill
a budget.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from benchmarks.rival_allocation import UNQUANTIZED, WidthSearch, widths_under
from benchmarks.rival_libraries import GROUP_SIZES, LIBRARIES, Library, Scheme
from genptq_core.models import SpeechModel

RIVALS = (*LIBRARIES, "modelopt")
"""Names of all rivals."""


@dataclass(frozen=True)
class Rival:
    """A model's weights as a rival quantizes them.

    Attributes:
        name: one of `RIVALS`.
        settings: what was chosen, such as "3 bits, groups of 128, symmetric".
        weights: what each quantized parameter reads as, float32, by parameter name.
        bytes: bytes of these parameters: dense codes, scales, zero points.
        bits: width of codes by parameter name; 16 where left alone.
    """

    name: str
    settings: str
    weights: dict[str, Tensor]
    bytes: int
    bits: dict[str, int]


@dataclass(frozen=True)
class Setting:
    """How a library quantizes a model.

    Attributes:
        embedding: of the embedding.
        rest: of all other weights.
        bytes: bytes of all of them.
    """

    embedding: Scheme
    rest: Scheme
    bytes: int

    def __str__(self) -> str:
        variant = self.rest.variant
        if self.embedding == self.rest:
            return f"{self.rest}, {variant}"
        return f"embedding {self.embedding}; rest {self.rest}; {variant}"


@dataclass(frozen=True)
class _Matrix:
    parameter: str
    rows: int
    columns: int
    embedding: bool
    inputs: str


def best_under(
    name: str,
    model: SpeechModel,
    hessians: Mapping[str, Tensor],
    room: int,
    *,
    judge: Callable[[Mapping[str, Tensor]], float] | None = None,
    search: WidthSearch | None = None,
) -> Rival | None:
    """A rival's best shot at a size.

    Args:
        name: one of `RIVALS`.
        model: the model; it is not changed.
        hessians: second moments of the layers' inputs, by the units' `inputs`.
        room: bytes for the quantized parameters, scales and zero points included.
        judge: loss of a model with these weights, lower is better, by which the library's most
            promising settings are compared, such as the divergence on calibration speech. Without
            it the first of `settings_under` is taken.
        search: ModelOpt's scores, from `search_widths`; only "modelopt" wants them.

    Returns:
        The rival, or None if none of its settings fits.

    Raises:
        GenPTQError: the rival's package is not installed.
        ValueError: there is no such rival, or ModelOpt's scores are missing.
    """
    if name == "modelopt":
        if search is None:
            raise ValueError("modelopt needs the scores that search_widths gives")
        return _allocated(model, hessians, room, search)
    if name not in LIBRARIES:
        raise ValueError(f"{name} is not one of {', '.join(RIVALS)}")
    library = LIBRARIES[name]
    settings = settings_under(library, model, room)
    if not settings:
        return None
    if judge is None or len(settings) == 1:
        return quantize(library, settings[0], model, hessians)
    best, least = None, float("inf")
    for setting in settings:
        rival = quantize(library, setting, model, hessians)
        loss = judge(rival.weights)
        if best is None or loss < least:
            best, least = rival, loss
    return best


def settings_under(library: Library, model: SpeechModel, room: int) -> list[Setting]:
    """A library's most promising settings within a number of bytes, best guess first.

    A coarse width ruins a model whatever the others are, so only settings whose least width is
    the widest possible are kept. Of each method and pair of widths the one whose larger group is
    smallest stays, and of those the one with most bytes; these are listed by falling bytes.
    """
    matrices = _matrices(model)
    by_bytes: dict[tuple[str, int, int], Setting] = {}
    pairs = [*zip(library.widths, library.widths, strict=True)]
    for low, high in itertools.pairwise(library.widths):
        pairs += [(low, high), (high, low)]
    for variant, (first, second) in itertools.product(library.variants, pairs):
        for sizes in itertools.product(GROUP_SIZES, repeat=2):
            embedding, rest = Scheme(first, sizes[0], variant), Scheme(second, sizes[1], variant)
            if not all(library.offers(_scheme(m, embedding, rest), m.columns) for m in matrices):
                continue
            total = sum(
                library.matrix_bytes(m.rows, m.columns, _scheme(m, embedding, rest))
                for m in matrices
            )
            if total > room:
                continue
            setting = Setting(embedding, rest, total)
            key = (variant, first, second)
            if key not in by_bytes or _preference(setting) > _preference(by_bytes[key]):
                by_bytes[key] = setting
    widest = max((_least_width(s) for s in by_bytes.values()), default=0)
    kept = [s for s in by_bytes.values() if _least_width(s) == widest]
    return sorted(kept, key=lambda s: -s.bytes)


def quantize(
    library: Library, setting: Setting, model: SpeechModel, hessians: Mapping[str, Tensor]
) -> Rival:
    """Quantize a model's weights with one setting of a library."""
    weights: dict[str, Tensor] = {}
    bits: dict[str, int] = {}
    for matrix in _matrices(model):
        scheme = _scheme(matrix, setting.embedding, setting.rest)
        weight = model.module.get_parameter(matrix.parameter).detach().float()
        moments = hessians[matrix.inputs] if library.needs_moments else None
        weights[matrix.parameter] = library.quantize(weight, scheme, moments)
        bits[matrix.parameter] = scheme.bits
    return Rival(library.name, str(setting), weights, setting.bytes, bits)


def _allocated(
    model: SpeechModel, hessians: Mapping[str, Tensor], room: int, search: WidthSearch
) -> Rival | None:
    bits = widths_under(search, room)
    if bits is None:
        return None
    library = LIBRARIES["gptq"]
    weights: dict[str, Tensor] = {}
    total = 0
    matrices = _matrices(model)
    for matrix in matrices:
        width = bits[matrix.parameter]
        weight = model.module.get_parameter(matrix.parameter).detach().float()
        if width == UNQUANTIZED:
            weights[matrix.parameter] = weight.half().float()
            total += 2 * weight.numel()
            continue
        scheme = Scheme(width, search.group_size, library.variants[0])
        weights[matrix.parameter] = library.quantize(weight, scheme, hessians[matrix.inputs])
        total += library.matrix_bytes(matrix.rows, matrix.columns, scheme)
    if total > room:
        return None
    embedding = {bits[m.parameter] for m in matrices if m.embedding}
    counts = Counter(bits[m.parameter] for m in matrices if not m.embedding)
    settings = (
        f"embedding {', '.join(map(str, sorted(embedding)))} bits; "
        + ", ".join(f"{counts[width]} layers at {width}" for width in sorted(counts))
        + f"; groups of {search.group_size}, rounded by our GPTQ"
    )
    return Rival("modelopt", settings, weights, total, bits)


def _matrices(model: SpeechModel) -> list[_Matrix]:
    """The parameters that units cover, each whole."""
    matrices: dict[str, _Matrix] = {}
    for unit in model.units:
        rows = model.module.get_parameter(unit.parameter).shape[0]
        if unit.kind == "convolution":  # the caller's, like all that is not a matrix
            continue
        embedding = unit.part == "embedding"
        matrices[unit.parameter] = _Matrix(
            unit.parameter, rows, unit.columns, embedding, unit.inputs
        )
    return list(matrices.values())


def _scheme(matrix: _Matrix, embedding: Scheme, rest: Scheme) -> Scheme:
    return embedding if matrix.embedding else rest


def _least_width(setting: Setting) -> int:
    return min(setting.embedding.bits, setting.rest.bits)


def _preference(setting: Setting) -> tuple[float, int]:
    sizes = [s.group_size or float("inf") for s in (setting.embedding, setting.rest)]
    return -max(sizes), setting.bytes
