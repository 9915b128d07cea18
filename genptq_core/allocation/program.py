"""The programme that solvers see: one option per item, costs within budgets, least loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .predicted_loss import QuadraticLoss


@dataclass(frozen=True)
class Program:
    """One option for each item, costs within budgets, least loss.

    Attributes:
        cost: of every option, shape (items, options), int64.
        loss: predicted loss over them.
        allowed: options open, shape (items, options), bool, at least one per item.
        members: disjoint sets of items with budgets of their own, shape (sets, items), bool.
        most: the cost that each set may take, shape (sets,), int64.
    """

    cost: np.ndarray
    loss: QuadraticLoss
    allowed: np.ndarray
    members: np.ndarray
    most: np.ndarray

    @cached_property
    def separable(self) -> np.ndarray:
        """Second-order loss of each option alone, infinite where it is closed: shape (items,
        options)."""
        return np.where(self.allowed, self.loss.separable, np.inf)

    @cached_property
    def columns(self) -> np.ndarray:
        """The loss's projections, one row per option, scaled so that products are cross terms:
        shape (items * options, rows)."""
        rows = self.loss.projections.reshape(len(self.loss.projections), -1)
        return np.ascontiguousarray(np.sqrt(1 - self.loss.shrinkage) * rows.T)

    @cached_property
    def own(self) -> np.ndarray:
        """Products between options of one item: shape (items, options, options)."""
        items, options = self.cost.shape
        by_item = self.columns.reshape(items, options, -1)
        return np.asarray(np.matmul(by_item, by_item.transpose(0, 2, 1)))

    @cached_property
    def rank(self) -> np.ndarray:
        """Place of each option by rising cost among those of its item: shape (items, options)."""
        return self.cost.argsort(axis=1, kind="stable").argsort(axis=1)

    @cached_property
    def set_of(self) -> np.ndarray:
        """The set of each item, -1 where it is in none: shape (items,)."""
        sets = np.full(len(self.cost), -1)
        for index, members in enumerate(self.members):
            sets[members] = index
        return sets

    def total(self, choices: np.ndarray) -> np.ndarray:
        """Cost of choices, shape (..., items) -> (...)."""
        return np.asarray(self.cost[np.arange(len(self.cost)), choices].sum(axis=-1))

    def keeps(self, choices: np.ndarray) -> np.ndarray:
        """Whether choices keep the sets' budgets, shape (..., items) -> (...)."""
        each = self.cost[np.arange(len(self.cost)), choices]
        return np.asarray((each @ self.members.T <= self.most).all(axis=-1))

    def slope(self, choice: np.ndarray) -> np.ndarray:
        """Loss of each option while the other items stay as chosen, up to a constant per item:
        shape (items, options)."""
        items, options = self.cost.shape
        rows = np.arange(items)
        total = self.columns[rows * options + choice].sum(axis=0)
        pull = (self.columns @ total).reshape(items, options) - self.own[rows, choice]
        return np.asarray(self.separable + pull)

    def slope_after(
        self, slope: np.ndarray, old: np.ndarray, new: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """The slope after some items changed their options: shape (items, options)."""
        slope = slope + (self.columns @ self.moved(old, new, items)).reshape(slope.shape)
        slope[items] -= self.own[items, new[items]] - self.own[items, old[items]]
        return slope

    def moved(self, old: np.ndarray, new: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How a change of some items moves the sum of chosen columns: shape (rows,)."""
        options = self.cost.shape[1]
        there, here = items * options + new[items], items * options + old[items]
        return np.asarray((self.columns[there] - self.columns[here]).sum(axis=0))

    def crossed(self, old: np.ndarray, new: np.ndarray, items: np.ndarray) -> float:
        """What a change of some items costs beyond the sum of what each costs alone."""
        moved = self.moved(old, new, items)
        own, at = self.own[items], np.arange(len(items))
        a, b = old[items], new[items]
        alone = own[at, a, a] + own[at, b, b] - 2 * own[at, a, b]
        return 0.5 * float(moved @ moved) - 0.5 * float(alone.sum())
