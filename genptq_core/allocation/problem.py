"""An allocation problem: what each option of each unit costs in bytes, and what it loses.

With z_l a distribution over unit l's options, the continuous problem is

    min  loss(z)   s.t.   fixed + sum_l bytes_l . z_l <= budget,   z_l in the simplex,

convex and quadratic (`QuadraticLoss`), where closed options are fixed at zero and each part with a
budget of its own adds a row. Its optimum bounds every integer map from below. Integer maps come
from the front of the separable part (multiple-choice knapsack by dynamic programming over
undominated states; Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 11), and
are then improved by changes and trades that are checked under the full loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import ConstraintError, InfeasibleError
from ..options import Option
from ..profile import Profile
from ..progress import Report, silent
from ..targets import (
    check_family,
    counts_all,
    fixed_bytes,
    held_columns,
    overhead,
    target_of,
)
from .constraints import Constraints, allowed_options, part_members, tied_groups
from .predicted_loss import QuadraticLoss, quadratic_loss
from .program import Program
from .search import Search


@dataclass(frozen=True)
class Problem:
    """One allocation problem, ready to be solved for any budget.

    Attributes:
        menu: options that the target holds.
        cost: bytes of every option, shape (units, options), int64.
        fixed: bytes that no choice changes, of headers and settings too where they are known.
        weights: number of weights in each unit, shape (units,), int64.
        loss: predicted loss.
        allowed: options open to the solver, shape (units, options), bool.
        parameters: parameters of the whole model.
        group: group of each unit, from 0; units of one group share their option, shape (units,).
        members: the units of each part with a budget, shape (parts, units), bool.
        most: bytes that each of those parts may take, shape (parts,), int64.
        demands: each demand in words, and the smallest size without it, bytes.
        overhead: bytes of headers and settings among the fixed; None where they are not known, and
            sizes are of weights alone.
    """

    menu: tuple[Option, ...]
    cost: np.ndarray
    fixed: int
    weights: np.ndarray
    loss: QuadraticLoss
    allowed: np.ndarray
    parameters: int
    group: np.ndarray
    members: np.ndarray
    most: np.ndarray
    demands: tuple[tuple[str, int], ...] = ()
    overhead: int | None = None

    @property
    def counts_all(self) -> bool:
        """Whether sizes are of the whole folder that a runtime needs."""
        return self.overhead is not None

    @property
    def widths(self) -> np.ndarray:
        """Bits per weight of each option, shape (options,)."""
        return np.array([option.bits for option in self.menu])

    @cached_property
    def search(self) -> Search:
        """Search with bytes as costs, where tied units are one item."""
        return Search(self._program(self.cost, self.members, self.most))

    @cached_property
    def bit_search(self) -> Search:
        """Search with bits as costs, in thousandths because entropy codes have fractional widths.

        Budgets of parts are in bytes, so they are left out.
        """
        thousandths = np.rint(1000 * self.widths).astype(np.int64)
        no_part = np.zeros((0, len(self.weights)), dtype=bool)
        cost = thousandths * self.weights[:, None]
        return Search(self._program(cost, no_part, self.most[:0]))

    def _program(self, cost: np.ndarray, members: np.ndarray, most: np.ndarray) -> Program:
        if int(self.group.max()) + 1 == len(self.group):
            return Program(
                cost=cost, loss=self.loss, allowed=self.allowed, members=members, most=most
            )
        total, allowed = _joined(self.group, cost, self.allowed)
        first = np.unique(self.group, return_index=True)[1]
        return Program(
            cost=total,
            loss=self.loss.tied(self.group),
            allowed=allowed,
            members=members[:, first],
            most=most,
        )

    @cached_property
    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Good maps of every size: from the separable front, from stationary points of the full
        loss, and with one option everywhere.

        Returns:
            Choices (maps, units), bytes (maps,), predicted loss (maps,).
        """
        choices = self.search.candidates[:, self.group]
        return choices, self.bytes(choices), self.loss(choices)

    @property
    def smallest(self) -> int:
        """Smallest size that the constraints allow, bytes."""
        return self.fixed + least_cost(self.search.program)

    def bytes(self, choices: np.ndarray) -> np.ndarray:
        """Size of integer choices, shape (..., units) -> (...), bytes."""
        return self.fixed + self.cost[np.arange(len(self.cost)), choices].sum(axis=-1)

    def average_bits(self, choices: np.ndarray) -> np.ndarray:
        """Mean code width over quantizable weights (scales not counted), (..., units) -> (...)."""
        return (self.widths[choices] * self.weights).sum(axis=-1) / self.weights.sum()

    def reduction(self, size: float) -> float:
        """Fraction saved compared with float32: 1 - bytes / (4 * parameters)."""
        return 1 - size / (4 * self.parameters)

    def lower_bounds(self, sizes: np.ndarray, report: Report = silent) -> np.ndarray:
        """The predicted loss that no map of each size, in bytes, can beat, shape (sizes,).

        Args:
            sizes: the sizes, shape (sizes,).
            report: called with the progress, which takes seconds for a large model.
        """
        rooms = np.asarray(sizes, dtype=np.float64) - self.fixed
        return self.loss.growth(self.search.relaxation.bounds(rooms, report))


