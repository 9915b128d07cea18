"""Profiles: computing one for a new model and new speech, from the page or a command line."""

from __future__ import annotations

import os
import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from genptq_core.cli.arguments import rates, sizes, widths
from genptq_core.errors import GenPTQError
from genptq_core.options import RATES
from genptq_core.speech.sources import HUB

from ..jobs.requests import ComputeProfile
from ..page import loaders
from ..page.command_line import profile_command
from ..page.paths import shown, typed
from ..page.scene import Scene
from ..wording import seconds
from . import asking, failure, job_list
from .measure import speech_source

if TYPE_CHECKING:  # where a table is drawn, it is imported: it takes a moment
    import pandas as pd

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def draw(_scene: Scene) -> None:
    """The profiles that are here, and the form for another one."""
    form()


def form() -> None:
    """The profiles that are here, and the form for another one."""
    folders = loaders.models()
    if folders:
        st.markdown("**Profiles here**")
        st.dataframe(_table(folders), hide_index=True, width="stretch")
    st.markdown("**Compute another one**")
    st.markdown(
        "A profile says how much every layer suffers at every width. It takes minutes for a small "
        "model, hours for a large one, once; cut off at any moment, it continues where it was. The "
        "speech needs no texts; take some like yours, 30 recordings or more."
    )
    left, right = st.columns(2)
    model = left.text_input(
        "Model",
        "whisper-tiny.en",
        key="profile_model",
        help="whisper-tiny.en is bundled; else a folder written by save_pretrained, or a hub name.",
    )
    manifest = right.text_input(
        "Calibration speech: a manifest or folder",
        shown(loaders.DEMO),
        key="profile_speech",
        help='JSON lines: {"audio": "clips/a.flac"}.',
    )
    name = left.text_input(
        "Name of the profile",
        key="profile_name",
        max_chars=64,
        placeholder="whisper-tiny.en-mine",
        help="Its folder's name: letters, digits, dots, dashes.",
    )
    limit = right.number_input(
        "Only the first utterances (0 for all)",
        min_value=0,
        max_value=100_000,
        value=0,
        key="profile_limit",
    )
    asked = asking.fields(st, "profile", "as rows say, else the model's own")
    box = st.container(key="profile_options")
    with box.expander("Options to score", icon=":material/tune:"):
        columns = st.columns(3)
        bits = columns[0].text_input("Integer widths (0 for none)", "2,3,4,5,6,8", key="pf_bits")
        groups = columns[1].text_input("Group sizes", "64", key="pf_groups")
        codes = columns[2].text_input(
            "Rates of entropy codes (0 for none)",
            ",".join(f"{rate:g}" for rate in RATES),
            key="pf_rates",
        )
    try:
        request = _request(
            model=model,
            manifest=manifest,
            name=name,
            limit=int(limit) or None,
            bits=bits,
            groups=groups,
            codes=codes,
            asked=asked,
        )
    except (GenPTQError, ArgumentTypeError) as error:
        failure.show(error)
        request = None
    if request is not None:
        st.markdown("The same from a command line:")
        st.code(command(request), language="bash", wrap_lines=True)
    obstacle = _obstacle(name, folders)
    if name and obstacle:
        failure.show(obstacle)
    pressed = st.button(
        "Compute it",
        key="profile_start",
        type="primary",
        disabled=request is None or bool(obstacle),
        help="Give it a name first." if not name else None,
    )
    if pressed and request is not None:
        try:
            speech_source(manifest.strip())
        except GenPTQError as error:
            failure.show(error)
        except (OSError, ValueError, RuntimeError) as error:
            failure.show(f"The path cannot be used ({error}).")
        else:
            job_list.queue_request(request)
    job_list.history(ComputeProfile)


def _obstacle(name: str, folders: dict[str, Path]) -> str:
    """What keeps a profile from having a name, or ""."""
    if not _NAME.fullmatch(name):
        return "A name is letters, digits, dots and dashes, and begins with a letter or digit."
    if name in folders:
        return f"There is a profile {name} already; choose another name."
    if not os.access(_writable(loaders.folder()), os.W_OK):
        return (
            f"The folder {loaders.folder()} cannot be written. Name one that can be "
            "in $GENPTQ_PROFILES."
        )
    return ""


def _writable(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    return next((f for f in (folder, *folder.parents) if f.exists()), folder)


def _request(
    *,
    model: str,
    manifest: str,
    name: str,
    limit: int | None,
    bits: str,
    groups: str,
    codes: str,
    asked: tuple[str, str] = ("", ""),
) -> ComputeProfile:
    """What to compute.

    Raises:
        ArgumentTypeError: a list cannot be read.
    """
    source = manifest.strip()
    if not source.startswith(HUB):
        source = str(typed(source))
    request = ComputeProfile(
        model=model.strip(),
        manifest=source,
        utterances=limit,
        out=str(loaders.folder() / (name or "NAME")),
        bits=widths(bits),
        group_sizes=sizes(groups),
        rates=rates(codes),
        language=asked[0],
        task=asked[1],
    )
    if not request.bits and not request.rates:
        raise ArgumentTypeError("A profile needs an integer width or a rate to score.")
    return request


def command(request: ComputeProfile) -> str:
    """The command line that computes the same profile."""
    return profile_command(
        model=request.model,
        speech=request.manifest,
        utterances=request.utterances,
        bits=request.bits,
        group_sizes=request.group_sizes,
        rates=request.rates,
        out=request.out,
        asked=(request.language, request.task),
    )


def _table(folders: dict[str, Path]) -> pd.DataFrame:
    rows: list[dict[str, str | int]] = []
    for name, folder in folders.items():
        try:
            profile = loaders.read_profile(folder)
        except GenPTQError as error:
            rows.append({"name": name, "model": f"cannot be read: {error}"})
            continue
        source = profile.source
        rows.append(
            {
                "name": name,
                "model": source.model,
                "parameters": f"{source.parameters / 1e6:.1f} M",
                "layers": len(profile.units),
                "options each": len(profile.menu),
                "calibrated on": f"{source.calibration}, {source.utterances} utterances",
                "computed in": seconds(profile.seconds),
                "digest": profile.digest[:10],
            }
        )
    import pandas as pd

    return pd.DataFrame(rows)
