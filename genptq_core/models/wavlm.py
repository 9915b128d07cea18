"""WavLM's attention, computed by calling its Linear modules.

`transformers` hands their weights to one function of torch instead, so that nothing that hooks on a
module (second moments of inputs, weights made layer by layer) would see them.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


def call_linear_modules(module: nn.Module) -> None:
    """Let every attention of a WavLM call its modules, in place; other models have none."""
    for part in module.modules():
        if isinstance(part, WavLMAttention):
            part.torch_multi_head_self_attention = MethodType(_attend, part)  # type: ignore[method-assign]


def _attend(
    attention: Any, states: Tensor, mask: Tensor | None, position_bias: Tensor
) -> tuple[Tensor, None]:
    """Softmax attention with a bias on its scores.

    Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing"
    (2022), section III-B.

    Args:
        attention: holds the modules.
        states: (batch, frames, features).
        mask: (batch, frames), 0 where there is padding; None for none.
        position_bias: (batch * heads, frames, frames).

    Returns:
        (batch, frames, features), and no weights.
    """
    batch, frames, width = states.shape
    shape = (batch, frames, attention.num_heads, attention.head_dim)
    query, key, value = (
        project(states).view(shape).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = attention.scaling * query @ key.transpose(2, 3)
    scores = scores + position_bias.view(batch, -1, frames, frames)
    if mask is not None:
        scores = scores.masked_fill(mask.eq(0)[:, None, None], -torch.inf)
    heard = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, frames, width)
    return attention.out_proj(heard), None
