"""The weights of the map asked for last, kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.options import Option
from genptq_core.profile import Profile, bundled_profile
from genptq_core.progress import Progress
from genptq_core.rounding import kept as module
from genptq_core.rounding.kept import kept_weights
from genptq_core.rounding.rounded import quantized_weights


@pytest.fixture(scope="module")
def profile() -> Profile:
    return bundled_profile()


def _options(profile: Profile, first: str) -> tuple[Option, ...]:
    """All at 16 bit but the first unit: rounding it takes no time."""
    return bit_map(profile, [first, *["16"] * (len(profile.units) - 1)]).options


def test_a_map_is_rounded_once_and_one_is_kept(
    tiny_en: SpeechModel, profile: Profile, cache: Path
) -> None:
    steps: list[Progress] = []
    three, four = _options(profile, "3/64"), _options(profile, "4/64")
    first = kept_weights(tiny_en, profile, three, steps.append)
    assert steps
    steps.clear()
    again = kept_weights(tiny_en, profile, three, steps.append)
    assert steps == []
    fresh = quantized_weights(tiny_en, profile, three)
    assert first.keys() == again.keys() == fresh.keys()
    assert all(torch.equal(again[name], fresh[name]) for name in fresh)
    kept_weights(tiny_en, profile, four)
    assert len(list((cache / "kept").iterdir())) == 1
    kept_weights(tiny_en, profile, three, steps.append)
    assert steps


def test_damage_and_size_cost_time_alone(
    tiny_en: SpeechModel, profile: Profile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = _options(profile, "3/64")
    right = kept_weights(tiny_en, profile, three)
    (path,) = (cache / "kept").iterdir()
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    found = kept_weights(tiny_en, profile, three)
    assert all(torch.equal(found[name], right[name]) for name in right)
    path.unlink()
    monkeypatch.setattr(module, "LARGEST", 1)
    kept_weights(tiny_en, profile, three)
    assert not path.exists()


def test_another_models_weights_are_never_read(
    tiny_en: SpeechModel, profile: Profile, cache: Path, random_whisper: Path
) -> None:
    options = _options(profile, "3/64")
    kept_weights(tiny_en, profile, options)
    with pytest.raises(ModelError):
        kept_weights(load_model(str(random_whisper)), profile, options)
