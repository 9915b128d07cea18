"""An LSTM whose matrices' inputs can be seen: those of each layer, and its states.

`nn.LSTM` computes all layers in one function. Here each layer's inputs, and the states that come
back to it, pass through modules that do nothing, where hooks find them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]
"""Hidden states and cells of all layers, each (layers, batch, features)."""


class SeenLstm(nn.LSTM):
    """An LSTM that shares the parameters of another one, under the same names.

    Its `inputs` and `states` hold a module for each layer.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__(
            lstm.input_size,
            lstm.hidden_size,
            lstm.num_layers,
            batch_first=True,
            device="meta",
        )
        for name, parameter in lstm.named_parameters():
            setattr(self, name, parameter)
        layers = range(lstm.num_layers)
        self.inputs = nn.ModuleList(nn.Identity() for _ in layers)
        self.states = nn.ModuleList(nn.Identity() for _ in layers)

    def forward(  # type: ignore[override]
        self, x: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Outputs of the last layer, (batch, steps, features), and the state after the last step.

        Args:
            x: (batch, steps, features).
            state: before the first step; zeros by default.
        """
        if state is None:
            zeros = x.new_zeros(self.num_layers, len(x), self.hidden_size)
            state = (zeros, zeros)
        hidden, cells = [], []
        for layer in range(self.num_layers):
            h, c = (part[layer : layer + 1] for part in state)
            weights = [
                getattr(self, f"{name}_l{layer}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            # In training mode, which without dropout changes nothing: cuDNN demands it of what is
            # differentiated.
            y, last_h, last_c = torch.lstm(
                self.inputs[layer](x),
                (h, c),
                weights,
                has_biases=True,
                num_layers=1,
                dropout=0.0,
                train=True,
                bidirectional=False,
                batch_first=True,
            )
            self.states[layer](torch.cat([h.transpose(0, 1), y[:, :-1]], dim=1))
            hidden.append(last_h)
            cells.append(last_c)
            x = y
        return x, (torch.cat(hidden), torch.cat(cells))
