"""The command line that does what the page does: one place, so that no two views say it unlike."""

from __future__ import annotations

import shlex

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.solving import solve
from genptq_core.errors import PROGRAM, InfeasibleError
from genptq_core.options import Option
from genptq_core.targets import NATIVE

from .knobs import BY_SIZE
from .paths import shown
from .scene import Scene

BIT_MAP = "bitmap.json"
"""What the commands call the bit map file."""


def command(name: str, *arguments: str) -> str:
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
            if solve(scene.task, pick.allocation.bytes).options != pick.map.options:
                return None
        except InfeasibleError:
            return None
        size = f"{pick.allocation.bytes / 1e6:.6f}"
    flags = ["--profile", shown(scene.folder), "--size-mb", size]
    flags += target_flags(scene.target)
    return command("solve", *flags, *constraint_flags(scene.limits), "--out", BIT_MAP)


def target_flags(target: str) -> list[str]:
    """The flags that name a target; none for the one that is meant anyhow."""
    return [] if target == NATIVE else ["--target", target]


def constraint_flags(limits: Constraints) -> list[str]:
    """The flags that demand what constraints do."""
    flags: list[str] = []
    for pattern, wanted in limits.pins:
        key = wanted.key if isinstance(wanted, Option) else f"{wanted:g}"
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
