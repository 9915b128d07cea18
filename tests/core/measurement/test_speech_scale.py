"""What a kind of speech loses next to what is predicted: the scale, and the files that keep it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.allocation.predicted_loss import quadratic_loss
from genptq_core.errors import ProfileError
from genptq_core.measurement.speech_scale import (
    FOLDER,
    Adapted,
    AdaptedMap,
    adapted_to,
    fitted,
    form_of,
    load_adapted,
    save_adapted,
    scale_for,
)
from genptq_core.options import Option
from genptq_core.profile import Profile
from tests.core import synthetic
from tests.examples import examples

_DIGEST = "5" * 64


def _made() -> Profile:
    return synthetic.profile(4, units=5, rates=(2, 3), group_size=8)


def _adapted(made: Profile, scales: dict[str, float], speech: str = "my/speech") -> Adapted:
    """Maps that lose a multiple of what is predicted, by the key of their option."""
    index = {option.key: i for i, option in enumerate(made.menu)}
    maps = []
    for key, scale in scales.items():
        choice = np.full(len(made.units), index[key])
        loss = float(quadratic_loss(made)(choice))
        maps.append(AdaptedMap((made.menu[index[key]],) * len(made.units), scale * loss))
    return Adapted(
        speech=speech,
        speech_digest=_DIGEST,
        profile_digest=made.digest,
        recordings=("1" * 64,),
        tokens=10,
        maps=tuple(maps),
    )


def test_each_form_has_its_scale_and_the_file_keeps_it(tmp_path: Path) -> None:
    made = _made()
    adapted = _adapted(made, {"2": 3.0, "3": 3.0, "3/8": 1.5})
    path = save_adapted(tmp_path, made, adapted)
    assert path.parent == tmp_path / FOLDER
    assert load_adapted(tmp_path, made) == [adapted] == [adapted_to(tmp_path, made, "my/speech")]
    coded = scale_for(tmp_path, made, _DIGEST, "coded")
    grid = scale_for(tmp_path, made, _DIGEST, "grid")
    assert coded is not None and grid is not None
    # Each is pulled towards what all maps lose.
    assert 0.025 < float(coded(0.01)) < 0.03
    assert 0.015 < float(grid(0.01)) < 0.022
    assert scale_for(tmp_path, made, "6" * 64, "grid") is None


def test_a_form_that_was_not_measured_has_the_scale_of_all(tmp_path: Path) -> None:
    made = _made()
    save_adapted(tmp_path, made, _adapted(made, {"3/8": 2.0}))
    scale = scale_for(tmp_path, made, _DIGEST, "coded")
    assert scale is not None and float(scale(0.1)) == pytest.approx(0.2)
    save_adapted(tmp_path, made, _adapted(made, {}))
    assert scale_for(tmp_path, made, _DIGEST, "coded") is None


def test_where_the_profile_cannot_be_written_the_cache_keeps_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made()
    monkeypatch.setattr("os.access", lambda *_: False)
    path = save_adapted(tmp_path, made, _adapted(made, {"2": 2.0}))
    assert cache in path.parents
    assert len(load_adapted(tmp_path, made)) == 1


def test_files_of_other_profiles_are_passed_over_and_damage_is_named(tmp_path: Path) -> None:
    made = _made()
    other = dataclasses.replace(_adapted(made, {"2": 2.0}), profile_digest="0" * 64)
    path = save_adapted(tmp_path, made, other)
    assert load_adapted(tmp_path, made) == []
    path.write_text(path.read_text().replace("my/speech", "your/speech"))
    with pytest.raises(ProfileError, match="damaged"):
        load_adapted(tmp_path, made)


def test_a_name_that_nobody_adapted_to_is_refused_with_those_there_are(tmp_path: Path) -> None:
    made = _made()
    with pytest.raises(ProfileError, match="no speech named 'x'"):
        adapted_to(tmp_path, made, "x")
    save_adapted(tmp_path, made, _adapted(made, {"2": 2.0}))
    with pytest.raises(ProfileError) as caught:
        adapted_to(tmp_path, made, "x")
    assert "my/speech" in caught.value.hint


def test_maps_that_do_not_fit_the_profile_are_refused(tmp_path: Path) -> None:
    made = _made()
    adapted = _adapted(made, {"2": 2.0})
    short = dataclasses.replace(adapted.maps[0], options=adapted.maps[0].options[:-1])
    save_adapted(tmp_path, made, dataclasses.replace(adapted, maps=(short,)))
    with pytest.raises(ProfileError, match="do not fit"):
        scale_for(tmp_path, made, _DIGEST, "coded")


@examples(100)
@given(
    st.lists(st.tuples(st.floats(1e-6, 5), st.floats(1e-7, 50)), min_size=1, max_size=6),
    st.lists(st.floats(1e-9, 1e3), min_size=2, max_size=20),
)
def test_a_scale_changes_no_choice(points: list[tuple[float, float]], losses: list[float]) -> None:
    predicted, measured = np.array(points).T
    scale = fitted(predicted, measured, np.arange(len(points)) % 2 == 0)
    assert scale is not None
    before = np.sort(np.array(losses))
    after = scale(before)
    assert (np.diff(after) >= -1e-12 * after[1:]).all()
    assert float(scale(0.0)) == 0


def test_nothing_measured_gives_no_scale() -> None:
    assert fitted(np.array([0.0, 1.0]), np.array([1.0, np.nan]), np.ones(2, dtype=bool)) is None


def test_the_form_of_a_map_is_that_of_most_of_its_weights() -> None:
    made = _made()
    heavy = int(np.argmax([unit.weights for unit in made.units]))
    options = [Option(16)] * len(made.units)
    assert form_of(made, options) == "half"
    options[heavy] = Option(2)
    assert form_of(made, options) == "coded"
