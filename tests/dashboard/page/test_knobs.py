"""Knobs, pins and links."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from dashboard.page import knobs as state
from genptq_core.allocation.problem import problem
from genptq_core.profile import Profile
from tests.core import synthetic

KNOBS = state.Knobs(
    model="a b&c",
    mode=state.BY_ACCURACY,
    size_mb=17.3,
    points=1.4,
    loss=0.07,
    min_bits=3,
    max_bits=8,
    pins="*fc1* = 4\n*embed* = 5",
    pick="0123456789",
    speech="abcdef0123",
    target="integer",
    beside="fedcba3210",
)


def test_a_link_restores_every_knob() -> None:
    address = state.link("http://127.0.0.1:8501/?mb=3", KNOBS)
    assert address.startswith("http://127.0.0.1:8501/?model=a+b%26c")
    found = state.from_params(parse_qs(urlsplit(address).query), state.Knobs("other"))
    assert found == KNOBS


def test_missing_and_malformed_parameters_come_from_the_fallback() -> None:
    fallback = state.Knobs("m", size_mb=20.0, min_bits=2)
    assert state.from_params({}, fallback) == fallback
    bad = {"mb": ["nan"], "points": ["x"], "by": ["magic"], "widths": ["3"], "loss": [""]}
    assert state.from_params(bad, fallback) == fallback
    for widths in (["3", "x"], ["nan", "8"], ["2", "3", "4"], ["-2", "8"], []):
        assert state.from_params({"widths": widths}, fallback) == fallback
    fractional = state.from_params({"widths": ["2.25", "16"]}, fallback)
    assert (fractional.min_bits, fractional.max_bits) == (2.25, 16)


def test_a_link_by_size_leaves_the_accuracy_out() -> None:
    params = state.to_params(state.Knobs("m", size_mb=12.5))
    assert params["mb"] == ["12.5"]
    assert "points" not in params


def test_session_and_parameters_agree() -> None:
    session = {
        "model": KNOBS.model,
        "by": KNOBS.mode,
        "mb": KNOBS.size_mb,
        "points": KNOBS.points,
        "loss": KNOBS.loss,
        "widths": (3, 8),
        "pins": KNOBS.pins,
        "pick": KNOBS.pick,
        "speech": KNOBS.speech,
        "target": KNOBS.target,
        "beside": KNOBS.beside,
    }
    assert state.from_session(session, state.Knobs("x")) == KNOBS


def test_the_size_slider_holds_every_map() -> None:
    for width in (4, 16, 256):
        made = synthetic.profile(0, units=12, width=width)
        sizes = state.size_range(made)
        costs = synthetic.native_bytes(made)
        smallest = (synthetic.native_kept(made) + costs.min(axis=1).sum()) / 1e6
        largest = (synthetic.native_kept(made) + costs.max(axis=1).sum()) / 1e6
        assert sizes.values[0] >= smallest
        assert sizes.values[-1] >= largest
        assert list(sizes.values) == sorted(set(sizes.values))
        assert 3 <= len(sizes.values) < 2000
        assert len({sizes.text(value) for value in sizes.values}) == len(sizes.values)
        assert sizes.clip(0) == sizes.values[0]
        assert sizes.clip(1e9) == sizes.values[-1]
        middle = sizes.clip((smallest + largest) / 2)
        assert middle >= (smallest + largest) / 2
        assert sizes.clip(middle) == middle


def test_the_whole_menu_is_no_constraint(profile: Profile) -> None:
    free = state.constraints(state.Knobs("m", min_bits=2, max_bits=16), profile.menu)
    assert (free.min_bits, free.max_bits, free.pins) == (None, None, ())
    some = state.constraints(state.Knobs("m", min_bits=3, max_bits=8, pins="*=4"), profile.menu)
    assert (some.min_bits, some.max_bits, some.pins) == (3, 8, (("*", 4),))


def test_each_format_has_sizes_of_its_own(formats: Profile) -> None:
    for target in ("native", "integer"):
        task = problem(formats, target=target)
        sizes = state.size_range(formats, target)
        assert sizes.values[0] >= task.smallest / 1e6 > sizes.values[0] * 0.97
        assert task.smallest < sizes.usual < 1e6 * sizes.values[-1]
        assert state.widths(task.menu)[-1] == 16
    assert state.widths(formats.menu) == (1.5, 2, 2.25, 3, 4, 6, 8, 16)
    assert state.size_range(formats) == state.size_range(formats, "native")
    limits = state.constraints(state.Knobs("m", min_bits=2.25, max_bits=16), formats.menu)
    assert (limits.min_bits, limits.max_bits) == (2.25, None)
