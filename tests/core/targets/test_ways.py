"""Ways to run a map: what is downloaded, what of it is weights, and what they take in memory."""

from __future__ import annotations

import dataclasses

import pytest

from genptq_core.allocation.memory import solve_within_memory
from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.errors import ConstraintError, InfeasibleError
from genptq_core.options import Option
from genptq_core.profile import Profile, bundled_profile
from genptq_core.targets import TARGETS, predicted_bytes
from genptq_core.targets.run_commands import commands, to_run
from genptq_core.targets.runtimes import GENPTQ, RUNTIMES
from genptq_core.targets.ways import as_fields, in_words, way_of, ways_for


@pytest.fixture(scope="module")
def tiny() -> Profile:
    return bundled_profile()


def test_every_runtime_of_a_target_is_known() -> None:
    for target in TARGETS.values():
        ways = ways_for(target, "whisper")
        assert ways and ways[0].form is None, target.name
        assert len({way.name for way in ways}) == len(ways)
    for runtime in RUNTIMES.values():
        assert runtime.targets or runtime.forms


def test_the_widest_form_that_fits_in_memory_is_taken(tiny: Profile) -> None:
    assert way_of(tiny).name == GENPTQ
    assert way_of(tiny, runs_in="transcribe.cpp").name == "transcribe.cpp:q8_0"
    forms = [way for way in ways_for(TARGETS["native"], "whisper") if way.form]
    forms = [way for way in forms if way.runtime.name == "transcribe.cpp"]
    sizes = [way.memory(tiny, ()) for way in forms]
    assert sizes == sorted(sizes, reverse=True)
    for way, size in zip(forms, sizes, strict=True):
        assert way_of(tiny, runs_in="transcribe.cpp", memory=size) == way
        assert way_of(tiny, runs_in=way.name, memory=size) == way
    with pytest.raises(InfeasibleError, match=rf"take {sizes[-1] / 1e6:.2f} MB") as caught:
        way_of(tiny, runs_in="transcribe.cpp", memory=sizes[-1] - 1)
    assert caught.value.smallest == sizes[-1]
    with pytest.raises(InfeasibleError, match=r"q8_0, which take.*--runs-in transcribe\.cpp:q5_1"):
        way_of(tiny, runs_in="transcribe.cpp:q8_0", memory=sizes[1])


def test_memory_is_that_of_the_runtimes_types(tiny: Profile) -> None:
    """As files of those types take: 43 MB of tiny.en in 8-bit blocks, 31.6 in Q5_1."""
    expected = {"q8_0": 43.0, "q5_1": 31.6, "q5_0": 29.3, "int8": 42.1, "float16": 75.5}
    for way in ways_for(TARGETS["native"], "whisper"):
        if way.form and way.runtime.name != "onnxruntime":
            size = way.memory(tiny, ()) / 1e6
            assert size == pytest.approx(expected[way.form.name], abs=0.06)
    assert way_of(tiny).memory(tiny, (Option(3),) * len(tiny.units)) == 4 * tiny.source.parameters


@pytest.mark.parametrize(
    ("target", "runs_in", "reason"),
    [
        (None, "toaster", "'toaster' does not run the target 'native'"),
        (None, "transcribe.cpp:q2_0", "does not run"),
        ("onnx", "transcribe.cpp", "What does: onnxruntime"),
        ("onnx", "onnxruntime:int8", "does not run"),
        ("toaster", "", "no target 'toaster'"),
    ],
)
def test_other_ways_are_refused_by_name(
    tiny: Profile, target: str | None, runs_in: str, reason: str
) -> None:
    with pytest.raises(ConstraintError, match=reason):
        way_of(tiny, target, runs_in)


def test_download_is_known_where_the_profile_knows_the_folder(tiny: Profile) -> None:
    options = (Option(4, 64),) * len(tiny.units)
    way = way_of(tiny, "native", "faster-whisper")
    bare = dataclasses.replace(tiny.source, overhead={})
    told = dataclasses.replace(tiny.source, overhead={"native": 1000})
    bare_sizes, sizes = (
        way.sizes(dataclasses.replace(tiny, source=source), options) for source in (bare, told)
    )
    assert bare_sizes.download is None and "not known" in in_words(bare_sizes, way)
    assert sizes.download == sizes.weights + 1000 == bare_sizes.weights + 1000
    assert f"{sizes.download / 1e6:.2f} MB to download" in in_words(sizes, way)
    assert as_fields(sizes, way)["runs_in"] == "faster-whisper:int8"
    assert sizes.memory == bare_sizes.memory


@pytest.mark.parametrize("target", ["native", "gguf", "onnx", "mlx", "compressed-tensors"])
def test_memories_of_many_maps_are_those_of_each(tiny: Profile, target: str) -> None:
    task = problem(tiny, target=target)
    sizes = [solve(task, size).options for size in (60_000_000, 90_000_000)]
    for way in ways_for(TARGETS[target], "whisper", tiny.source.overhead):
        taken = [predicted_bytes(TARGETS[target], tiny, options) for options in sizes]
        assert way.memories(tiny, sizes, taken) == [way.memory(tiny, one) for one in sizes]


def test_memory_bounds_a_map_of_the_runtimes_own_types(tiny: Profile) -> None:
    way = way_of(tiny, "onnx")
    task = problem(tiny, target="onnx")
    free = solve(task, 30_000_000)
    taken = way.memory(tiny, free.options)
    assert taken > predicted_bytes(TARGETS["onnx"], tiny, free.options)
    found = solve_within_memory(task, tiny, way, taken)
    assert way.memory(tiny, found.options) <= taken
    assert found.predicted_loss <= 1.02 * free.predicted_loss  # neither is proven to be the best
    less = solve_within_memory(task, tiny, way, taken, size=25_000_000)
    assert less.bytes <= 25_000_000
    with pytest.raises(InfeasibleError, match="at least") as caught:
        solve_within_memory(task, tiny, way, 1_000_000)
    assert caught.value.smallest > 1_000_000


def test_commands_name_folder_and_form(tiny: Profile) -> None:
    (line,) = commands(way_of(tiny), "a b")
    assert line == "genptq transcribe --model 'a b' talk.wav"
    unpack, run = commands(way_of(tiny, runs_in="transcribe.cpp:q5_1"), "DIR")
    assert unpack == "genptq unpack DIR --to gguf --width q5_1 --out DIR-transcribe.cpp-q5_1"
    assert run.startswith("python -c ") and "DIR-transcribe.cpp-q5_1" in run
    assert to_run((unpack, run)).splitlines() == ["To run it:", unpack, run]
