"""What the live screen knows of a problem: it goes to the browser once, and drags look it up. Pure.

It holds a few hundred maps, the marks of the front, and what each layer is. Whatever follows from
where the knobs stand is in `live_pick`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from genptq_core.allocation.drag import DragTable
from genptq_core.allocation.problem import Problem
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import MeasuredSet
from genptq_core.measurement.verdict import borrowed_verdict, levels, predicted_worst
from genptq_core.speech.names import noted
from genptq_core.units import Unit, readable

from ..page.knobs import LOSSES, POINTS, most_points
from ..page.scene import Scene
from ..page.verdict import MEANING, PERHAPS, WORDS
from ..wording import is_uniform, measured_name, points, widths
from .colours import colour

CHIP_MB = (10, 20, 40)
"""Sizes that people ask for, MB."""

CHIP_POINTS = 1.0
"""The increase of word errors that people allow, percentage points."""

CHIP_BITS = 3
CHIP_TOOL = "q5_0"

REFERENCE_BITS = 3
"""Width, or the nearest on offer, at which layers' sensitivities are compared."""

BITS_STEPS = 15
"""Continuous widths are sent in steps of one bit over this."""

Json = dict[str, Any]


def table_of(scene: Scene, table: DragTable) -> Json:
    """The table of a scene's problem, with an `id` that names its content."""
    content: Json = {
        "rate": scene.rate,
        "set": scene.speech_name,
        "units": _units(scene),
        "blocks": _blocks(scene.profile.units),
        "menu": [[option.label, option.bits] for option in scene.problem.menu],
        "cost": _packed(scene.problem.cost.astype("<i4")),
        "bytes": table.bytes.tolist(),
        "memory": _memory(scene, table),
        "loss": _listed(table.loss, 4),
        "choices": _packed(table.choices),
        "relaxed": {
            "bytes": table.relaxed_bytes.tolist(),
            "bits": _packed(np.rint(table.relaxed_bits * BITS_STEPS).astype(np.uint8)),
            "steps": BITS_STEPS,
        },
        "wer": _words_wrong(scene, table),
        "borrowed": _borrowed(scene, table),
        "verdict": _verdicts(scene, table),
        "marks": [_mark(scene, record) for record in scene.records_shown],
        "second": _second(scene, table),
        "tools": _tools(scene),
        "start": scene.start.bytes,
        "sizes": list(scene.sizes.values),
        "decimals": scene.sizes.decimals,
        "usual": scene.sizes.usual,
        "allowed": allowed(scene),
        "chips": _chips(scene),
        "words": {"verdicts": WORDS, "perhaps": PERHAPS, "meaning": MEANING},
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:16], **content}


def allowed(scene: Scene) -> Json:
    """The second slider: allowed increase of word errors, as far as it was measured or is borrowed.

    Where no words can be predicted, it is the allowed predicted loss.
    """
    curve = scene.guide
    if curve is None:
        return {"kind": "loss", "values": list(LOSSES), "unit": ""}
    low, high, step = POINTS
    end = most_points(curve)
    values = [round(low + step * i, 1) for i in range(round((high - low) / step) + 1)]
    kept = [value for value in values if 100 * curve.floor < value <= end + 1e-9]
    return {
        "kind": "points",
        "values": kept or values[-1:],  # below its floor, a curve promises nothing
        "unit": "points",
    }


def _packed(array: np.ndarray) -> str:
    """An array's bytes in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _listed(values: np.ndarray, digits: int = 4) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]


def reference_column(problem: Problem) -> int:
    """The option at which layers' sensitivities are compared: of those that most layers may take,
    the nearest to `REFERENCE_BITS`."""
    takes = problem.allowed.sum(axis=0) * (problem.loss.separable > 0).any(axis=0)
    away = np.abs(problem.widths - REFERENCE_BITS)
    return int(np.lexsort((-problem.widths, away, -takes))[0])


def _units(scene: Scene) -> Json:
    units = scene.profile.units
    column = reference_column(scene.problem)
    kinds = list(dict.fromkeys((u.part, u.kind) for u in units))
    first = {kind: next(u for u in units if (u.part, u.kind) == kind) for kind in kinds}
    return {
        "name": [readable(unit) for unit in units],
        "kind": [kinds.index((unit.part, unit.kind)) for unit in units],
        "kinds": [
            [
                part if part == kind else f"{part} {kind}",
                colour(first[part, kind]),
            ]
            for part, kind in kinds
        ],
        "shape": [f"{unit.rows} \u00d7 {unit.columns}" for unit in units],
        "sensitivity": _listed(scene.problem.loss.separable[:, column], 3),
        "reference": f"{scene.problem.menu[column].bits:g} bits",
    }


def _blocks(units: Sequence[Unit]) -> list[list[object]]:
    """Runs of layers of one block: first, one past the last, what the axis says, and the part."""
    runs: list[list[object]] = []
    for index, unit in enumerate(units):
        alone = unit.kind in ("convolution", "embedding", "output")
        label = {"convolution": "conv", "embedding": "words", "output": "out"}.get(unit.kind, "")
        name = label if alone else str(unit.block)
        if runs and runs[-1][2:] == [name, unit.part]:
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1, name, unit.part])
    return runs


def _memory(scene: Scene, table: DragTable) -> list[int] | None:
    """Bytes of each point's weights in what runs it; None where nothing that is known does."""
    if scene.way is None:
        return None
    menu = scene.problem.menu
    maps = [[menu[column] for column in choice] for choice in table.choices]
    memories = scene.way.memories(scene.profile, maps, table.bytes.tolist())
    return memories[:1] if len(set(memories)) == 1 else memories


