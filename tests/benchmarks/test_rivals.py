"""The rivals: close, as many values as codes, bytes by the formula, and the best under a size."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import rival_allocation, rival_libraries, rivals
from benchmarks.rival_libraries import LIBRARIES, Library, Scheme
from genptq_core.errors import GenPTQError
from genptq_core.loading import load_model
from genptq_core.options import Option
from genptq_core.targets.native import unit_bytes
from genptq_core.units import Unit

PACKAGES = {"hqq": "hqq", "quanto": "optimum.quanto", "torchao": "torchao"}
ROWS, COLUMNS = 48, 384


def usable(name: str) -> Library:
    """A library, or a skip where its package is missing."""
    if name in PACKAGES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(PACKAGES[name], reason="pip install -r requirements-bench.txt")
    return LIBRARIES[name]


def schemes(name: str) -> list[Scheme]:
    library = LIBRARIES[name]
    return [
        Scheme(bits, size, variant)
        for variant in library.variants
        for bits in library.widths
        for size in (64, None)
        if library.offers(Scheme(bits, size, variant), COLUMNS)
    ]


METHODS = [(name, variant) for name, library in LIBRARIES.items() for variant in library.variants]


@pytest.fixture(scope="module")
def weight() -> Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)) * 0.05


@pytest.mark.parametrize(("name", "variant"), METHODS)
def test_a_matrix_is_close_and_has_no_more_values_a_group_than_codes(
    name: str, variant: str, weight: Tensor
) -> None:
    library = usable(name)
    before = weight.clone()
    for scheme in schemes(name):
        if scheme.variant != variant:
            continue
        found = library.quantize(weight, scheme, torch.eye(COLUMNS))
        assert type(found) is Tensor
        assert found.dtype == torch.float32
        assert found.shape == weight.shape
        assert torch.equal(weight, before)
        # As far as the coarsest method goes, which is symmetric from end to end.
        error = float((found - weight).norm() / weight.norm())
        assert error < 2.2 * 2.0**-scheme.bits + 0.15 * (scheme.bits == 2), scheme
        size = scheme.group_size or COLUMNS
        across = variant == "across rows"
        groups = found.reshape(size, -1).T if across else found.reshape(-1, size)
        assert max(len(group.unique()) for group in groups) <= 2**scheme.bits, scheme


@pytest.mark.parametrize(
    ("name", "scheme", "bits_a_group"),
    [
        ("rtn", Scheme(3, 64, "asymmetric"), 16 + 3),
        ("gptq", Scheme(4, 128, "asymmetric, clipping searched"), 16 + 4),
        ("hqq", Scheme(3, 64, "along rows"), 16 + 16),
        ("hqq", Scheme(5, None, "across rows"), 16 + 16),
        ("quanto", Scheme(4, 32, "range"), 16 + 16),
        ("quanto", Scheme(8, None, "range"), 16),
        ("torchao", Scheme(3, 64, "asymmetric"), 16 + 8),
        ("torchao", Scheme(3, 64, "symmetric"), 16),
    ],
)
def test_bytes_are_dense_codes_and_what_goes_with_each_group(
    name: str, scheme: Scheme, bits_a_group: int
) -> None:
    groups = ROWS * (COLUMNS // (scheme.group_size or COLUMNS))
    expected = (ROWS * COLUMNS * scheme.bits + groups * bits_a_group) / 8
    assert LIBRARIES[name].matrix_bytes(ROWS, COLUMNS, scheme) == expected


def _unit(
    name: str,
    start: int,
    stop: int,
    *,
    columns: int = COLUMNS,
    part: str = "encoder",
    block: int = 0,
    inputs: str,
) -> Unit:
    return Unit(
        name=name,
        parameter=name.partition("@")[0],
        start=start,
        stop=stop,
        columns=columns,
        part=part,
        kind="embedding" if part == "embedding" else "attention",
        block=block,
        inputs=inputs,
    )


def test_our_own_bytes_are_those_of_the_native_format() -> None:
    unit = _unit("w", 0, ROWS, inputs="w")
    for scheme in schemes("rtn"):
        size = scheme.group_size or COLUMNS
        expected = unit_bytes(unit, Option(scheme.bits, size))
        assert LIBRARIES["rtn"].matrix_bytes(ROWS, COLUMNS, scheme) == expected


def test_a_range_grid_spans_each_group() -> None:
    weight = torch.tensor([[-1.0, 0.0, 2.0, 1.0, 0.5, 0.5, 0.25, 1.5]])
    grid = rival_libraries.range_grid(weight, 2, 4)
    assert torch.equal(grid.scale, torch.tensor([[1.0, 0.5]]))
    assert torch.equal(grid.zero, torch.tensor([[1.0, 0.0]]))


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(GenPTQError, match=r"no-such-package .*requirements-bench\.txt"):
        rival_libraries.need("no_such_package", "no-such-package")


@pytest.fixture
def model() -> Any:
    """An embedding in two blocks of rows, and two other matrices."""
    torch.manual_seed(1)
    module = nn.Module()
    module.embed = nn.Embedding(96, COLUMNS)
    module.wide = nn.Linear(COLUMNS, 32)
    module.long = nn.Linear(4 * COLUMNS, 8)
    units = (
        _unit("wide.weight", 0, 32, inputs="wide"),
        _unit("long.weight", 0, 8, columns=4 * COLUMNS, part="decoder", inputs="long"),
        _unit("embed.weight@0:32", 0, 32, part="embedding", inputs="out"),
        _unit("embed.weight@32:96", 32, 96, part="embedding", block=1, inputs="out"),
    )
    return SimpleNamespace(module=module, units=units)


WEIGHTS = 96 * COLUMNS + 2 * 32 * COLUMNS
HESSIANS = {"wide": torch.eye(COLUMNS), "long": torch.eye(4 * COLUMNS), "out": torch.eye(COLUMNS)}


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_best_under_a_size_fits_it_and_covers_every_weight(name: str, model: Any) -> None:
    library = usable(name)
    before = copy.deepcopy(model.module.state_dict())
    for bits in (2.5, 3.27, 3.46, 3.84, 4.31, 9.5):
        room = int(WEIGHTS * bits / 8)
        rival = rivals.best_under(name, model, HESSIANS, room)
        assert rival is not None
        assert rival.bytes <= room
        assert set(rival.weights) == {"wide.weight", "long.weight", "embed.weight"}
        widths = set(rival.bits.values())
        places = sorted(library.widths.index(width) for width in widths)
        assert places[-1] - places[0] <= 1
        # Its narrowest is as wide as any that fits, and of those it has the most bytes.
        settings = rivals.settings_under(library, model, room)
        assert rival.bytes == settings[0].bytes == max(s.bytes for s in settings)
        assert {min(s.embedding.bits, s.rest.bits) for s in settings} == {min(widths)}
    assert all(torch.equal(before[k], v) for k, v in model.module.state_dict().items())


def test_a_size_that_nothing_fits_has_no_rival(model: Any) -> None:
    for name in LIBRARIES:
        assert rivals.best_under(name, model, HESSIANS, WEIGHTS * 2 // 8) is None


def test_mixed_widths_fill_a_size_and_settings_name_them(model: Any) -> None:
    rival = rivals.best_under("rtn", model, {}, int(WEIGHTS * 3.91 / 8))
    assert rival is not None
    assert rival.bits == {"embed.weight": 4, "wide.weight": 3, "long.weight": 3}
    assert rival.settings == (
        "embedding 4 bits, groups of 64; rest 3 bits, groups of 64; asymmetric"
    )
    rival = rivals.best_under("rtn", model, {}, int(WEIGHTS * (4 + 20 / 64) / 8))
    assert rival is not None
    assert rival.settings == "4 bits, groups of 64, asymmetric"
    assert rival.bytes == WEIGHTS * (4 + 20 / 64) / 8


def test_a_judge_chooses_among_the_settings(model: Any) -> None:
    room = int(WEIGHTS * 3.91 / 8)
    original = model.module.get_parameter("wide.weight").detach()

    def wide_error(weights: Mapping[str, Tensor]) -> float:
        return float((weights["wide.weight"] - original).norm())

    rival = rivals.best_under("rtn", model, {}, room, judge=wide_error)
    assert rival is not None
    assert rival.bits == {"embed.weight": 3, "wide.weight": 4, "long.weight": 4}


def test_names_are_checked(model: Any) -> None:
    with pytest.raises(ValueError, match="nobody is not one of rtn, gptq, hqq"):
        rivals.best_under("nobody", model, {}, 1)
    with pytest.raises(ValueError, match="search_widths"):
        rivals.best_under("modelopt", model, {}, 1)


def test_modelopt_allocates_widths_that_fit_and_leaves_the_model_alone(
    random_whisper: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(
            "modelopt.torch.quantization", reason="pip install -r requirements-bench.txt"
        )
    model = load_model(str(random_whisper))
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    noise = np.random.default_rng(0).normal(0, 0.05, 8000).astype(np.float32)
    search = rival_allocation.search_widths(model, [noise], group_size=16)
    matrices = {unit.parameter for unit in model.units if unit.kind != "convolution"}
    assert set(search.weights) == matrices
    weights = sum(search.weights.values())
    hessians = {unit.inputs: torch.eye(unit.columns) for unit in model.units}
    sizes = []
    for bits in (4.0, 6.0, 9.0):
        room = int(weights * bits / 8)
        rival = rivals.best_under("modelopt", model, hessians, room, search=search)
        assert rival is not None
        assert rival.bytes <= room
        assert set(rival.bits.values()) <= {*rival_allocation.WIDTHS, 16}
        assert set(rival.weights) == set(rival.bits) == matrices
        sizes.append(rival.bytes)
    assert sizes == sorted(sizes)
    assert rivals.best_under("modelopt", model, hessians, weights * 2 // 8, search=search) is None
    after = dict(model.module.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
