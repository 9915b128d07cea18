"""The values that knobs can have, and how a link writes them. Pure; `views/knobs.py` draws them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.wer_curve import Curve
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile
from genptq_core.targets import NATIVE, bytes_by_option, fixed_bytes, target_of

from .demands import constrain, parse

BY_SIZE = "size"
BY_ACCURACY = "accuracy"
MODES = (BY_SIZE, BY_ACCURACY)

POINTS = (0.2, 10.0, 0.1)
"""Least, largest and step of the allowed increase of WER, percentage points."""

POINTS_START = 1.0

LOSSES = (0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Allowed predicted losses on offer where no WER can be predicted yet, nats per token."""

LOSS_START = 0.1

SHORT = 10
"""Characters of a map's digest that the page and its links show."""


@dataclass(frozen=True)
class Knobs:
    """Everything that a user can set; a link carries all of it.

    Attributes:
        model: folder name of the profile.
        mode: BY_SIZE or BY_ACCURACY.
        size_mb: largest size, MB of 10^6 bytes.
        points: allowed increase of WER, percentage points.
        loss: allowed predicted loss, used in place of `points` where no WER is predicted.
        min_bits, max_bits: widths allowed.
        pins: demands as typed, one per line; see `demands`.
        pick: short digest of a measured map picked by hand, or "" for the solver's map.
        speech: the speech set shown, as `Measurements.word` writes it, or "" for the usual one.
        target: name of the format that must hold the map.
        second: the speech set drawn into the same chart, written alike, or "" for none; links call
            it `beside`.
        runtime: what runs the map, as `Way.name` says it, or "" for what usually runs the format.
    """

    model: str
    mode: str = BY_SIZE
    size_mb: float = 0.0
    points: float = POINTS_START
    loss: float = LOSS_START
    min_bits: float = 0
    max_bits: float = 16
    pins: str = ""
    pick: str = ""
    speech: str = ""
    target: str = NATIVE
    second: str = ""
    runtime: str = ""


@dataclass(frozen=True)
class SizeRange:
    """The sizes on the slider, MB, ascending; they depend on profile and format alone.

    Attributes:
        values: the sizes.
        decimals: decimals that tell them apart.
        usual: bytes at the widest code on offer; above that size there is nearly nothing to gain.
    """

    values: tuple[float, ...]
    decimals: int
    usual: int

    def clip(self, size_mb: float) -> float:
        """The least size on the slider that is not smaller than a size; else the largest."""
        # The small allowance keeps a size that is on the slider from being pushed to the next.
        enough = (value for value in self.values if value >= size_mb - 1e-9)
        return next(enough, self.values[-1])

    def text(self, size_mb: float) -> str:
        """A size as the slider and the address write it."""
        return f"{size_mb:.{self.decimals}f}"


def widths(menu: Sequence[Option]) -> tuple[float, ...]:
    """The different widths on a menu, ascending."""
    return tuple(sorted({option.bits for option in menu}))


