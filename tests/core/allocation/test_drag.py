"""What is shown during a drag is within the budget, and close to the exact answer."""

from __future__ import annotations

import numpy as np
import pytest

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.drag import ANSWERED, NEGLIGIBLE, drag_table
from genptq_core.allocation.front import predicted_front
from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.profile import JSON_NAME, load_profile
from genptq_core.storage.locations import bundled_profiles
from tests.core import synthetic

RUINED = 0.3
"""Predicted loss, nats per token, at which tiny.en writes a third of its words wrong."""

TINY = bundled_profiles() / "whisper-tiny.en"


@pytest.mark.skipif(not (TINY / JSON_NAME).is_file(), reason="the bundled profile is not here")
@pytest.mark.parametrize(
    ("target", "limits"),
    [
        ("native", Constraints()),
        ("native", Constraints(pins=(("*fc1*", 4.0),), ties=("block:*decoder*attn*",))),
    ],
)
def test_a_drag_is_within_the_budget_and_near_the_exact_answer(
    target: str, limits: Constraints
) -> None:
    task = problem(load_profile(TINY), limits, target=target)
    front = predicted_front(task)
    table = drag_table(task, front, ANSWERED // (1 if limits == Constraints() else 3))
    assert (np.diff(table.bytes) > 0).all() and (np.diff(table.loss) < 0).all()
    assert np.array_equal(task.bytes(table.choices), table.bytes)
    assert np.allclose(task.loss(table.choices), table.loss)
    assert len(table.bytes) <= 1000
    rng = np.random.default_rng(0)
    ends = np.log(table.bytes[[0, -1]].astype(float))
    for budget in np.exp(rng.uniform(*ends, 8)).astype(int):
        point = table.at(int(budget))
        assert table.bytes[point] <= budget
        exact = solve(task, int(budget)).predicted_loss
        most = 1.05 if exact < RUINED else 1.15
        assert max(table.loss[point], NEGLIGIBLE) <= most * max(exact, NEGLIGIBLE)


def test_every_size_has_a_point_and_its_continuous_widths() -> None:
    task = synthetic.problem(3, units=12)
    table = drag_table(task, predicted_front(task))
    assert table.bytes[0] == task.smallest
    assert table.at(0) == 0 and table.at(10**12) == len(table.bytes) - 1
    assert table.relaxed_bits.shape == (len(table.relaxed_bytes), 12)
    assert (np.diff(table.relaxed_bytes) > 0).all()
    low, high = min(task.widths), max(task.widths)
    assert (table.relaxed_bits >= low - 1e-5).all() and (table.relaxed_bits <= high + 1e-5).all()