def problem(
    profile: Profile,
    constraints: Constraints | None = None,
    loss: QuadraticLoss | None = None,
    target: str | None = None,
) -> Problem:
    """The allocation problem of a profile under constraints.

    An option whose sensitivity is not finite is not offered, and a warning names it.

    Args:
        profile: the profile.
        constraints: what the user demands.
        loss: predicted loss over the profile's whole menu; `quadratic_loss(profile)` if absent.
        target: name of the target; see `targets.held_columns`.

    Raises:
        ConstraintError: a constraint is contradictory, or matches nothing.
        InfeasibleError: a part does not fit its budget.
    """
    constraints = constraints or Constraints()
    loss = loss or quadratic_loss(profile)
    form = target_of(target)
    check_family(form, profile)
    columns = held_columns(profile.menu, target)
    menu = tuple(profile.menu[column] for column in columns)
    holds = np.array([[form.holds(unit, option) for option in menu] for unit in profile.units])
    finite = np.isfinite(loss.projections[:, :, columns]).all(axis=0)
    lost = holds & ~finite
    if lost.any():
        names = [f"{profile.units[u].name} at {menu[o].key}" for u, o in np.argwhere(lost)]
        warnings.warn(
            f"Sensitivities are not finite, so these options are not offered: {', '.join(names)}.",
            RuntimeWarning,
            stacklevel=2,
        )
    usable = finite & holds
    cost = np.array(
        [[form.unit_bytes(unit, option) for option in menu] for unit in profile.units],
        dtype=np.int64,
    )
    fixed = fixed_bytes(form, profile)
    allowed = allowed_options(profile, menu, constraints) & usable
    group = tied_groups(profile.units, constraints.ties, form.grain)
    _check_open(profile, menu, allowed, group)
    members = part_members(profile.units, constraints.budgets)
    _check_ties(profile, members, group)
    ready = Problem(
        menu=menu,
        cost=cost,
        fixed=fixed,
        weights=np.array([unit.weights for unit in profile.units], dtype=np.int64),
        loss=loss.part(columns, usable),
        allowed=allowed,
        parameters=profile.source.parameters,
        overhead=overhead(form, profile) if counts_all(form, profile) else None,
        group=group,
        members=members,
        most=np.array([most for _, most in constraints.budgets], dtype=np.int64),
        demands=_demands(
            profile,
            constraints,
            menu=menu,
            usable=usable,
            cost=cost,
            fixed=fixed,
            grain=form.grain,
        ),
    )
    program = ready.search.program
    for (part, most), members_of_part in zip(constraints.budgets, program.members, strict=True):
        least = least_cost(program, members_of_part)
        if least > most:
            raise InfeasibleError(
                f"The {part} does not fit in {most / 1e6:.2f} MB: its weights take at least "
                f"{least / 1e6:.2f} MB.",
                f"Give the {part} that much, or relax what else is demanded of it.",
                smallest=ready.smallest,
            )
    return ready


def least_cost(program: Program, items: np.ndarray | slice = slice(None)) -> int:
    """The least cost of a programme's items, or of some of them."""
    open_ = np.where(program.allowed[items], program.cost[items], np.iinfo(np.int64).max)
    return int(open_.min(axis=1).sum())


def _check_open(
    profile: Profile, menu: Sequence[Option], allowed: np.ndarray, group: np.ndarray
) -> None:
    """Raise where a unit, or a group of tied units, has no option left."""
    stuck = [unit.name for unit, row in zip(profile.units, allowed, strict=True) if not row.any()]
    hint = f"Widths on offer: {', '.join(option.key for option in menu)}."
    if stuck:
        raise ConstraintError(
            f"The constraints leave no width for {stuck[0]}"
            + (f" and {len(stuck) - 1} more." if len(stuck) > 1 else "."),
            hint,
        )
    for index in range(int(group.max()) + 1):
        tied = np.flatnonzero(group == index)
        if not allowed[tied].all(axis=0).any():
            raise ConstraintError(
                f"The constraints leave no common width for {profile.units[tied[0]].name} and "
                f"{len(tied) - 1} more, which are tied.",
                hint,
            )


def _check_ties(profile: Profile, members: np.ndarray, group: np.ndarray) -> None:
    """Raise where a tie joins units inside and outside of a part with a budget of its own."""
    for row in members:
        inside = np.unique(group[row])
        across = np.flatnonzero(np.isin(group, inside) & ~row)
        if len(across):
            part = profile.units[int(np.flatnonzero(row)[0])].part
            raise ConstraintError(
                f"{profile.units[int(across[0])].name} is tied to the {part}, which has a budget "
                "of its own.",
                "Drop the tie or the budget.",
            )


def _demands(
    profile: Profile,
    constraints: Constraints,
    *,
    menu: Sequence[Option],
    usable: np.ndarray,
    cost: np.ndarray,
    fixed: int,
    grain: str,
) -> tuple[tuple[str, int], ...]:
    """Each demand in words, and the smallest size without it in bytes."""
    demands = []
    for words, others in constraints.without_each():
        group = tied_groups(profile.units, others.ties, grain)
        allowed = allowed_options(profile, menu, others) & usable
        total, allowed = _joined(group, cost, allowed)
        if allowed.any(axis=1).all():
            open_ = np.where(allowed, total, np.iinfo(np.int64).max)
            demands.append((words, fixed + int(open_.min(axis=1).sum())))
    return tuple(demands)


def _joined(
    group: np.ndarray, cost: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Costs and open options of groups of tied units, each shape (groups, options)."""
    total = np.zeros((int(group.max()) + 1, cost.shape[1]), dtype=np.int64)
    np.add.at(total, group, cost)
    together = np.ones(total.shape, dtype=bool)
    np.logical_and.at(together, group, allowed)
    return total, together
