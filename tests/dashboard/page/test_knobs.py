"""Knobs, pins and links."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from dashboard.page import knobs
from genptq_core.allocation.problem import problem
from genptq_core.profile import Profile
from tests.core import synthetic

KNOBS = knobs.Knobs(
    model="a b&c",
    mode=knobs.BY_ACCURACY,
    size_mb=17.3,
    points=1.4,
    loss=0.07,
    min_bits=3,
    max_bits=8,
    pins="*fc1* = 4\n*embed* = 5",
    pick="0123456789",
    speech="abcdef0123",
    target="integer",
    second="fedcba3210",
)


def test_a_link_restores_every_knob() -> None:
    address = knobs.link("http://127.0.0.1:8501/?mb=3", KNOBS)
    assert address.startswith("http://127.0.0.1:8501/?model=a+b%26c")
    restored = knobs.from_params(parse_qs(urlsplit(address).query), knobs.Knobs("other"))
    assert restored == KNOBS


def test_links_call_the_second_speech_set_beside_as_ever() -> None:
    assert knobs.to_params(KNOBS)["beside"] == ["fedcba3210"]
    old = knobs.from_params({"beside": ["0123456789"]}, knobs.Knobs("m"))
    assert old.second == "0123456789"


def test_missing_and_malformed_parameters_come_from_the_fallback() -> None:
    fallback = knobs.Knobs("m", size_mb=20.0, min_bits=2)
    assert knobs.from_params({}, fallback) == fallback
    bad = {"mb": ["nan"], "points": ["x"], "by": ["magic"], "widths": ["3"], "loss": [""]}
    assert knobs.from_params(bad, fallback) == fallback
    for widths in (["3", "x"], ["nan", "8"], ["2", "3", "4"], ["-2", "8"], []):
        assert knobs.from_params({"widths": widths}, fallback) == fallback
    fractional = knobs.from_params({"widths": ["2.25", "16"]}, fallback)
    assert (fractional.min_bits, fractional.max_bits) == (2.25, 16)


def test_a_link_by_size_leaves_the_accuracy_out() -> None:
    params = knobs.to_params(knobs.Knobs("m", size_mb=12.5))
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
        "beside": KNOBS.second,
    }
    assert knobs.from_session(session, knobs.Knobs("x")) == KNOBS


def test_the_size_slider_holds_every_map() -> None:
    for width in (4, 16, 256):
        profile = synthetic.profile(0, units=12, width=width)
        sizes = knobs.size_range(profile)
        costs = synthetic.native_bytes(profile)
        smallest = (synthetic.native_kept(profile) + costs.min(axis=1).sum()) / 1e6
        largest = (synthetic.native_kept(profile) + costs.max(axis=1).sum()) / 1e6
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
    free = knobs.constraints(knobs.Knobs("m", min_bits=2, max_bits=16), profile.menu)
    assert (free.min_bits, free.max_bits, free.pins) == (None, None, ())
    some = knobs.constraints(knobs.Knobs("m", min_bits=3, max_bits=8, pins="*=4"), profile.menu)
    assert (some.min_bits, some.max_bits, some.pins) == (3, 8, (("*", 4),))


def test_each_format_has_sizes_of_its_own(formats: Profile) -> None:
    for target in ("native", "integer"):
        task = problem(formats, target=target)
        sizes = knobs.size_range(formats, target)
        assert sizes.values[0] >= task.smallest / 1e6 > sizes.values[0] * 0.97
        assert task.smallest < sizes.usual < 1e6 * sizes.values[-1]
        assert knobs.widths(task.menu)[-1] == 16
    assert knobs.widths(formats.menu) == (1.5, 2, 2.25, 3, 4, 6, 8, 16)
    assert knobs.size_range(formats) == knobs.size_range(formats, "native")
    limits = knobs.constraints(knobs.Knobs("m", min_bits=2.25, max_bits=16), formats.menu)
    assert (limits.min_bits, limits.max_bits) == (2.25, None)
