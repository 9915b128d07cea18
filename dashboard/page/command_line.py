"""The command lines that do what the page does. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.solving import solve
from genptq_core.errors import PROGRAM, InfeasibleError
from genptq_core.options import RATES, Option
from genptq_core.targets import NATIVE

from .knobs import BY_SIZE
from .paths import shown
from .scene import Scene

BIT_MAP = "bitmap.json"
"""What the commands call the bit map file."""

BITS = (2, 3, 4, 5, 6, 8)
"""Integer widths that `profile` scores where none are named."""

GROUP_SIZES = (64,)
"""Group sizes that `profile` scores where none are named."""


def command(name: str, arguments: Sequence[str] = ()) -> str:
    """A command of the program, as one types it."""
    return shlex.join([PROGRAM, name, *arguments])


def solve_command(scene: Scene) -> str | None:
    """The command that solves for the pick, or None where no single solve gives it."""
    pick = scene.pick
    if pick is None:
        return None
    if scene.knobs.mode == BY_SIZE and not pick.by_hand:
        size = f"{scene.knobs.size_mb:g}"
    else:
        # The size that led here is not kept, so check that the map's own size leads back.
        try:
            if solve(scene.problem, pick.allocation.bytes).options != pick.map.options:
                return None
        except InfeasibleError:
            return None
        size = f"{pick.allocation.bytes / 1e6:.6f}"
    flags = ["--profile", shown(scene.folder), "--size-mb", size]
    flags += _target_flags(scene.target)
    flags += _constraint_flags(scene.limits)
    return command("solve", [*flags, "--out", BIT_MAP])


def profile_command(
    *,
    model: str,
    speech: str,
    utterances: int | None,
    bits: Sequence[int],
    group_sizes: Sequence[int],
    rates: Sequence[float],
    out: Path | str,
    asked: tuple[str, str] = ("", ""),
) -> str:
    """The command that computes a profile; what is usual is left out.

    Args:
        model: what `--model` takes.
        speech: path of the calibration manifest.
        utterances: use only this many, from its start; None for all.
        bits, group_sizes, rates: the options to score.
        out: the folder to write.
        asked: language and task that the model is asked for, each "" for its own.
    """
    flags = ["--model", model, "--speech", shown(speech)]
    for flag, value in zip(("--language", "--task"), asked, strict=True):
        flags += [flag, value] if value else []
    flags += [] if utterances is None else ["--limit", str(utterances)]
    for flag, numbers, usual in (
        ("--bits", bits, BITS),
        ("--group-size", group_sizes, GROUP_SIZES),
        ("--rates", rates, RATES),
    ):
        if tuple(numbers) != usual:
            flags += [flag, ",".join(f"{number:g}" for number in numbers) or "0"]
    return command("profile", [*flags, "--out", shown(out)])


def measure_command(folder: Path) -> str:
    """The command that measures the bit map file on speech of one's own."""
    flags = ["--profile", shown(folder), "--bitmap", BIT_MAP, "--speech", "MANIFEST"]
    return command("measure", flags)


def explore_command(scene: Scene, speech: str, utterances: int | None, minutes: int) -> str:
    """The command that measures the maps that teach most of a format's front.

    Args:
        scene: the scene; its constraints do not count.
        speech: path of the manifest.
        utterances: measure only this many, from its start; None for all.
        minutes: the time there is.
    """
    flags = ["--profile", shown(scene.folder), "--speech", shown(speech)]
    flags += [] if utterances is None else ["--limit", str(utterances)]
    flags += [*_target_flags(scene.target), "--minutes", str(minutes)]
    return command("explore", [*flags, "--out", "FOLDER"])


def export_command(folder: Path, target: str, out: str = "FOLDER") -> str:
    """The command that writes the bit map file as a model for a target.

    Args:
        folder: the profile's folder.
        target: name of the target.
        out: the folder to write.
    """
    flags = ["--profile", shown(folder), "--bitmap", BIT_MAP, *_target_flags(target)]
    return command("export", [*flags, "--out", out])


def _target_flags(target: str) -> list[str]:
    """The flags that name a target; none for the one that is meant where none is named."""
    return [] if target == NATIVE else ["--target", target]


def _constraint_flags(limits: Constraints) -> list[str]:
    """The flags that demand what constraints do."""
    flags: list[str] = []
    for pattern, pinned in limits.pins:
        key = pinned.key if isinstance(pinned, Option) else f"{pinned:g}"
        flags += ["--pin", f"{pattern}={key}"]
    for flag, bound in (("--min-bits", limits.min_bits), ("--max-bits", limits.max_bits)):
        flags += [] if bound is None else [flag, f"{bound:g}"]
    for pattern, least, most in limits.limits:
        flags += [] if least is None else ["--min-bits", f"{pattern}={least:g}"]
        flags += [] if most is None else ["--max-bits", f"{pattern}={most:g}"]
    for tie in limits.ties:
        flags += ["--tie", tie]
    for part, most_bytes in limits.budgets:
        flags += ["--budget", f"{part}={most_bytes / 1e6:g}"]
    return flags
