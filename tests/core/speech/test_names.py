"""Speech sets are called what they are, and only they."""

from __future__ import annotations

from genptq_core.measurement.store import read_shipped
from genptq_core.speech.names import _KNOWN, noted, readable
from genptq_core.storage.locations import bundled_profiles


def test_what_ships_has_a_name_of_its_own() -> None:
    shipped = {
        record.speech_digest
        for folder in bundled_profiles().iterdir()
        if (folder / "measured.json").is_file()
        for record in read_shipped(folder / "measured.json")
    }
    assert shipped == set(_KNOWN), "none is missing, and none is left over"
    assert len(set(_KNOWN.values())) == len(_KNOWN)


def test_another_set_of_that_name_keeps_its_own() -> None:
    assert readable("demo/manifest", "0" * 64) == "demo"
    assert readable("calls/june", "0" * 64) == "calls/june"
    assert readable("/manifest", "0" * 64) == "/manifest"
    assert noted("calls/june", "0" * 64, "multilingual-characters") == "calls/june, CER"
    assert noted("calls/june", "0" * 64, "basic", "fallback") == "calls/june, fallback"
