"""The folder of profiles that $GENPTQ_PROFILES names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.page import loaders
from genptq_core.errors import ProfileError


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
