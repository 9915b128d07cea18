"""Allocation: which option each unit gets, for any budget, from the profile's scores alone.

With z_l a distribution over unit l's options, the continuous problem is

    min  loss(z)   s.t.   kept + sum_l bytes_l . z_l <= budget,   z_l in the simplex,

convex and quadratic (`QuadraticLoss`), with locks as fixed zeros and parts with budgets of their
own as further rows. Its optimum bounds every integer map from below. Integer maps come
from the front of the separable part (multiple-choice knapsack by dynamic programming over
undominated states; Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 11), then
verified changes and trades under the full loss.
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
from ..targets import Target, check_family, fixed_bytes, held_columns, target_of
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
        kept: bytes that no choice changes.
        weights: weights a unit, shape (units,), int64.
        loss: predicted loss.
        allowed: options open to the solver, shape (units, options), bool.
        parameters: parameters of the whole model.
        group: group of each unit, from 0; units of one group share their option, shape (units,).
        members: the units of each part with a budget, shape (parts, units), bool.
        most: bytes that each of those parts may take, shape (parts,), int64.
        demands: each demand in words, and the smallest size without it, bytes.
    """

    menu: tuple[Option, ...]
    cost: np.ndarray
    kept: int
    weights: np.ndarray
    loss: QuadraticLoss
    allowed: np.ndarray
    parameters: int
    group: np.ndarray
    members: np.ndarray
    most: np.ndarray
    demands: tuple[tuple[str, int], ...] = ()

    @property
    def widths(self) -> np.ndarray:
        """Bits a weight of each option, shape (options,)."""
        return np.array([option.bits for option in self.menu])

    @cached_property
    def search(self) -> Search:
        """The search with bytes as costs, tied units as one item."""
        return Search(self._program(self.cost, self.members, self.most))

    @cached_property
    def bit_search(self) -> Search:
        """The same with bits as costs, in thousandths: entropy codes come in fractions."""
        thousandths = np.rint(1000 * self.widths).astype(np.int64)
        none = np.zeros((0, len(self.weights)), dtype=bool)
        cost = thousandths * self.weights[:, None]
        return Search(self._program(cost, none, self.most[:0]))

    def _program(self, cost: np.ndarray, members: np.ndarray, most: np.ndarray) -> Program:
        count = int(self.group.max()) + 1
        if count == len(self.group):
            return Program(cost, self.loss, self.allowed, members, most)
        total = np.zeros((count, cost.shape[1]), dtype=np.int64)
        np.add.at(total, self.group, cost)
        allowed = np.ones(total.shape, dtype=bool)
        np.logical_and.at(allowed, self.group, self.allowed)
        first = np.unique(self.group, return_index=True)[1]
        return Program(total, self.loss.tied(self.group), allowed, members[:, first], most)

    @cached_property
    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Good maps of every size: the separable front's, stationary ones of the full loss, and
        one option everywhere.

        Returns:
            Choices (maps, units), bytes (maps,), predicted loss (maps,).
        """
        choices = self.search.candidates[:, self.group]
        return choices, self.bytes(choices), self.loss(choices)

    @property
    def smallest(self) -> int:
        """Smallest size that the constraints allow, bytes."""
        return self.kept + least_cost(self.search.program)

    def bytes(self, choices: np.ndarray) -> np.ndarray:
        """Size of integer choices, shape (..., units) -> (...), bytes."""
        return self.kept + self.cost[np.arange(len(self.cost)), choices].sum(axis=-1)

    def average_bits(self, choices: np.ndarray) -> np.ndarray:
        """Mean code width over quantizable weights (scales not counted), (..., units) -> (...)."""
        return (self.widths[choices] * self.weights).sum(axis=-1) / self.weights.sum()

    def reduction(self, size: float) -> float:
        """Share saved against float32: 1 - bytes / (4 * parameters)."""
        return 1 - size / (4 * self.parameters)

    def lower_bounds(self, sizes: np.ndarray) -> np.ndarray:
        """For each size, bytes, the predicted loss that no map of it can beat, shape (sizes,)."""
        rooms = np.asarray(sizes, dtype=np.float64) - self.kept
        return self.loss.growth(self.search.relaxation.bounds(rooms))


def problem(
    profile: Profile,
    constraints: Constraints | None = None,
    loss: QuadraticLoss | None = None,
    target: str | None = None,
) -> Problem:
    """Set up a profile's allocation problem under constraints.

    An option whose sensitivity is not finite is not offered, and a warning names it.

    Args:
        profile: the profile.
        constraints: what the user demands.
        loss: predicted loss over the profile's whole menu; the profile's own if absent.
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
    finite = np.isfinite(loss.projections[:, :, columns]).all(axis=0)
    if not finite.all():
        lost = [f"{profile.units[u].name} at {menu[o].key}" for u, o in np.argwhere(~finite)]
        warnings.warn(
            f"Sensitivities are not finite, so these options are not offered: {', '.join(lost)}.",
            RuntimeWarning,
            stacklevel=2,
        )
    holds = [[form.holds(unit, option) for option in menu] for unit in profile.units]
    usable = finite & np.array(holds, dtype=bool)
    cost = np.array(
        [[form.unit_bytes(unit, option) for option in menu] for unit in profile.units],
        dtype=np.int64,
    )
    kept = fixed_bytes(form, profile)
    allowed = allowed_options(profile, menu, constraints) & usable
    group = tied_groups(profile.units, constraints.ties, form.grain)
    _check_open(profile, menu, allowed, group)
    members = part_members(profile.units, constraints.budgets)
    _check_ties(profile, members, group)
    made = Problem(
        menu=menu,
        cost=cost,
        kept=kept,
        weights=np.array([unit.weights for unit in profile.units], dtype=np.int64),
        loss=loss.part(columns, usable),
        allowed=allowed,
        parameters=profile.source.parameters,
        group=group,
        members=members,
        most=np.array([most for _, most in constraints.budgets], dtype=np.int64),
        demands=_demands(profile, menu, constraints, usable, cost, kept, form),
    )
    for (part, most), mine in zip(constraints.budgets, made.search.program.members, strict=True):
        least = least_cost(made.search.program, mine)
        if least > most:
            raise InfeasibleError(
                f"The {part} does not fit in {most / 1e6:.2f} MB: its weights take at least "
                f"{least / 1e6:.2f} MB.",
                f"Give the {part} that much, or relax what else is demanded of it.",
                smallest=made.smallest,
            )
    return made


