"""What `benchmarks.growth` measured, as a table with exponents, and as a plot."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration

from benchmarks.dashboard import browser
from benchmarks.shapes import SHAPES, SHORT_CONTEXT, configuration
from genptq_core.models import whisper
from genptq_core.options import coded_options, grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.footprint import footprint, positions
from genptq_core.units import Unit

_BY_UTTERANCE = {
    "gradients": "gradients",
    "listening": "listening",
    "rows": "what rows matter",
    "anchors": "anchors",
}


def estimates(shapes: Sequence[str], bits: Sequence[int], rates: Sequence[float]) -> str:
    """What a profile of each shape would take with no gradient held, as Markdown."""
    lines = ["| shape | parameters | weights | activations | peak | usual | disk | usual |"]
    lines.append("| --- |" + " ---: |" * 7)
    for name in shapes:
        parameters, units, inputs = _shape(name)
        few = footprint(parameters, units, inputs, _settings(bits, rates, 1), 0)
        usual = footprint(parameters, units, inputs, Settings(), 0)
        sizes = [few.model, few.activations, few.memory, usual.memory, few.disk, usual.disk]
        cells = " | ".join(f"{size / 1e9:.1f} GB" for size in sizes)
        lines.append(f"| {name} | {parameters / 1e6:.0f} M | {cells} |")
    return "\n".join(lines)


def peak(name: str, measured: dict[str, Any], bits: Sequence[int], rates: Sequence[float]) -> float:
    """The program's estimate of a measured profile's peak, bytes."""
    parameters, units, inputs = _shape(name)
    settings = _settings(bits, rates, 1)
    return footprint(parameters, units, inputs, settings, measured["together"]).memory


def rows(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What was measured: label, then shape; seconds, or GB where the label says so."""
    by_label: dict[str, dict[str, float]] = {}
    for name in _names(results):
        for label, value in _figures(name, results[name]).items():
            by_label.setdefault(label, {})[name] = value
    return by_label


def _figures(name: str, measured: dict[str, Any]) -> dict[str, float]:
    out: dict[str, float] = {}
    if "bare" in measured:
        out["forward and backward pass, s per utterance"] = measured["bare"]["passes"]
        out["transcribing, s per utterance"] = measured["bare"]["transcribing"]
        out["peak of the passes, GB"] = measured["bare"]["memory"] / 1e9
    if "profile" in measured:
        whole, count = measured["profile"], measured["profile"]["utterances"]
        stages = whole["stages"]
        for stage, words in _BY_UTTERANCE.items():
            out[f"profile: {words}, s per utterance"] = stages.get(stage, 0) / count
        out["profile: sketching, s"] = stages.get("sketching", 0)
        out["profile: rounding, s per option"] = stages.get("rounding", 0) / whole["options"]
        out["profile: peak, GB"] = whole["memory"] / 1e9
        out["profile: estimated peak, GB"] = peak(name, whole, (8,), (3.0,)) / 1e9
    if "solve" in measured:
        out["solve, s"] = measured["solve"]["seconds"]
        out["front, s"] = measured["solve"]["front"]
    if "export" in measured:
        out["export, s"] = measured["export"]["seconds"]
        out["export: peak, GB"] = measured["export"]["memory"] / 1e9
    if "compile" in measured:
        whole = measured["compile"]
        out["compile: rounding in order, s"] = whole["stages"].get("compiling", 0)
        out["compile: tuning, s per step"] = whole["stages"].get("tuning", 0) / whole["steps"]
        out["compile: peak, GB"] = whole["memory"] / 1e9
    if "redraw" in measured:
        out["page: release to redraw, s, median"] = measured["redraw"]["median"] / 1e3
        out["page: release to redraw, s, 95th percentile"] = measured["redraw"]["p95"] / 1e3
    return out


def table(
    results: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]] | None = None
) -> str:
    """The results as Markdown, with exponents over the parameters fitted on a log-log scale.

    Those of an earlier version are in brackets, where anything was measured anew.
    """
    names = _names(results)
    earlier = rows(before or {})
    sizes = {name: results[name]["make"]["parameters"] for name in names}
    heads = [f"{name} ({sizes[name] / 1e6:.0f} M)" for name in names]
    lines = ["| | " + " | ".join(heads) + " | exponent |", "| --- |" + " ---: |" * (len(names) + 1)]
    for label, values in rows(results).items():
        then = earlier.get(label, {})
        cells = [
            (f"{values[n]:.3g}" if n in values else "")
            + (f" ({then[n]:.3g})" if n in values and then.get(n, values[n]) != values[n] else "")
            for n in names
        ]
        slope = _exponent([sizes[n] for n in values], list(values.values()))
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {slope} |")
    return "\n".join(lines)


def _exponent(sizes: Sequence[float], values: Sequence[float]) -> str:
    """The slope of the least-squares line of the logarithms; of three shapes or more."""
    if len(sizes) < 3:
        return ""
    return f"{np.polyfit(np.log(sizes), np.log(values), 1)[0]:.2f}"


def plot(
    results: dict[str, dict[str, Any]], path: Path, before: dict[str, dict[str, Any]] | None = None
) -> None:
    """Draw times and peaks over the parameters, both logarithmic, as a PNG; needs Chromium.

    Those of an earlier version are dotted.
    """
    from plotly.colors import qualitative
    from plotly.subplots import make_subplots

    sizes = {n: results[n]["make"]["parameters"] / 1e6 for n in _names(results)}
    figure = make_subplots(1, 2, subplot_titles=("seconds", "peak of memory, GB"))
    earlier = rows(before or {})
    for number, (label, values) in enumerate(rows(results).items()):
        color = qualitative.Dark24[number % len(qualitative.Dark24)]
        column = 2 if label.endswith("GB") else 1
        if earlier.get(label, values) != values:
            figure.add_scatter(
                x=[sizes[n] for n in earlier[label] if n in sizes],
                y=[value for n, value in earlier[label].items() if n in sizes],
                line={"color": color, "dash": "dot"},
                mode="lines",
                showlegend=False,
                row=1,
                col=column,
            )
        figure.add_scatter(
            x=[sizes[n] for n in values],
            y=list(values.values()),
            text=list(values),
            name=label,
            line={"color": color},
            mode="lines+markers",
            row=1,
            col=column,
        )
    figure.update_xaxes(type="log", title="million parameters", dtick=1)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_layout(template="plotly_white", width=1380, height=620)
    with tempfile.TemporaryDirectory() as folder, browser(1400, 760) as driver:
        page = Path(folder) / "plot.html"
        figure.write_html(page, config={"displayModeBar": False})
        driver.get(page.as_uri())
        time.sleep(2)
        driver.save_screenshot(str(path))


def _names(results: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name in SHAPES if "make" in results.get(name, {})]


def _settings(bits: Sequence[int], rates: Sequence[float], draws: int) -> Settings:
    return Settings(grid_options(bits, (64,)) + coded_options(rates), draws=draws)


def _shape(name: str) -> tuple[int, tuple[Unit, ...], dict[str, int]]:
    """Parameters, units and their input positions of a shape; no weight is made."""
    with torch.device("meta"):
        module = WhisperForConditionalGeneration(configuration(name, SHORT_CONTEXT))
    all_units = whisper.units(module)
    where = positions(argparse.Namespace(module=module, units=all_units), 30.0)
    return sum(p.numel() for p in module.parameters()), all_units, where
