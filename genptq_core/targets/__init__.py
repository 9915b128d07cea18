"""Targets: what each runtime can hold, and what it costs there in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConstraintError
from ..options import Option
from ..units import Unit
from . import native

if TYPE_CHECKING:
    from ..profile import Profile


def _anything(unit: Unit, option: Option) -> bool:
    return True


@dataclass(frozen=True)
class Target:
    """A format that a model can be written in.

    Attributes:
        name: how the command line and links name it.
        title: how the page names it.
        forms: the forms of options that it holds.
        otherwise: the forms that it holds where a profile has nothing but 16 bit of those.
        holds: whether a unit can be stored in a way, of those forms.
        unit_bytes: bytes of a unit stored in a way, everything that it needs included.
        kept_bytes: bytes of all that no unit covers, of stored parameters and the units.
        grain: what must be stored alike: "unit" (each as it likes), "parameter" (all rows of
            one), "model" (everything).
        format: the module of `formats` that writes and reads it.
    """

    name: str
    title: str
    forms: frozenset[str]
    otherwise: frozenset[str] = frozenset({"half"})
    holds: Callable[[Unit, Option], bool] = _anything
    unit_bytes: Callable[[Unit, Option], int] = native.unit_bytes
    kept_bytes: Callable[[int, Sequence[Unit]], int] = native.kept_bytes
    grain: str = "unit"
    format: str = native.NAME


NATIVE = "native"
"""The target that is meant where none is named."""

_GRID = frozenset({"grid", "half"})

TARGETS = {
    target.name: target
    for target in (
        Target(NATIVE, "GenPTQ native, entropy-coded", frozenset({"coded", "half"}), _GRID),
        Target("integer", "integers in groups, as runtimes hold them", _GRID),
    )
}


def usable(menu: Sequence[Option]) -> list[str]:
    """Targets for which a menu has anything but 16 bit; of those that hold the same, the first."""
    found: dict[tuple[int, ...], str] = {}
    for name, target in TARGETS.items():
        columns = _columns(menu, target)
        if any(menu[column].form != "half" for column in columns):
            found.setdefault(tuple(columns), name)
    return list(found.values())


def held(menu: Sequence[Option], target: str | None = None) -> list[int]:
    """Columns of a menu that a target can hold.

    Args:
        menu: every option of a profile.
        target: a target's name; the native one if absent.

    Raises:
        ConstraintError: there is no such target, or the profile has nothing for it.
    """
    found = target_of(target)
    columns = _columns(menu, found)
    if all(menu[column].form == "half" for column in columns):
        raise ConstraintError(
            f"The profile has no option that the target {found.name!r} holds.",
            f"It has options for: {', '.join(usable(menu)) or 'none'}.",
        )
    return columns


def target_of(name: str | None = None) -> Target:
    """The target of a name; the native one if absent.

    Raises:
        ConstraintError: there is no such target.
    """
    name = name or NATIVE
    if name not in TARGETS:
        raise ConstraintError(f"There is no target {name!r}.", f"Targets: {', '.join(TARGETS)}.")
    return TARGETS[name]


def check(target: Target, profile: Profile, options: Sequence[Option]) -> None:
    """Make sure that a target can hold a map.

    Raises:
        ConstraintError: it cannot; the first unit that does not fit is named.
    """
    alike: dict[str, tuple[str, Option]] = {}
    for unit, option in zip(profile.units, options, strict=True):
        if option.form not in target.forms | target.otherwise or not target.holds(unit, option):
            raise ConstraintError(
                f"The target {target.name!r} cannot hold {unit.name} at {option.label}.",
                f"Solve with --target {target.name}.",
            )
        group = {"unit": unit.name, "parameter": unit.parameter}.get(target.grain, "")
        name, first = alike.setdefault(group, (unit.name, option))
        if first != option:
            raise ConstraintError(
                f"The target {target.name!r} needs {unit.name} as {name}, at {first.label}.",
                f"Solve with --target {target.name}.",
            )


def predicted_bytes(target: Target, profile: Profile, options: Sequence[Option]) -> int:
    """Bytes of all stored parameters of a map in a target."""
    stored = profile.source.parameters - profile.source.derived
    units = zip(profile.units, options, strict=True)
    return target.kept_bytes(stored, profile.units) + sum(target.unit_bytes(*u) for u in units)


def _columns(menu: Sequence[Option], target: Target) -> list[int]:
    forms = {option.form for option in menu} - {"half"}
    holds = target.forms if forms & target.forms else target.otherwise
    return [i for i, option in enumerate(menu) if option.form in holds]