def least_cost(program: Program, items: np.ndarray | slice = slice(None)) -> int:
    """The least cost of some items."""
    open_ = np.where(program.allowed[items], program.cost[items], np.iinfo(np.int64).max)
    return int(open_.min(axis=1).sum())


def _check_open(
    profile: Profile, menu: Sequence[Option], allowed: np.ndarray, group: np.ndarray
) -> None:
    """Make sure that every unit, and every group of them, has an option left."""
    stuck = [unit.name for unit, row in zip(profile.units, allowed, strict=True) if not row.any()]
    hint = f"Widths on offer: {', '.join(option.key for option in menu)}."
    if stuck:
        raise ConstraintError(
            f"The constraints leave no width for {stuck[0]}"
            + (f" and {len(stuck) - 1} more." if len(stuck) > 1 else "."),
            hint,
        )
    for index in range(int(group.max()) + 1):
        mine = np.flatnonzero(group == index)
        if not allowed[mine].all(axis=0).any():
            raise ConstraintError(
                f"The constraints leave no common width for {profile.units[mine[0]].name} and "
                f"{len(mine) - 1} more, which are tied.",
                hint,
            )


def _check_ties(profile: Profile, members: np.ndarray, group: np.ndarray) -> None:
    """Make sure that no tie reaches out of a part with a budget of its own."""
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
    menu: Sequence[Option],
    constraints: Constraints,
    usable: np.ndarray,
    cost: np.ndarray,
    kept: int,
    form: Target,
) -> tuple[tuple[str, int], ...]:
    """Each demand in words, and the smallest size without it."""
    found = []
    for words, rest in constraints.without_each():
        allowed = allowed_options(profile, menu, rest) & usable
        group = tied_groups(profile.units, rest.ties, form.grain)
        total = np.zeros((int(group.max()) + 1, len(menu)), dtype=np.int64)
        np.add.at(total, group, cost)
        together = np.ones(total.shape, dtype=bool)
        np.logical_and.at(together, group, allowed)
        if together.any(axis=1).all():
            open_ = np.where(together, total, np.iinfo(np.int64).max)
            found.append((words, kept + int(open_.min(axis=1).sum())))
    return tuple(found)
