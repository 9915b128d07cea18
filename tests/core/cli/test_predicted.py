"""What commands say of word errors: predicted, called so, with a band; and runaways by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from genptq_core.bitmaps.file import read_bit_map
from genptq_core.cli import runaways
from genptq_core.cli.main import main
from genptq_core.measurement.runaways import Others, RanAway
from genptq_core.measurement.store import save_measured
from genptq_core.profile import Profile, load_profile, save
from tests.core import synthetic


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    save(synthetic.profile(0), tmp_path / "profile")
    return tmp_path / "profile"


def _measure(folder: Path, widths: tuple[int, ...], **changes: Any) -> Profile:
    profile = load_profile(folder)
    for bits in widths:
        record = synthetic.measured(profile, bits, wer_increase=0.04 / bits)
        save_measured(folder, profile.digest, dataclasses.replace(record, **changes))
    return profile


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str, int]:
    """A command's JSON and its text, with the exit code."""
    code = main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert main([*arguments]) == code
    return found, capsys.readouterr().out, code


def test_solve_predicts_from_others_until_five_maps_are_measured(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    solve = ("solve", "--profile", str(folder), "--avg-bits", "4")
    before, text, _ = _said(capsys, *solve)
    guess = before["predicted_wer"]
    assert guess["borrowed_from"] and guess["own_maps"] == 0 and guess["speech"] is None
    assert guess["band"][0] <= guess["increase"] <= guess["band"][1]
    assert "predicted_wer_increase" not in before
    assert "Predicted word errors: +" in text and "borrowed from whisper" in text
    assert main([*solve[:3], "--max-wer-increase", "0.05"]) == 0  # and it can be asked for
    capsys.readouterr()
    _measure(folder, (4, 6))
    few, text, _ = _said(capsys, *solve)
    assert (few["predicted_wer"]["own_maps"], few["predicted_wer"]["speech"]) == (2, "synthetic")
    assert "2 of its own measured" in text
    _measure(folder, synthetic.BITS)
    own, text, _ = _said(capsys, *solve)
    assert own["predicted_wer"]["borrowed_from"] == []
    assert own["predicted_wer_increase"] == own["predicted_wer"]["increase"]
    assert "(from 5 measured maps)" in text and "borrowed" not in text


def test_measured_shows_what_is_predicted_beside_it(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    _measure(folder, (4,))
    found, text, _ = _said(capsys, "measured", "--profile", str(folder))
    (record,) = found["measured"]
    assert record["predicted_wer"]["increase"] != record["wer_increase"]
    assert record["runaways"] is None
    assert "~+" in text and "borrowed from whisper" in text


def test_solve_is_asked_for_utterances_without_runaways(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    profile, path = load_profile(folder), tmp_path / "map.json"
    solve = ("solve", "--profile", str(folder), "--avg-bits", "4", "--no-runaway-in", "100")
    unknown, _, code = _said(capsys, *solve, "--out", str(path))
    assert (unknown["no_runaway"]["met"], code) == (None, 1)
    measured = synthetic.measured(profile, read_bit_map(path, profile).options)
    cases = (
        ((), 200, True, "Measured on 200 utterances, it ran away on none"),
        (("a",), 200, False, "it ran away on 1 on which full precision does not"),
        ((), 10, None, "it was measured on 10."),
    )
    for new, utterances, met, words in cases:
        ran_away = RanAway(new, (), (), (), None)
        record = dataclasses.replace(measured, utterances=utterances, runaways=ran_away)
        save_measured(folder, profile.digest, record)
        found, text, code = _said(capsys, *solve)
        assert (found["no_runaway"]["met"], code) == (met, 0 if met else 1)
        assert words in text


def test_runaways_are_named_in_words() -> None:
    others = Others(8, 80, 0.06, 0.05, (0.0, 0.02))
    names = {"a": "first", "b": "second"}
    found = RanAway(("a",), ("b",), (), ("b",), others)
    assert runaways.in_words(found, 10, names) == (
        "It loops on first and stops early on second; full precision stops early on second. "
        "Without these: +1.00 points, 95 % interval [+0.00, +2.00]."
    )
    none = RanAway((), (), (), (), others)
    assert runaways.in_words(none, 10, names) == "No runaway in 10 utterances."
    full = RanAway((), (), ("a",), (), None)
    assert (
        runaways.in_words(full, 10, names) == "It never runs away; full precision loops on first."
    )
    many = RanAway(tuple("cdefghi"), (), (), (), None)
    assert runaways.in_words(many, 10, names) == "It loops on c, d, e, f, g, 2 more."
    assert "not known" in runaways.in_words(None, 10, names)
