"""Hooks: moments of the inputs that weights are multiplied by, and divergence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from genptq_core.models.divergence import divergence
from genptq_core.profiling.hooks import SecondMoments


class _Small(nn.Module):
    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 5, kernel, stride, padding, bias=False)
        self.linear = nn.Linear(5, 4, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(inputs).transpose(1, 2))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (4, 3, 0), (1, 1, 0)]
)
def test_moments_give_the_energy_of_any_errors_outputs(
    kernel: int, stride: int, padding: int
) -> None:
    """For weights W and inputs x, the sum of |W x|^2 is tr(W H W^T), convolutions included."""
    torch.manual_seed(0)
    module = _Small(kernel, stride, padding).double()
    units = [SimpleNamespace(inputs="conv"), SimpleNamespace(inputs="linear")]
    model = SimpleNamespace(module=module, units=units)
    outputs: dict[str, float] = {"conv": 0.0, "linear": 0.0}
    for name in outputs:
        layer = module.get_submodule(name)
        layer.register_forward_hook(
            lambda _, __, out, name=name: outputs.__setitem__(
                name, outputs[name] + float(out.square().sum())
            )
        )
    sums: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for length in (20, 31):
            with SecondMoments(model, sums):  # type: ignore[arg-type]
                module(torch.randn(2, 3, length).double())
    for name, energy in outputs.items():
        weight = module.get_parameter(f"{name}.weight").detach().flatten(1)
        assert float((weight @ sums[name] * weight).sum()) == pytest.approx(energy, rel=1e-9)


def test_divergence_is_the_mean_over_decisions() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    wanted = float((p * (p / q).log()).sum()) / 3
    reference, changed = [p.log(), p[:1].log()], [q.log(), p[:1].log()]
    assert divergence(reference, changed) == pytest.approx(wanted)
    assert divergence(reference, reference) == pytest.approx(0.0, abs=1e-9)


def test_a_run_ends_where_the_last_wanted_input_is_heard() -> None:
    torch.manual_seed(0)
    module = _Small(3, 1, 1)
    ran: list[str] = []
    for name in ("conv", "linear"):
        module.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    model = SimpleNamespace(module=module, units=[])
    inputs = [torch.randn(1, 3, 7), torch.randn(1, 3, 9)]
    whole: dict[str, torch.Tensor] = {}
    with SecondMoments(model, whole, ["conv"]):  # type: ignore[arg-type]
        for batch in inputs:
            module(batch)
    assert ran == ["conv", "linear"] * 2
    ran.clear()
    short: dict[str, torch.Tensor] = {}
    for batch in inputs:
        with SecondMoments(model, short, ["conv"], stop=True):  # type: ignore[arg-type]
            module(batch)
    assert ran == []
    assert short.keys() == whole.keys() and torch.equal(short["conv"], whole["conv"])
    with pytest.raises(RuntimeError), SecondMoments(model, {}, ["linear"], stop=True):  # type: ignore[arg-type]
        module(torch.randn(1, 4, 7))  # other faults are not swallowed
