"""MLX: which options it holds, and their bytes."""

from __future__ import annotations

import dataclasses

import pytest

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ConstraintError
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import load_profile
from genptq_core.storage.locations import bundled_profiles
from genptq_core.targets import TARGETS, check_holds, why_not_held
from genptq_core.targets.mlx import GROUPS, WIDTHS, holds, unit_bytes
from tests.core import synthetic

UNIT = synthetic.units(1, width=128)[0]


def test_a_unit_costs_its_codes_and_32_bits_a_group() -> None:
    assert unit_bytes(UNIT, Option(16)) == 128 * 128 * 2
    assert unit_bytes(UNIT, Option(3, 64)) == 128 * (128 * 3 // 8 + 2 * 4)
    assert unit_bytes(UNIT, Option(6, 32)) == 128 * (128 * 6 // 8 + 4 * 4)


def test_it_holds_mlx_s_widths_and_groups_where_they_divide_a_row() -> None:
    narrow = dataclasses.replace(UNIT, columns=96)
    for option in (Option(w, g) for w in range(1, 9) for g in (8, 16, *GROUPS, 256)):
        known = option.bits in WIDTHS and option.group_size in GROUPS
        assert holds(UNIT, option) == known
        assert holds(narrow, option) == (known and option.group_size == 32)
    assert not holds(UNIT, Option(3)) and holds(UNIT, UNQUANTIZED)
    assert not holds(dataclasses.replace(UNIT, kind="convolution"), Option(4, 64))


def test_solved_maps_keep_the_embedding_in_one_piece() -> None:
    profile = load_profile(bundled_profiles() / "whisper-tiny.en")
    task = problem(profile, target="mlx")
    solved = solve(task, 24_000_000)
    assert solved.bytes <= 24_000_000
    by_unit = list(zip(profile.units, solved.options, strict=True))
    assert len({option for unit, option in by_unit if unit.part == "embedding"}) == 1
    assert {o for u, o in by_unit if u.kind == "convolution"} == {UNQUANTIZED}
    check_holds(TARGETS["mlx"], profile, solved.options)
    mixed = list(solved.options)
    mixed[-1] = Option(2, 128)
    assert "needs model.decoder.embed_tokens.weight@" in str(
        why_not_held(TARGETS["mlx"], profile, bit_map(profile, mixed).options)
    )


def test_conformers_are_refused_by_name() -> None:
    profile = load_profile(bundled_profiles() / "conformer-an4")
    with pytest.raises(ConstraintError, match="'mlx' cannot hold 'parakeet_ctc' models"):
        problem(profile, target="mlx")
