"""Targets: what each runtime can hold, and how many bytes that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConstraintError
from ..options import Option
from ..units import Unit
from . import compressed_tensors, gguf, mlx, native, onnx_runtime

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
        otherwise: the forms that it holds instead if a profile has only 16 bit in `forms`.
        holds: whether a unit can be stored with an option of those forms.
        unit_bytes: bytes of a unit stored with an option, including its scales and padding.
        fixed_bytes: bytes of the parameters that are in no unit, from the number of stored
            parameters and the units.
        grain: what must have one option: "unit" (each its own), "parameter" (all rows of one
            parameter), "model" (everything).
        format: the module of `formats` that writes and reads it.
        whole: whether parameters that follow from a formula are stored too.
        families: the model families that it can be written for; all of them if empty.
    """

    name: str
    title: str
    forms: frozenset[str]
    otherwise: frozenset[str] = frozenset({"half"})
    holds: Callable[[Unit, Option], bool] = _anything
    unit_bytes: Callable[[Unit, Option], int] = native.unit_bytes
    fixed_bytes: Callable[[int, Sequence[Unit]], int] = native.fixed_bytes
    grain: str = "unit"
    format: str = native.NAME
    whole: bool = False
    families: tuple[str, ...] = ()


NATIVE = "native"
"""The target that is meant if no name is given."""

_GRID = frozenset({"grid", "half"})

TARGETS = {
    target.name: target
    for target in (
        Target(NATIVE, "GenPTQ native, entropy-coded", frozenset({"coded", "half"}), _GRID),
        Target("integer", "integers in groups, as runtimes hold them", _GRID),
        Target(
            "compressed-tensors",
            "compressed-tensors, loaded by transformers",
            _GRID,
            holds=compressed_tensors.holds,
            unit_bytes=compressed_tensors.unit_bytes,
            format=compressed_tensors.NAME,
            whole=True,
        ),
        Target(
            "gguf",
            "GGUF, for transcribe.cpp",
            frozenset({"block", "half"}),
            frozenset({"half"}),
            holds=gguf.holds,
            unit_bytes=gguf.unit_bytes,
            fixed_bytes=gguf.fixed_bytes,
            grain="parameter",
            format=gguf.NAME,
            whole=True,
            families=gguf.FAMILIES,
        ),
        Target(
            "onnx",
            "ONNX Runtime, 2, 4 and 8 bits",
            _GRID,
            holds=onnx_runtime.holds,
            unit_bytes=onnx_runtime.unit_bytes,
            format=onnx_runtime.NAME,
            whole=True,
            families=("whisper",),
        ),
        Target(
            "mlx",
            "MLX, on Apple computers",
            _GRID,
            holds=mlx.holds,
            unit_bytes=mlx.unit_bytes,
            grain="parameter",
            format=mlx.NAME,
            families=("whisper",),
        ),
    )
}


def usable_targets(menu: Sequence[Option], family: str | None = None) -> list[str]:
    """Names of targets that hold an option of a menu other than 16 bit; of equal ones the first.

    Args:
        menu: every option of a profile.
        family: leave out targets that cannot be written for models of this family.
    """
    usable: dict[Any, str] = {}
    for name, target in TARGETS.items():
        if family and target.families and family not in target.families:
            continue
        columns = _columns(menu, target)
        if any(menu[column].form != "half" for column in columns):
            same = (target.holds, target.unit_bytes, target.fixed_bytes, target.grain, target.whole)
            usable.setdefault((*columns, *same), name)
    return list(usable.values())


def held_columns(menu: Sequence[Option], target: str | None = None) -> list[int]:
    """Columns of a menu that a target can hold.

    Args:
        menu: every option of a profile.
        target: a target's name; None for the native one.

    Raises:
        ConstraintError: there is no such target, or the profile has nothing for it.
    """
    asked = target_of(target)
    columns = _columns(menu, asked)
    if all(menu[column].form == "half" for column in columns):
        raise ConstraintError(
            f"The profile has no option that the target {asked.name!r} holds.",
            f"It has options for: {', '.join(usable_targets(menu)) or 'none'}.",
        )
    return columns


