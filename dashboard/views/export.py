"""Export: the pick as files, as a command line and as a link."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import streamlit as st

from genptq_core.bitmaps.file import bit_map_csv, bit_map_json
from genptq_core.errors import PROGRAM
from genptq_core.storage.locations import exports_folder
from genptq_core.targets import (
    TARGETS,
    counts_all,
    predicted_bytes,
    usable_targets,
    why_not_held,
)
from genptq_core.targets.run_commands import commands

from ..jobs.queue import DONE, LIVE
from ..jobs.requests import ExportMap
from ..page import loaders
from ..page.command_line import BIT_MAP, export_command, measure_command, solve_command
from ..page.knobs import SHORT, link
from ..page.scene import Pick, Scene
from ..report.content import report_of
from ..report.html import to_html
from ..wording import markdown, megabytes
from . import job_list, runtime_configs
from .knobs import switch_target
from .live import sent_table

_ZIP_LIMIT = 400_000_000
"""Bytes above which an export is not zipped for the browser: it stays in its folder."""

_RUNS = {
    "gguf": "Loaded by transcribe.cpp, on processors and on graphics cards.",
    "native": "Loaded by this program into a transformers model. Any processor that torch runs on.",
    "integer": "The same program and processors, from integers in groups as other runtimes hold "
    "them.",
    "compressed-tensors": "Loaded by transformers with the compressed-tensors package; any "
    "processor that torch runs on.",
    "onnx": "Loaded by ONNX Runtime, on a CPU.",
    "mlx": "Loaded by mlx-audio: fast on Apple's processors, slow on others.",
}


def draw(scene: Scene) -> None:
    """What every target would get, downloads, and what gives the pick again on another machine."""
    pick = scene.pick
    if pick is None:
        st.info("There is nothing to export: no map satisfies the knobs.")
        return
    command = solve_command(scene)
    _targets(scene, pick, command)
    stem = f"{scene.name}-{pick.map.digest[:SHORT]}"
    st.markdown("**Files of this pick**")
    with st.container(horizontal=True):
        st.download_button(
            "Bit map, JSON",
            bit_map_json(scene.profile, pick.map, **_figures(scene)),
            f"{stem}.json",
            "application/json",
            key="download_json",
            on_click="ignore",
            type="primary",
            icon=":material/download:",
        )
        st.download_button(
            "Bit map, CSV",
            bit_map_csv(scene.profile, pick.map, scene.target),
            f"{stem}.csv",
            "text/csv",
            key="download_csv",
            on_click="ignore",
            icon=":material/download:",
        )
        table = sent_table(scene, loaders.drag_of(scene))
        st.download_button(
            "Report, one HTML file",
            lambda: to_html(report_of(scene, pick, command, table)),
            f"{stem}.html",
            "text/html",
            key="download_report",
            on_click="ignore",
            icon=":material/description:",
            help="The first screen, drag included, and tables; opens without a network.",
        )
    st.markdown("**The same map from a command line**")
    if command is None:
        st.caption(
            f"This map does not come out of one solve for a size; download it as {BIT_MAP}, and "
            "measure or export that:"
        )
        measures = measure_command(scene.folder)
        exports = export_command(scene.folder, scene.target)
        command = f"{measures}\n{exports}"
    st.code(command, language="bash", wrap_lines=True)
    st.markdown("**A link that restores these knobs**")
    st.code(link(st.context.url or "", scene.knobs), language=None, wrap_lines=True)
    st.caption(
        f"It gives bit map `{pick.map.digest[:SHORT]}` wherever the profile has digest "
        f"`{scene.profile.digest[:SHORT]}`. The page's address says the same."
    )


def _targets(scene: Scene, pick: Pick, command: str | None) -> None:
    """What the pick can be written as, the chosen format first, and what cannot hold it."""
    st.markdown("**As a model that a runtime loads**")
    live, written = _exports(pick)
    options = pick.map.options
    wrong = {name: why_not_held(t, scene.profile, options) for name, t in TARGETS.items()}
    for name in sorted(TARGETS, key=lambda name: name != scene.target):
        if wrong[name] is not None:
            continue
        with st.container(
            horizontal=True, vertical_alignment="center", border=True, key=f"target-{name}"
        ):
            st.markdown(
                f"**{markdown(TARGETS[name].title)}**: {_size(scene, pick, name)}\n\n"
                f":gray[{_runs(name)}]",
                width="stretch",
            )
            if name in live:
                st.caption("being written\u2026")
            elif name in written:
                _ready(written[name])
            elif st.button("Export", key=f"export-{name}"):
                _queue(scene, pick, name)
        if name == scene.target:
            _to_run(scene, pick, written.get(name), command)
    if any(wrong.values()):
        _unable(scene, {name: reason for name, reason in wrong.items() if reason})
    job_list.history(ExportMap, scene.folder)
    runtime_configs.draw(scene, pick)


def _size(scene: Scene, pick: Pick, name: str) -> str:
    """The size of the pick in a target, as Markdown."""
    target = TARGETS[name]
    size = predicted_bytes(target, scene.profile, pick.map.options)
    counted = "to download" if counts_all(target, scene.profile) else "of weights"
    return f"{size / 1e6:.2f} MB {counted}"


def _to_run(scene: Scene, pick: Pick, folder: Path | None, command: str | None) -> None:
    """Commands that run the pick in the chosen runtime, as one pastes them.

    Args:
        scene: what the page shows.
        pick: the pick.
        folder: where it was exported; None where it is not yet.
        command: the command that solves for it, or None where no single one does.
    """
    way = scene.way
    if way is None:
        return
    lines: list[str] = []
    out = str(folder) if folder else f"{scene.name}-{pick.map.digest[:SHORT]}"
    if folder is None:
        lines += [command] if command else []
        lines.append(export_command(scene.folder, scene.target, out))
    needs = f", with pip install {' '.join(way.runtime.needs)}" if way.runtime.needs else ""
    st.caption(f"To run it in {markdown(way.title)}{markdown(needs)}:")
    text = "\n".join((*lines, *commands(way, out)))
    st.code(text, language="bash", wrap_lines=True)


def _unable(scene: Scene, wrong: dict[str, str]) -> None:
    """The formats that cannot hold the pick, folded into one line."""
    offered = usable_targets(scene.profile.menu, scene.profile.source.family)
    count = "Another format" if len(wrong) == 1 else f"{len(wrong)} other formats"
    with st.expander(f"{count} cannot hold this map"):
        for name, reason in wrong.items():
            with st.container(
                horizontal=True, vertical_alignment="center", border=True, key=f"target-{name}"
            ):
                st.markdown(
                    f"**{markdown(TARGETS[name].title)}**\n\n:gray[{_runs(name)} This map cannot "
                    f"be written for it: {markdown(reason)}]",
                    width="stretch",
                )
                if name in offered:
                    st.button(
                        "Solve for it",
                        key=f"solve-{name}",
                        on_click=switch_target,
                        args=(scene.profile, name),
                        help="Choose it as the format: the map is solved again from what it holds.",
                    )
                st.button("Export", key=f"export-{name}", disabled=True)


def _runs(name: str) -> str:
    """What loads a target's files, as Markdown."""
    return markdown(_RUNS.get(name, f"See {PROGRAM} export --target {name}."))