def _words_wrong(scene: Scene, table: DragTable) -> Json | None:
    """Word errors of each point on the set shown, in points of per cent; None without a curve."""
    curve, speech = scene.curve, scene.speech
    if speech is None:
        return None
    full = 100 * speech.wer_full_precision
    if curve is None:
        return {"full": round(full, 3)}
    low, high = curve.interval(table.loss)
    return {
        "full": round(full, 3),
        "more": _listed(100 * curve.increase(table.loss)),
        "low": _listed(100 * low),
        "high": _listed(100 * high),
        "beyond": int((table.loss > curve.largest).sum()),
    }


def _borrowed(scene: Scene, table: DragTable) -> Json | None:
    """What other models say of each point, in points of word errors; None where nothing is lent."""
    curve = scene.measured.borrowed
    if curve is None:
        return None
    low, high = curve.interval(table.loss)
    low = np.maximum.accumulate(low[::-1])[::-1]  # a smaller map loses no less
    verdicts = [borrowed_verdict(curve, float(loss)).level for loss in table.loss]
    return {
        "from": list(curve.borrowed_from),
        "more": _listed(100 * curve.increase(table.loss), 3),
        "low": _listed(100 * low, 3),
        "high": _listed(100 * high, 3),
        "level": verdicts,
    }


def _verdicts(scene: Scene, table: DragTable) -> Json | None:
    worst = predicted_worst(scene.measured.sets, scene.measured.curves, table.loss)
    if not worst.sets:
        return None
    return {
        "level": levels(worst.increase, worst.extrapolated).tolist(),
        "worst": _listed(100 * worst.increase, 3),
        "guess": worst.extrapolated.astype(int).tolist(),
        "set": worst.which.tolist(),
        "sets": [scene.measured.name(s) for s in worst.sets],
        # What other formats' maps lose stands in where too few of this one's were measured.
        "others": [
            scene.measured.name(s)
            for s in worst.sets
            if not all(scene.holds(m.options) for m in s.records)
        ],
    }


def _mark(scene: Scene, record: Measured) -> Json:
    """A measured map on the front: where, and three lines on it."""
    low, high = (100 * (record.wer_full_precision + end) for end in record.ci95)
    held = scene.holds(record.options)
    kind = "other" if not held else "uniform" if is_uniform(record.options) else "mixed"
    change = f"{points(record.wer_increase)}; {points(record.ci95[0])} to {points(record.ci95[1])}"
    speech = noted(record.speech, record.speech_digest, record.normalizer, record.asked)
    return {
        "map": record.map_digest,
        "mb": record.bytes / 1e6,
        "wer": round(100 * record.wer, 3),
        "loss": float(f"{record.predicted_loss:.3g}"),
        "low": round(max(low, 0.0), 3),
        "high": round(high, 3),
        "kind": kind,
        "name": widths(record.options),
        "lines": [
            f"measured: {measured_name(record)}",
            f"{record.bytes / 1e6:.1f} MB, {100 * record.wer:.1f} % wrong ({change})",
            f"{record.utterances} recordings of {speech}"
            + ("" if held else "; this runtime cannot hold it"),
        ],
    }


def _second(scene: Scene, table: DragTable) -> Json | None:
    """The other speech set in the same chart."""
    second: MeasuredSet | None = scene.second
    if second is None:
        return None
    curve = scene.measured.curve(second)
    more = _listed(100 * curve.increase(table.loss)) if curve is not None else None
    return {
        "name": scene.second_name,
        "full": round(100 * second.wer_full_precision, 3),
        "more": more,
        "marks": [_mark(scene, record) for record in second.records],
    }


def _tools(scene: Scene) -> list[Json]:
    """What runtimes of one width for all layers would get, where words can be predicted."""
    curve, speech = scene.curve, scene.speech
    if curve is None or speech is None:
        return []
    return [
        {
            "mb": tool.bytes / 1e6,
            "wer": round(100 * (speech.wer_full_precision + float(curve.increase(tool.loss))), 3),
            "name": tool.option,
            "lines": [
                f"{tool.target}, every layer at {tool.option}",
                f"{tool.bytes / 1e6:.1f} MB, predicted, not measured",
                *tool.notes[:1],
            ],
        }
        for tool in scene.one_width
    ]


def _chips(scene: Scene) -> list[Json]:
    """Sizes and accuracies that people ask for, of those in range."""
    low, high = scene.problem.smallest / 1e6, scene.sizes.values[-1]
    chips: list[Json] = [
        {"label": f"{size} MB", "by": "size", "value": size}
        for size in CHIP_MB
        if low <= size <= high
    ]
    if scene.guide is not None:
        label = f"\u2264 +{CHIP_POINTS:g} point"
        chips.append({"label": label, "by": "accuracy", "value": CHIP_POINTS})
    column = int(np.abs(scene.problem.widths - CHIP_BITS).argmin())
    if scene.problem.widths[column] == CHIP_BITS and scene.problem.allowed[:, column].all():
        size = (scene.problem.fixed + int(scene.problem.cost[:, column].sum())) / 1e6
        chips.append({"label": f"{CHIP_BITS} bits", "by": "size", "value": _up(size)})
    for tool in scene.one_width:
        if tool.option == CHIP_TOOL and low <= tool.bytes / 1e6:
            chips.append(
                {"label": f"as small as {CHIP_TOOL}", "by": "size", "value": _up(tool.bytes / 1e6)}
            )
            break
    return chips


def _up(size_mb: float) -> float:
    """A size that a map of this many MB is within, in two decimals."""
    return float(np.ceil(100 * size_mb - 1e-9) / 100)
