"""What tools of one width for all matrices would store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genptq_core.allocation.uniform_tools import UNIFORM_TOOLS, uniform_bytes, uniform_points
from genptq_core.options import Option
from genptq_core.profile import Profile, bundled_profile

TOOLS = {tool.way: tool for tool in UNIFORM_TOOLS}


@pytest.fixture(scope="module")
def tiny() -> Profile:
    return bundled_profile()


@pytest.mark.parametrize("way", ["int8_float32", "int8_float16"])
def test_ctranslate2_stores_as_many_bytes(tiny: Profile, way: str) -> None:
    """CTranslate2's own converter is the oracle, to the byte."""
    pytest.importorskip("ctranslate2")
    from ctranslate2.converters.transformers import WhisperLoader
    from ctranslate2.specs import model_spec

    from genptq_core.models import bundled

    module, *_ = bundled.load()
    spec = WhisperLoader().get_model_spec(module)
    model_spec.LayerSpec.validate(spec)
    spec.optimize(way)
    stored = [value for _, value in spec.variables(ordered=True) if not isinstance(value, str)]
    size = sum(value.numpy().nbytes for value in stored if not value.is_scalar())
    assert uniform_bytes(TOOLS[way], tiny) == size


@pytest.mark.parametrize(("way", "block"), [("q8_0", 34), ("q5_0", 22), ("q4_0", 18)])
def test_whisper_cpp_stores_blocks(tiny: Profile, way: str, block: int) -> None:
    convolutions = sum(u.weights for u in tiny.units if u.kind == "convolution")
    matrices = sum(u.weights for u in tiny.units) - convolutions
    rest = tiny.source.parameters - convolutions - matrices
    assert convolutions and rest > tiny.source.derived, "positions are stored too"
    expected = matrices // 32 * block + 2 * convolutions + 4 * rest
    assert uniform_bytes(TOOLS[way], tiny) == expected
    narrow = replace(tiny, units=(replace(tiny.units[3], columns=40), *tiny.units[1:]))
    assert uniform_bytes(TOOLS[way], narrow) is None, "a block must be whole"


def test_losses_come_from_the_nearest_rounding(tiny: Profile) -> None:
    points = {point.tool.way: point for point in uniform_points(tiny)}
    assert set(points) == set(TOOLS)
    assert points["q5_0"].option == Option(5, 32)
    widest = max(o.group_size for o in tiny.menu if o.bits == 8)
    assert points["int8_float16"].option == Option(8, widest)
    assert 0 < points["q8_0"].loss < points["q5_0"].loss < points["q4_0"].loss
    assert points["q8_0"].bytes > points["q5_0"].bytes > points["q4_0"].bytes
    assert all(point.exact for point in points.values())


def test_tools_are_offered_for_what_they_read(tiny: Profile) -> None:
    heard = replace(tiny, source=replace(tiny.source, family="wav2vec2"))
    found = uniform_points(heard)
    assert {point.tool.tool for point in found} == {"CTranslate2"}
    assert not any(point.exact for point in found)
    other = replace(tiny, source=replace(tiny.source, family="parakeet_ctc"))
    assert uniform_points(other) == ()
