"""Where profiles are, and where new ones go."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.page import loaders
from dashboard.page.build import scene_of
from dashboard.page.knobs import Knobs
from genptq_core.errors import ProfileError
from genptq_core.storage.locations import bundled_profiles


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENPTQ_PROFILES", raising=False)


def _profile(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "profile.json").write_text("{}")
    return folder


def test_in_a_checkout_new_ones_join_those_that_ship() -> None:
    assert loaders.folder() == bundled_profiles()
    assert "whisper-tiny.en" in loaders.models()


def test_an_installed_program_keeps_new_ones_elsewhere_and_lists_both(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "site-packages" / "genptq_core" / "data" / "profiles"
    monkeypatch.setattr(loaders, "bundled_profiles", lambda: shipped)
    theirs, mine = _profile(shipped / "whisper-tiny.en"), _profile(cache / "profiles" / "a")
    assert loaders.folder() == cache / "profiles"
    assert loaders.models() == {"whisper-tiny.en": theirs, "a": mine}
    assert list(loaders.models()) == ["whisper-tiny.en", "a"]


def test_a_folder_that_is_named_is_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPTQ_PROFILES", str(tmp_path))
    mine = _profile(tmp_path / "a")
    assert loaders.folder() == tmp_path
    assert loaders.models() == {"a": mine}


def test_a_folder_of_profiles_that_is_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPTQ_PROFILES", str(tmp_path / "none"))
    assert loaders.models() == {}
    (tmp_path / "file").touch()
    for name in ("file", "file/below", "x" * 300):
        monkeypatch.setenv("GENPTQ_PROFILES", str(tmp_path / name))
        with pytest.raises(ProfileError, match=r"cannot be read: .*GENPTQ_PROFILES") as caught:
            loaders.models()
        assert str(tmp_path / name) in caught.value.message


def test_an_unreadable_neighbour_is_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPTQ_PROFILES", str(tmp_path))
    (tmp_path / "note.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert loaders.models() == {}


def test_a_large_model_s_drag_begins_with_fewer_maps(
    profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "is_large", lambda problem: True)
    loaded = loaders.load(profiles / "made-up", "native")
    start = loaders.start_of(loaded, None)
    knobs = Knobs("made-up", size_mb=start.size_mb, pins="*fc1* = 4")
    scene = scene_of(loaded, knobs, loaders.constrain(loaded, knobs), start)
    coarse, full = loaders._drags(scene)
    assert coarse is not None and loaders.is_coarse(scene, coarse)
    whole = full.result()
    assert loaders.drag_of(scene) is whole and not loaders.is_coarse(scene, whole)
    assert len(whole.bytes) >= len(coarse.bytes) > 1