def size_range(profile: Profile, target: str | None = None) -> SizeRange:
    """The sizes from every unit at its smallest to every unit left at 16 bit.

    Words are lost at the small end, so the steps are fine there, five times as coarse nearer the
    widest code, and ten times as coarse above it.
    """
    form = target_of(target)
    kept, sizes = fixed_bytes(form, profile), bytes_by_option(form, profile)
    codes = [{o: size for o, size in table.items() if o != UNQUANTIZED} for table in sizes]
    largest = kept + sum(
        max((coded or table).values()) for coded, table in zip(codes, sizes, strict=True)
    )
    low = (kept + sum(min(table.values()) for table in sizes)) / 1e6
    high = (kept + sum(max(table.values()) for table in sizes)) / 1e6
    usual = largest / 1e6
    power = max(math.floor(math.log10(max(high - low, 1e-9) / 500)), -4)
    at, last = math.ceil(low / 10.0**power - 1e-9), math.ceil(high / 10.0**power - 1e-9)
    fine, coarse = (low + 0.6 * (usual - low)) / 10.0**power, usual / 10.0**power
    steps = []
    while at < last:
        steps.append(at)
        stride = 1 if at < fine else 5 if at < coarse else 10
        at = (at // stride + 1) * stride
    steps.append(last)
    decimals = max(0, -power)
    values = tuple(round(step * 10.0**power, decimals) for step in steps)
    return SizeRange(values, decimals, largest)


def most_points(curve: Curve) -> float:
    """Where the accuracy slider ends: what was measured, band included, percentage points."""
    low, high, step = POINTS
    return min(high, max(100 * float(curve.interval(curve.largest)[1]), low + step))


def constraints(knobs: Knobs, menu: Sequence[Option]) -> Constraints:
    """What the knobs demand of every allocation.

    Raises:
        ConstraintError: a demand cannot be read.
    """
    low, *_, high = widths(menu)
    width_limits = Constraints(
        min_bits=knobs.min_bits if knobs.min_bits > low else None,
        max_bits=knobs.max_bits if knobs.max_bits < high else None,
    )
    return constrain(parse(knobs.pins), width_limits)


def to_params(knobs: Knobs) -> dict[str, list[str]]:
    """The knobs as query parameters, named and written as the page's widgets write them."""
    params = {"model": [knobs.model], "by": [knobs.mode], "mb": [f"{knobs.size_mb:.10g}"]}
    if knobs.target != NATIVE:
        params["target"] = [knobs.target]
    if knobs.mode == BY_ACCURACY:
        params |= {"points": [f"{knobs.points:g}"], "loss": [f"{knobs.loss:g}"]}
    params["widths"] = [str(knobs.min_bits), str(knobs.max_bits)]
    if knobs.pins.strip():
        params["pins"] = [knobs.pins]
    if knobs.pick:
        params["pick"] = [knobs.pick]
    if knobs.speech:
        params["speech"] = [knobs.speech]
    if knobs.second:
        params["beside"] = [knobs.second]
    if knobs.runtime:
        params["runtime"] = [knobs.runtime]
    return params


def link(base: str, knobs: Knobs) -> str:
    """An address that restores the knobs; `base` is the page's own, without a query."""
    return f"{base.split('?', 1)[0]}?{urlencode(to_params(knobs), doseq=True)}"


def from_params(params: Mapping[str, Sequence[str]], fallback: Knobs) -> Knobs:
    """Knobs from query parameters; what is missing or malformed comes from `fallback`."""

    def text(name: str, otherwise: str) -> str:
        values = params.get(name) or ()
        return values[-1] if values else otherwise

    def number(name: str, otherwise: float) -> float:
        try:
            value = float(text(name, str(otherwise)))
        except ValueError:
            return otherwise
        return value if math.isfinite(value) else otherwise

    low, high = fallback.min_bits, fallback.max_bits
    with contextlib.suppress(ValueError):
        low, high = (Option.parse(width).bits for width in params.get("widths") or ())
    mode = text("by", fallback.mode)
    return Knobs(
        model=text("model", fallback.model),
        mode=mode if mode in MODES else fallback.mode,
        size_mb=number("mb", fallback.size_mb),
        points=number("points", fallback.points),
        loss=number("loss", fallback.loss),
        min_bits=low,
        max_bits=high,
        pins=text("pins", fallback.pins),
        pick=text("pick", fallback.pick),
        speech=text("speech", fallback.speech),
        target=text("target", fallback.target),
        second=text("beside", fallback.second),
        runtime=text("runtime", fallback.runtime),
    )


def from_session(session: Mapping[Any, Any], fallback: Knobs) -> Knobs:
    """Knobs from the page's widgets, whose keys are the query parameters' names."""
    low, high = session.get("widths") or (fallback.min_bits, fallback.max_bits)
    return Knobs(
        model=session.get("model") or fallback.model,
        mode=session.get("by") or fallback.mode,
        size_mb=float(session.get("mb", fallback.size_mb)),
        points=float(session.get("points", fallback.points)),
        loss=float(session.get("loss", fallback.loss)),
        min_bits=low,
        max_bits=high,
        pins=session.get("pins") or "",
        pick=session.get("pick") or "",
        speech=session.get("speech") or "",
        target=session.get("target") or fallback.target,
        second=session.get("beside") or "",
        runtime=session.get("runtime") or "",
    )
