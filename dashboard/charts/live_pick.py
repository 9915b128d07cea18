"""What the live screen shows where the knobs stand: small, sent at every move. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genptq_core.measurement.verdict import borrowed_verdict, verdict_of

from ..page.costs import Cost
from ..page.knobs import BY_SIZE, SHORT
from ..page.offers import Offer, finite
from ..page.scene import Pick, Scene

Json = dict[str, Any]


def pick_of(
    scene: Scene,
    table: str,
    *,
    layer: int | None = None,
    offers: Sequence[Offer] = (),
    notes: Sequence[str] = (),
) -> Json:
    """The knobs, the pick and its layers.

    Args:
        scene: what the page shows.
        table: `id` of the table that goes with it.
        layer: the layer that was chosen.
        offers: what can be demanded of it.
        notes: what the page says under the figures, such as what demands cost.
    """
    knobs = scene.knobs
    error = scene.infeasible
    return {
        "table": table,
        "by": knobs.mode,
        "mb": knobs.size_mb,
        "allowed": knobs.loss if scene.guide is None else knobs.points,
        "bySize": knobs.mode == BY_SIZE,
        "pick": None if scene.pick is None else _pick(scene, scene.pick),
        "error": None
        if error is None
        else {"text": str(error), "mb": float(np.ceil(error.smallest / 1e4) / 100)},
        "locked": sorted(scene.bound_units),
        "layer": layer,
        "offers": [[offer.label, offer.price] for offer in offers],
        "notes": list(notes),
    }


def _pick(scene: Scene, pick: Pick) -> Json:
    figures = pick.allocation
    measured = scene.measured
    verdict = verdict_of(measured.sets, measured.curves, pick.map.digest, figures.predicted_loss)
    labels = list(dict.fromkeys(option.label for option in pick.map.options))
    of_bytes = scene.bytes_per_unit(pick.map.options)
    return {
        "digest": pick.map.digest[:SHORT],
        "map": pick.map.digest,
        "bytes": figures.bytes,
        "memory": _memory(scene, pick),
        "byHand": pick.by_hand,
        "bits": finite(figures.bits),
        "relaxed": finite(figures.relaxed_bits),
        "labels": labels,
        "label": [labels.index(option.label) for option in pick.map.options],
        "unitBytes": of_bytes.astype(int).tolist(),
        "cost": _cost(scene.pick_cost),
        "loss": float(f"{figures.predicted_loss:.4g}"),
        "borrowed": _borrowed(scene, figures.predicted_loss) if verdict.level is None else None,
        "verdict": {
            "level": verdict.level,
            "worst": round(100 * verdict.worst, 2),
            "guess": verdict.extrapolated,
            "runaways": verdict.runaways,
            "set": "" if verdict.speech is None else scene.measured.name(verdict.speech),
        },
    }


def _borrowed(scene: Scene, loss: float) -> Json | None:
    """What other models say of a loss, in points of word errors."""
    curve = scene.measured.borrowed
    if curve is None:
        return None
    low, high = curve.interval(loss)
    return {
        "more": float(f"{100 * curve.increase(loss):.3g}"),
        "low": float(f"{100 * low:.3g}"),
        "high": float(f"{100 * high:.3g}"),
        "level": borrowed_verdict(curve, loss).level,
    }


def _memory(scene: Scene, pick: Pick) -> int | None:
    """Bytes of the weights in what runs the map; None where nothing that is known does."""
    if scene.way is None or not scene.holds(pick.map.options):
        return None
    return scene.way.memory(scene.profile, pick.map.options)


def _cost(cost: Cost | None) -> Json | None:
    if cost is None or cost.wer is None or cost.increase is None or cost.wer_interval is None:
        return None
    low, high = cost.wer_interval
    return {
        "wer": round(100 * cost.wer, 3),
        "more": round(100 * cost.increase, 3),
        "low": round(100 * low, 3),
        "high": round(100 * high, 3),
        "measured": cost.record is not None,
        "guess": cost.extrapolated,
    }
