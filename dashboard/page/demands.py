"""Demands: what a user asks of some layers, as lines of text that a link can carry.

    *fc1* = 4            layers whose names match get 4 bits (or `4/64`: just that option)
    *encoder* >= 3       at least; `<=` is at most
    tie block:*attn*     matching layers share their option, after `block:` those of one block
    decoder <= 3 MB      the layers of a part may take this much together

Pure functions, no Streamlit. Later lines win over earlier ones where both pin a layer. A link may
come from anyone, so its text is read in linear time, and only up to a length and a number of lines.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from genptq_core.allocation.constraints import BY_BLOCK, PARTS, Constraints, matching
from genptq_core.errors import ConstraintError
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.units import Unit

IS, LEAST, MOST, TIED, BUDGET = "is", "at least", "at most", "tied", "MB at most"
KINDS = (IS, LEAST, MOST, TIED, BUDGET)

_SIGNS = {IS: "=", LEAST: ">=", MOST: "<="}
_FORM = 'Write one per line: "*fc1* = 4", "*encoder* >= 3", "tie block:*attn*", "decoder <= 3 MB".'

LONGEST = 100_000
"""Characters that demands may have."""

LONGEST_LINE = 600
"""Characters that one of them may have."""

MOST_LINES = 1_000
"""Demands that there may be: one for every layer of a large model."""

LARGEST_MB = 1_000_000_000
"""Megabytes below which a budget lies."""


@dataclass(frozen=True)
class Demand:
    """One line.

    Attributes:
        what: a glob over layers' names; `block:` and a glob for a tie; a part for a budget.
        kind: one of `KINDS`.
        value: bits, an option's key, or MB; empty for a tie.
    """

    what: str
    kind: str
    value: str = ""

    @property
    def text(self) -> str:
        """The demand as a line."""
        if self.kind == TIED:
            return f"tie {self.what}"
        if self.kind == BUDGET:
            return f"{self.what} <= {self.value} MB"
        return f"{self.what} {_SIGNS[self.kind]} {self.value}"


def parse(text: str) -> tuple[Demand, ...]:
    """Demands from lines; semicolons separate them too, and # begins a comment.

    Raises:
        ConstraintError: a line is none of the forms, or there is too much to read.
    """
    if len(text) > LONGEST:
        raise ConstraintError(
            f"The demands have {len(text):,} characters, and {LONGEST:,} are the most.",
            "Say it with patterns; * matches anything.",
        )
    demands: list[Demand] = []
    for number, line in enumerate(text.replace(";", "\n").splitlines(), start=1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        if len(demands) == MOST_LINES:
            raise ConstraintError(
                f"There are more than {MOST_LINES:,} demands.",
                "Say it with patterns; * matches anything.",
            )
        demands.append(_parse_line(number, line))
    return tuple(demands)


def _parse_line(number: int, line: str) -> Demand:
    if len(line) > LONGEST_LINE:
        raise ConstraintError(
            f"Line {number}, {line[:40]!r} and so on, has {len(line):,} characters, and "
            f"{LONGEST_LINE} are the most.",
            _FORM,
        )
    if line.startswith("tie ") and line[4:].strip():
        return Demand(line[4:].strip(), TIED)
    what, sign, value = _pieces(line)
    if not what or not value:
        raise ConstraintError(f"Line {number}, {line!r}, is not pattern = bits.", _FORM)
    megabytes = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*MB", value)
    if megabytes and sign == "<=":
        if what not in PARTS:
            raise ConstraintError(
                f"Line {number} gives {what!r} a budget, which is no part.",
                f"Parts: {', '.join(PARTS)}.",
            )
        if not 0 < float(megabytes[1]) < LARGEST_MB:
            raise ConstraintError(
                f"Line {number} gives the {what} {megabytes[1]} MB as its budget.",
                f"A budget is more than 0 and less than {LARGEST_MB:,} MB.",
            )
        return Demand(what, BUDGET, megabytes[1])
    try:
        option = Option.parse(value)
    except ValueError:
        raise ConstraintError(f"Line {number} gives {value!r} as its bits.", _FORM) from None
    kind = next(kind for kind, written in _SIGNS.items() if written == sign)
    if kind != IS and (option.group_size or option.block):
        raise ConstraintError(f"Line {number} bounds bits by {value!r}.", "A bound has no groups.")
    return Demand(what, kind, value)


def _pieces(line: str) -> tuple[str, str, str]:
    """What stands before the last sign of a line, the sign, and what stands after it."""
    before, _, value = line.rpartition("=")
    if any(sign in value for sign in "<>"):
        return "", "", ""
    sign = "="
    if before.endswith(("<", ">")):
        before, sign = before[:-1], f"{before[-1]}="
    return before.strip(), sign, value.strip()


def write(demands: Iterable[Demand]) -> str:
    """Demands as lines, each once; the last of its kind for a pattern stays."""
    last = {(d.what, d.kind): d for d in demands}
    return "\n".join(d.text for d in last.values())


def constrain(demands: Sequence[Demand], others: Constraints) -> Constraints:
    """Constraints with the demands in place of their pins, limits, ties and budgets."""
    pins: list[tuple[str, float | Option]] = []
    for demand in demands:
        if demand.kind == IS:
            option = Option.parse(demand.value)
            pins.append((demand.what, option if option.group_size or option.block else option.bits))
    return dataclasses.replace(
        others,
        pins=tuple(pins),
        limits=tuple(
            (d.what, _bits(d) if d.kind == LEAST else None, _bits(d) if d.kind == MOST else None)
            for d in demands
            if d.kind in (LEAST, MOST)
        ),
        ties=tuple(d.what for d in demands if d.kind == TIED),
        budgets=tuple(
            (d.what, int(float(d.value) * 1e6 + 1e-6)) for d in demands if d.kind == BUDGET
        ),
    )


def _bits(demand: Demand) -> float:
    return Option.parse(demand.value).bits


def bound_units(profile: Profile, demands: Sequence[Demand]) -> frozenset[int]:
    """The units that any demand binds; budgets of parts do not count.

    Raises:
        ConstraintError: a pattern matches nothing.
    """
    bound: set[int] = set()
    for demand in demands:
        if demand.kind != BUDGET:
            glob = demand.what.removeprefix(BY_BLOCK).strip()
            bound.update(matching(profile.units, glob, "lock"))
    return frozenset(bound)


def tie_choices(unit: Unit, units: Sequence[Unit]) -> dict[str, str]:
    """Ties of a unit to others, by a few words on each."""
    stem, _, last = unit.parameter.removesuffix(".weight").rpartition(".")
    any_block = re.sub(r"(?<=\.)[0-9]+(?=\.|$)", "*", _literal(stem))
    candidates = [("all rows of it", f"{_literal(unit.parameter)}*")]
    if any_block != stem:
        candidates += [
            ("its neighbours, block by block", f"{BY_BLOCK}{any_block}.*"),
            (f"{last} of every {unit.part} block", f"{any_block}.{last}*"),
        ]
    ties = {}
    for words, tie in candidates:
        tied = matching(units, tie.removeprefix(BY_BLOCK), "tie")
        if tie.startswith(BY_BLOCK):
            tied = [i for i in tied if (units[i].part, units[i].block) == (unit.part, unit.block)]
        if len(tied) > 1:
            ties[words] = tie
    return ties


def _literal(name: str) -> str:
    """A name as a glob that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def lock(text: str, unit: Unit, option: Option) -> str:
    """Demands with a unit pinned to an option in place of what was demanded of it alone."""
    return write([*_without(text, unit), Demand(_literal(unit.name), IS, option.key)])


def tie(text: str, what: str) -> str:
    """Demands with a tie added."""
    return write([*parse(text), Demand(what, TIED)])


def free(text: str, unit: Unit) -> str:
    """Demands without those of a unit alone."""
    return write(_without(text, unit))


def names(text: str, unit: Unit) -> bool:
    """Whether a demand names a unit alone."""
    return len(_without(text, unit)) < len(parse(text))


def _without(text: str, unit: Unit) -> list[Demand]:
    return [d for d in parse(text) if d.what != _literal(unit.name)]
