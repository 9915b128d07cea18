"""Greedy decoding of a batch by a decoder with a cache, rows leaving the batch as they end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

_WORTH_MOVING = 0.75  # if fewer of the rows still run, copying the cache takes less time


def greedy(
    module: Any,
    states: Tensor,
    prompt: Sequence[int],
    ends: Collection[int],
    most: int,
    *,
    never: Sequence[int] = (),
    not_first: Sequence[int] = (),
) -> list[list[int]]:
    """The likeliest token at each step, as `generate` of transformers gives with one beam.

    There a batch takes as long as its longest row. Here rows leave the batch when they end, which
    saves time when a model that was rounded too far writes without end on a few utterances.

    Args:
        module: an encoder-decoder of transformers with `model.decoder` and `proj_out`.
        states: encoder states, shape (batch, frames, features).
        prompt: tokens before the first that is decided.
        ends: tokens, any of which ends a row.
        most: most tokens in a row, including the end.
        never: tokens that must not be written.
        not_first: tokens that must not be written first.

    Returns:
        The tokens of each row, with the end if it was written.
    """
    config = module.config
    cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    barred = states.new_zeros(config.vocab_size)
    barred[list(never)] = -torch.inf
    barred_first = barred.clone()
    barred_first[list(not_first)] = -torch.inf
    rows: list[list[int]] = [[] for _ in states]
    places = list(range(len(states)))  # index in `rows` of each row of the batch
    running = set(places)
    tokens = torch.tensor([list(prompt)] * len(states), device=states.device)
    for step in range(most):
        hidden = module.model.decoder(
            input_ids=tokens, encoder_hidden_states=states, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        scores = module.proj_out(hidden) + (barred if step else barred_first)
        tokens = scores.argmax(dim=-1, keepdim=True)
        for place, token in zip(places, tokens[:, 0].tolist(), strict=True):
            if place in running:
                rows[place].append(token)
                if token in ends:
                    running.discard(place)
        if not running:
            break
        if len(running) <= _WORTH_MOVING * len(places):
            kept = torch.tensor([i for i, p in enumerate(places) if p in running])
            kept = kept.to(states.device)
            cache.batch_select_indices(kept)
            states, tokens = states[kept], tokens[kept]
            places = [p for p in places if p in running]
    return rows