def _exports(pick: Pick) -> tuple[set[str], dict[str, Path]]:
    """Targets that the pick is being written for, and folders where it is, by target."""
    live: set[str] = set()
    written: dict[str, Path] = {}
    for job in job_list.latest(ExportMap):
        request = job.request
        if not isinstance(request, ExportMap) or request.map_digest != pick.map.digest:
            continue
        if job.state in LIVE:
            live.add(request.target)
        elif job.state == DONE and Path(request.out).is_dir():
            written.setdefault(request.target, Path(request.out))
    return live, written


def _queue(scene: Scene, pick: Pick, target: str) -> None:
    folder = exports_folder() / f"{scene.name}-{pick.map.digest[:SHORT]}-{target}"
    job_list.queue_request(
        ExportMap(
            profile=str(scene.folder),
            profile_digest=scene.profile.digest,
            map_digest=pick.map.digest,
            options=pick.map.options,
            target=target,
            out=str(folder),
        )
    )


def _ready(folder: Path) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > _ZIP_LIMIT:
        st.caption(f"It is in `{folder}`.")
        return
    st.download_button(
        f"Download, {megabytes(size)} zipped",
        lambda: _zipped(folder),
        f"{folder.name}.zip",
        "application/zip",
        key=f"zip-{folder.name}",
        on_click="ignore",
        icon=":material/download:",
        help=f"Written to {markdown(str(folder))}.",
    )


def _zipped(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    return content.getvalue()


def _figures(scene: Scene) -> dict[str, Any]:
    """What is known of the pick, as its bit map file says it."""
    if scene.pick is None:
        return {}
    solution = scene.pick.allocation
    figures: dict[str, Any] = {
        "bytes": solution.bytes,
        "avg_bits": solution.avg_bits,
        "reduction_vs_fp32": solution.reduction_vs_fp32,
        "predicted_loss": solution.predicted_loss,
    }
    if scene.pick.bounded:
        figures |= {"lower_bound": solution.lower_bound, "gap": solution.gap}
    if scene.pick_cost is not None and scene.pick_cost.record is not None:
        record = scene.pick_cost.record
        figures["measured"] = {
            "speech": record.speech,
            "speech_digest": record.speech_digest,
            "utterances": record.utterances,
            "wer": record.wer,
            "wer_full_precision": record.wer_full_precision,
            "wer_increase": record.wer_increase,
            "ci95": list(record.ci95),
        }
    return figures
