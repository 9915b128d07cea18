"""What a report says of a pick. Pure."""

from __future__ import annotations

from typing import Any

from genptq_core.measurement.records import Measured
from genptq_core.speech.names import noted

from ..charts.live_pick import pick_of
from ..page.command_line import command as program_command
from ..page.costs import PREDICTED, Cost
from ..page.knobs import SHORT
from ..page.scene import Pick, Scene
from ..wording import bound, layout, measured_name, megabytes, percent, points, stored_bits, widths
from .html import Report, Table

_MEASURED = (
    "Measured: recordings were decoded with the quantized weights, and word errors counted by "
    "jiwer after normalizing both texts. Intervals hold 95 % of 10,000 paired resamples of the "
    "utterances. Points with bars are measured."
)
_PREDICTED = (
    "Predicted: from the profile's sensitivities, by a curve fitted on the measured maps; its band "
    "held 90 % of maps left out of the fit. Lines and hollow marks are predicted."
)
_SIZES = (
    "Sizes are of the folder to download: weights with scales and tables, what stays at 16 bit, "
    "tied tensors once, headers, settings and tokenizer. Memory is of the weights as the runtime "
    "holds them. MB is 10^6 bytes."
)
_LIVE = (
    "The sliders look up maps that were solved beforehand: at most as large as asked for, and "
    "within a few per cent of the exact answer's predicted loss. The tables are of the map that "
    "the report was made for; the first button under the sliders goes back to it."
)


def report_of(scene: Scene, pick: Pick, command: str | None, table: dict[str, Any]) -> Report:
    """The report of a pick.

    Args:
        scene: what the page shows.
        pick: the pick.
        command: the command line that gives it, or None where no single one does.
        table: what the live screen is sent of the problem; see `charts.live_table`.
    """
    profile, figures = scene.profile, pick.allocation
    short = pick.map.digest[:SHORT]
    origin = "solved for these knobs" if not pick.by_hand else "a measured map picked by hand"
    demands = ", ".join(scene.knobs.pins.split("\n")).strip()
    summary = (
        f"Bit map {short} of {profile.source.model}, {origin}: {len(figures.options)} layers at "
        f"{widths(figures.options)}, stored {layout(figures.options)}."
        + (f" Demanded: {demands}." if demands else "")
    )
    commands = []
    if command is not None:
        commands.append(("Solves for this map, and writes it:", command))
    commands.append(
        (
            f"Checks the profile that it was solved with (digest {profile.digest[:SHORT]}):",
            program_command("doctor"),
        )
    )
    return Report(
        title=f"{scene.name}: {megabytes(figures.bytes)}",
        summary=summary,
        figures=_figures(scene, pick),
        table=table,
        pick=pick_of(scene, table["id"]),
        tables=_tables(scene, pick),
        commands=commands,
        notes=(_LIVE, _MEASURED, _PREDICTED, _SIZES),
    )


def _figures(scene: Scene, pick: Pick) -> list[tuple[str, str]]:
    """The pick's figures, by name."""
    solution = pick.allocation
    figures = [
        ("Size", f"{solution.bytes / 1e6:.2f} MB"),
        *_sizes(scene, pick),
        ("Under float32", percent(solution.reduction_vs_fp32)),
        *_word_errors(scene.pick_cost),
        ("Loss, predicted", f"{solution.predicted_loss:.4g} nats per token"),
        ("Average bits", f"{solution.avg_bits:.3f}"),
        (
            "Stored bits",
            f"{stored_bits(solution.bytes - (scene.problem.overhead or 0), scene.profile):.3f}",
        ),
    ]
    if pick.bounded:
        figures.append(("Off optimum, proven", bound(solution, scene.curve)[0]))
    return figures


def _sizes(scene: Scene, pick: Pick) -> list[tuple[str, str]]:
    """What of the size is weights, and their memory; nothing where nothing runs the map."""
    if scene.way is None or not scene.holds(pick.map.options):
        return []
    sizes = scene.way.sizes(scene.profile, pick.map.options)
    counted = [] if sizes.download else [("Counted", "weights alone, not the rest of the folder")]
    return [
        *counted,
        ("Weights", f"{sizes.weights / 1e6:.2f} MB"),
        (f"Memory in {scene.way.title}", f"{sizes.memory / 1e6:.2f} MB"),
    ]


def _word_errors(cost: Cost | None) -> list[tuple[str, str]]:
    """The figures of a cost; none where it is not known."""
    if cost is None or cost.wer is None or cost.increase is None or cost.interval is None:
        return []
    low, high = cost.interval
    between = f"{points(low, 2)} to {points(high, 2)}"
    wer = (f"{cost.speech.rate}, {cost.how}", percent(cost.wer, 2))
    if cost.how == PREDICTED:
        return [wer, ("Increase, predicted", f"{between} points")]
    increase = f"{points(cost.increase, 2)} points"
    return [wer, ("Increase, measured", increase), ("95 % interval", between)]


def _tables(scene: Scene, pick: Pick) -> list[Table]:
    sizes = scene.bytes_per_unit(pick.map.options).tolist()
    layers = [
        (unit.name, unit.part, unit.kind, option.label, f"{size:,.0f}")
        for unit, option, size in zip(scene.profile.units, pick.map.options, sizes, strict=True)
    ]
    return [
        Table(
            "This map on every speech set",
            ("speech", "WER, %", "full precision, %", "increase, points", "interval", "how"),
            [_cost(scene, cost) for cost in scene.pick_costs] or [("nothing was measured",)],
        ),
        Table(
            "What was measured",
            ("map", "speech", "MB", "WER, %", "increase, points", "95 % interval", "digest"),
            [_measured(record) for record in scene.records] or [("nothing yet",)],
        ),
        Table("Layers of this map", ("layer", "part", "kind", "stored as", "bytes"), layers),
    ]


def _cost(scene: Scene, cost: Cost) -> tuple[str, ...]:
    name = noted(scene.measured.name(cost.speech), "", cost.speech.normalizer)
    full = f"{100 * cost.speech.wer_full_precision:.2f}"
    if cost.wer is None or cost.increase is None or cost.interval is None:
        return (name, "", full, "", "", cost.how)
    low, high = cost.interval
    between = f"{points(low, 2)} to {points(high, 2)}"
    return (name, f"{100 * cost.wer:.2f}", full, points(cost.increase, 2), between, cost.how)


def _measured(record: Measured) -> tuple[str, ...]:
    low, high = record.ci95
    speech = noted(record.speech, record.speech_digest, record.normalizer, record.asked)
    return (
        measured_name(record),
        f"{speech} ({record.utterances})",
        f"{record.bytes / 1e6:.2f}",
        f"{100 * record.wer:.2f}",
        points(record.wer_increase, 2),
        f"{points(low, 2)} to {points(high, 2)}",
        record.map_digest[:SHORT],
    )
