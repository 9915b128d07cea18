"""What is known of a pick, gathered for a report. Pure."""

from __future__ import annotations

from genptq_core.errors import PROGRAM
from genptq_core.measurement.records import Measured

from ..charts.of_scene import front_of, layers_of
from ..page.costs import Cost, costs
from ..page.knobs import SHORT
from ..page.scene import Pick, Scene
from ..wording import bound, layout, measured_name, megabytes, percent, points, stored_bits, widths
from .html import Chart, Report, Table

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
    "Sizes count everything that is stored: codes, scales, tables, and what stays at 16 bit; "
    "tied tensors once. MB is 10^6 bytes."
)


def report_of(scene: Scene, pick: Pick, command: str | None) -> Report:
    """The report of a pick.

    Args:
        scene: what the page shows.
        pick: the pick.
        command: the command line that gives it, or None where no single one does.
    """
    profile, found = scene.profile, pick.allocation
    short = pick.map.digest[:SHORT]
    where = "solved for these knobs" if not pick.by_hand else "a measured map picked by hand"
    demands = ", ".join(scene.knobs.pins.split("\n")).strip()
    summary = (
        f"Bit map {short} of {profile.source.model}, {where}: {len(found.options)} layers at "
        f"{widths(found.options)}, stored {layout(found.options)}."
        + (f" Demanded: {demands}." if demands else "")
    )
    commands = []
    if command is not None:
        commands.append(("Solves for this map, and writes it:", command))
    commands.append(
        (
            "Checks the profile that it rests on (digest " + profile.digest[:SHORT] + "):",
            f"{PROGRAM} doctor",
        )
    )
    return Report(
        title=f"{scene.name}: {megabytes(found.bytes)}",
        summary=summary,
        figures=_figures(scene, pick),
        charts=_charts(scene),
        tables=_tables(scene, pick),
        commands=commands,
        notes=(_MEASURED, _PREDICTED, _SIZES),
    )


def _figures(scene: Scene, pick: Pick) -> list[tuple[str, str]]:
    found = pick.allocation
    figures = [
        ("Size", f"{found.bytes / 1e6:.2f} MB"),
        ("Under float32", percent(found.reduction_vs_fp32)),
    ]
    record = scene.measurement(pick.map.digest)
    if record is not None:
        low, high = record.ci95
        figures += [
            ("WER, measured", percent(record.wer, 2)),
            ("Increase, measured", f"{points(record.wer_increase, 2)} points"),
            ("95 % interval", f"{points(low, 2)} to {points(high, 2)}"),
        ]
    elif scene.curve is not None and scene.speech is not None:
        middle = scene.speech.full_precision + float(scene.curve.increase(found.predicted_loss))
        low, high = (float(end) for end in scene.curve.interval(found.predicted_loss))
        figures += [
            ("WER, predicted", percent(middle, 2)),
            ("Increase, predicted", f"{points(low, 2)} to {points(high, 2)} points"),
        ]
    figures += [
        ("Loss, predicted", f"{found.predicted_loss:.4g} nats a token"),
        ("Average bits", f"{found.avg_bits:.3f}"),
        ("Stored bits", f"{stored_bits(found.bytes, scene.profile):.3f}"),
    ]
    if pick.bounded:
        figures.append(("Off optimum, proven", bound(found, scene.curve)[0]))
    return figures


def _charts(scene: Scene) -> list[Chart]:
    speech = f"Measured on {scene.speech.name}. " if scene.speech is not None else ""
    if scene.beside is not None:
        speech += f"Orange: {scene.beside.name}. "
    return [
        Chart(
            "Front: what each megabyte buys",
            front_of(scene).figure,
            speech + "Bars are 95 % intervals; the star is this map.",
        ),
        Chart(
            "Bits per layer",
            layers_of(scene),
            "In the network's order. Grey dashes: the continuous solution, which is rounded.",
        ),
    ]


def _tables(scene: Scene, pick: Pick) -> list[Table]:
    spent = scene.spent(pick.map.options).tolist()
    layers = [
        (unit.name, unit.part, unit.kind, option.label, f"{size:,.0f}")
        for unit, option, size in zip(scene.profile.units, pick.map.options, spent, strict=True)
    ]
    return [
        Table(
            "This map on every speech set",
            ("speech", "WER, %", "full precision, %", "increase, points", "interval", "how"),
            [_cost(cost) for cost in costs(scene)] or [("nothing was measured",)],
        ),
        Table(
            "What was measured",
            ("map", "speech", "MB", "WER, %", "increase, points", "95 % interval", "digest"),
            [_measured(record) for record in scene.records] or [("nothing yet",)],
        ),
        Table("Layers of this map", ("layer", "part", "kind", "stored as", "bytes"), layers),
    ]


def _cost(cost: Cost) -> tuple[str, ...]:
    name, full = cost.speech.name, f"{100 * cost.speech.full_precision:.2f}"
    if cost.wer is None or cost.increase is None or cost.interval is None:
        return (name, "", full, "", "", cost.how)
    low, high = cost.interval
    between = f"{points(low, 2)} to {points(high, 2)}"
    return (name, f"{100 * cost.wer:.2f}", full, points(cost.increase, 2), between, cost.how)


def _measured(record: Measured) -> tuple[str, ...]:
    low, high = record.ci95
    return (
        measured_name(record),
        f"{record.speech} ({record.utterances})",
        f"{record.bytes / 1e6:.2f}",
        f"{100 * record.wer:.2f}",
        points(record.wer_increase, 2),
        f"{points(low, 2)} to {points(high, 2)}",
        record.map_digest[:SHORT],
    )
