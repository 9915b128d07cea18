"""Tokens for times: held to the rules of transformers, and cut into parts of a window."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from genptq_core.models.greedy import _hold_to
from genptq_core.models.timestamps import Segment, Timestamps

END, SILENT, SIZE = 8, 11, 90
TIMES = Timestamps(first=SILENT + 1, stop=SIZE, ends=(END,))
SAID = SimpleNamespace(
    no_timestamps_token_id=SILENT,
    eos_token_id=END,
    bos_token_id=END,
    max_initial_timestamp_index=50,
)
TOKENS = st.lists(st.integers(0, END - 1) | st.integers(TIMES.first, SIZE - 1), max_size=8)


@given(TOKENS, st.integers(0, 2**31))
def test_the_rules_are_those_of_transformers(written: list[int], seed: int) -> None:
    scores = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(seed)) * 3
    scores[:, SILENT] = -torch.inf
    own = WhisperTimeStampLogitsProcessor(SAID, begin_index=1)  # type: ignore[arg-type]
    wanted = own(torch.tensor([[SILENT, *written]]), scores)
    _hold_to(TIMES, scores, [written])
    assert torch.equal(scores, wanted)


def t(seconds: float) -> int:
    return TIMES.first + round(seconds / 0.02)


@pytest.mark.parametrize(
    ("written", "parts", "advance"),
    [
        # two parts, and a third that the window cuts: the next window begins with it
        (
            [t(0), 1, 2, t(0.5), t(0.6), 3, t(1.0), t(1.0), 4, END],
            [Segment(0.0, 0.5, (1, 2)), Segment(0.6, 1.0, (3,))],
            1.0,
        ),
        # an end without a next start: nothing more is heard
        (
            [t(0), 1, t(0.5), t(0.5), 2, t(1.2), END],
            [Segment(0.0, 0.5, (1,)), Segment(0.5, 1.2, (2,))],
            30.0,
        ),
        ([t(0.2), 1, t(0.8), END], [Segment(0.0, 0.8, (1,))], 30.0),
        ([t(0), 1, 2, 3], [Segment(0.0, 30.0, (1, 2, 3))], 30.0),  # no end: it looped
        ([t(0), END], [Segment(0.0, 30.0, ())], 30.0),
    ],
)
def test_parts_of_a_window(written: list[int], parts: list[Segment], advance: float) -> None:
    found, following = TIMES.segments(written, 30.0)
    assert [(p.start, p.stop, p.tokens) for p in found] == [
        (pytest.approx(p.start), pytest.approx(p.stop), p.tokens) for p in parts
    ]
    assert following == pytest.approx(advance)


@given(st.lists(st.integers(0, SIZE), max_size=12), st.floats(0.05, 30))
def test_any_window_moves_on(draws: list[int], seconds: float) -> None:
    written: list[int] = []
    for draw in draws:  # what the rules leave, as decoding does
        scores = torch.zeros(SIZE)
        scores[END + 1 : TIMES.first] = -torch.inf
        for part in TIMES.barred(written):
            scores[part] = -torch.inf
        left = torch.isfinite(scores).nonzero()[:, 0].tolist()
        written.append(left[draw % len(left)])
        if written[-1] == END:
            break
    parts, advance = TIMES.segments(written, seconds)
    assert 0 < advance <= seconds
    assert all(0 <= part.start <= part.stop <= seconds for part in parts)
    said = [token for part in parts for token in part.tokens]
    assert said == [token for token in written if token < END][: len(said)]
