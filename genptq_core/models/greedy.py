"""Decoding of a batch by a decoder with a cache, rows leaving the batch as they end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from .timestamps import Timestamps

_WORTH_MOVING = 0.75  # if fewer of the rows still run, copying the cache takes less time

Choose = Callable[[Tensor], Tensor]
"""Takes a token of each row, (batch, 1), from scores (batch, vocabulary), -inf where barred."""


@dataclass(frozen=True)
class Written:
    """What was written for one row.

    Attributes:
        tokens: with the end if it was written.
        log_prob: sum of their log-probabilities among tokens that are not barred, nats; 0 if it
            was not asked for.
    """

    tokens: list[int]
    log_prob: float


def likeliest(scores: Tensor) -> Tensor:
    """The token with the highest score of each row."""
    return scores.argmax(dim=-1, keepdim=True)


def drawn(temperature: float, seed: Sequence[int]) -> Choose:
    """Draws tokens of a single row from the softmax of its scores over a temperature.

    Args:
        temperature: above 0.
        seed: whole numbers; the same give the same tokens for the same scores.
    """
    random = np.random.default_rng(list(seed))

    def choose(scores: Tensor) -> Tensor:
        row = scores[0].double().cpu().numpy() / temperature
        reached = np.exp(row - row.max()).cumsum()
        token = int(np.searchsorted(reached, random.random() * reached[-1], side="right"))
        return torch.tensor([[min(token, len(row) - 1)]], device=scores.device)

    return choose


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

    Returns:
        The tokens of each row, with the end if it was written; see `write` for the arguments.
    """
    rows = write(module, states, prompt, ends, most, never=never, not_first=not_first)
    return [row.tokens for row in rows]


def write(
    module: Any,
    states: Tensor,
    prompt: Sequence[int],
    ends: Collection[int],
    most: int,
    *,
    never: Sequence[int] = (),
    not_first: Sequence[int] = (),
    choose: Choose = likeliest,
    count: bool = False,
    times: Timestamps | None = None,
) -> list[Written]:
    """Write token after token.

    With `generate` of transformers a batch takes as long as its longest row. Here rows leave the
    batch when they end, which saves time when a model that was rounded too far writes without end
    on a few utterances.

    Args:
        module: an encoder-decoder of transformers with `model.decoder` and `proj_out`.
        states: encoder states, shape (batch, frames, features).
        prompt: tokens before the first that is decided.
        ends: tokens, any of which ends a row.
        most: most tokens in a row, including the end.
        never: tokens that must not be written.
        not_first: tokens that must not be written first.
        choose: takes the tokens.
        count: whether their log-probabilities are summed.
        times: the tokens for times, where these are written and their rules hold; none else.
    """
    config = module.config
    cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    barred = states.new_zeros(config.vocab_size)
    barred[list(never)] = -torch.inf
    barred_first = barred.clone()
    barred_first[list(not_first)] = -torch.inf
    rows: list[list[int]] = [[] for _ in states]
    sums = [0.0] * len(rows)
    places = list(range(len(states)))  # index in `rows` of each row of the batch
    running = set(places)
    tokens = torch.tensor([list(prompt)] * len(states), device=states.device)
    for step in range(most):
        hidden = module.model.decoder(
            input_ids=tokens, encoder_hidden_states=states, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        scores = module.proj_out(hidden) + (barred if step else barred_first)
        if times is not None:
            _hold_to(times, scores, [rows[place] for place in places])
        tokens = choose(scores)
        if count:
            likelihoods = scores.float().log_softmax(dim=-1).gather(1, tokens)[:, 0].tolist()
            for place, likelihood in zip(places, likelihoods, strict=True):
                sums[place] += likelihood if place in running else 0.0
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
    return [Written(row, total) for row, total in zip(rows, sums, strict=True)]


def _hold_to(times: Timestamps, scores: Tensor, rows: Sequence[Sequence[int]]) -> None:
    """Bar what the rules for times bar, in place: scores (batch, vocabulary) after these rows.

    Where all times together are likelier than the likeliest text, a time is written.
    """
    for row, written in zip(scores, rows, strict=True):
        for part in times.barred(written):
            row[part] = -torch.inf
        text = row[: times.first]
        if row[times.first : times.stop].logsumexp(0) > text.max():
            text.fill_(-torch.inf)