def target_of(name: str | None = None) -> Target:
    """The target of a name; the native one for None.

    Raises:
        ConstraintError: there is no such target.
    """
    name = name or NATIVE
    if name not in TARGETS:
        raise ConstraintError(f"There is no target {name!r}.", f"Targets: {', '.join(TARGETS)}.")
    return TARGETS[name]


def why_not_held(target: Target, profile: Profile, options: Sequence[Option]) -> str | None:
    """Why a target cannot hold a map, naming the first unit that does not fit; None if it can."""
    if target.families and profile.source.family not in target.families:
        return _unknown_family(target, profile)
    alike: dict[str, tuple[str, Option]] = {}
    for unit, option in zip(profile.units, options, strict=True):
        if option.form not in target.forms | target.otherwise or not target.holds(unit, option):
            return f"The target {target.name!r} cannot hold {unit.name} at {option.label}."
        group = {"unit": unit.name, "parameter": unit.parameter}.get(target.grain, "")
        name, first = alike.setdefault(group, (unit.name, option))
        if first != option:
            return f"The target {target.name!r} needs {unit.name} as {name}, at {first.label}."
    return None


def check_family(target: Target, profile: Profile) -> None:
    """Make sure that a target is for models of a profile's family.

    Raises:
        ConstraintError: it is not.
    """
    if target.families and profile.source.family not in target.families:
        known = ", ".join(target.families)
        raise ConstraintError(
            _unknown_family(target, profile), f"It is for: {known}. Use --target {NATIVE}."
        )


def _unknown_family(target: Target, profile: Profile) -> str:
    return f"The target {target.name!r} cannot hold {profile.source.family!r} models."


def check_holds(target: Target, profile: Profile, options: Sequence[Option]) -> None:
    """Make sure that a target can hold a map.

    Raises:
        ConstraintError: it cannot; the first unit that does not fit is named.
    """
    check_family(target, profile)
    reason = why_not_held(target, profile, options)
    if reason is not None:
        raise ConstraintError(reason, f"Solve with --target {target.name}.")


def target_for_map(name: str | None, profile: Profile, options: Sequence[Option]) -> Target:
    """The target of a name if it can hold a map; else the first that can.

    The native one has sizes for maps that none can hold.

    Raises:
        ConstraintError: there is no such target.
    """
    tried = (target_of(name), *TARGETS.values())
    held = (target for target in tried if why_not_held(target, profile, options) is None)
    return next(held, TARGETS[NATIVE])


def unit_bytes(target: Target, profile: Profile, options: Sequence[Option]) -> list[int]:
    """Bytes of every unit of a map in a target, in the profile's order."""
    pairs = zip(profile.units, options, strict=True)
    return [target.unit_bytes(unit, option) for unit, option in pairs]


def predicted_bytes(target: Target, profile: Profile, options: Sequence[Option]) -> int:
    """Bytes of the folder that a target's runtime needs for a map.

    Where the profile does not know what the folder takes besides the tensors, those alone.
    """
    return fixed_bytes(target, profile) + sum(unit_bytes(target, profile, options))


def bytes_by_option(target: Target, profile: Profile) -> list[dict[Option, int]]:
    """Bytes of every unit at every option that a target can hold, one table per unit.

    Raises:
        ConstraintError: the profile has nothing for the target.
    """
    menu = [profile.menu[column] for column in held_columns(profile.menu, target.name)]
    return [
        {option: target.unit_bytes(unit, option) for option in menu if target.holds(unit, option)}
        for unit in profile.units
    ]


def fixed_bytes(target: Target, profile: Profile) -> int:
    """Bytes in a target that no map changes: of parameters in no unit, headers and settings."""
    source = profile.source
    stored = source.parameters - (0 if target.whole else source.derived)
    return target.fixed_bytes(stored, profile.units) + overhead(target, profile)


def overhead(target: Target, profile: Profile) -> int:
    """Bytes in a target of all that is no tensor; 0 where the profile does not know it."""
    return profile.source.overhead.get(target.name, 0)


def counts_all(target: Target, profile: Profile) -> bool:
    """Whether sizes in a target are of the whole folder, and not of the tensors alone."""
    return target.name in profile.source.overhead


def _columns(menu: Sequence[Option], target: Target) -> list[int]:
    forms = {option.form for option in menu} - {"half"}
    holds = target.forms if forms & target.forms else target.otherwise
    return [i for i, option in enumerate(menu) if option.form in holds]
