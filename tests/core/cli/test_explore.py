"""`genptq explore`: from a model and speech to a recommended map, in as many runs as it takes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from genptq_core.bitmaps.file import read_bit_map
from genptq_core.cli.main import build_parser, main
from genptq_core.options import grid_options
from genptq_core.profile import load_profile
from tests.core.tiny_models import WAV2VEC2, random_ctc


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["explore", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_model_and_speech_are_enough(
    capsys: pytest.CaptureFixture[str],
    tones: Path,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = grid_options((2, 3, 4, 8), (16,))  # for so small a model, in less time
    monkeypatch.setattr("genptq_core.cli.explore.usual_options", lambda: few)
    model, out = str(random_ctc(tmp_path / "model", WAV2VEC2)), tmp_path / "out"
    common = ("--model", model, "--speech", str(tones), "--out", str(out), "--target", "integer")
    first = _run(capsys, *common, "--minutes", "0.0001")
    assert len(first["measured"]) == 1 and not first["enough"] and first["borrowed_from"]
    profile = load_profile(out / "profile")
    assert profile.source.utterances == first["measured"][0]["utterances"] == 3  # of six
    # A model that gets nothing right loses nothing: after five maps that is known well enough.
    second = _run(capsys, *common, "--minutes", "60")
    assert second["enough"] and second["half_width"] < 0.005 and second["own_maps"] >= 5
    assert first["measured"][0]["digest"] in {record["digest"] for record in second["measured"]}
    pick = second["pick"]
    assert pick["measured"]["bytes"] == pick["bytes"]
    assert read_bit_map(Path(pick["bitmap"]), profile).digest == pick["measured"]["digest"]
    words = shlex.split(pick["export"])
    flags = build_parser().parse_args(words[1:])
    assert (flags.bitmap, flags.target, flags.model) == (out / "pick.json", "integer", model)
    kept = json.loads((out / "explored.json").read_text())
    assert kept["pick"] == pick and len(kept["front"]) > 5
    assert main(["explore", *common, "--minutes", "60"]) == 0
    assert f"Export it with: {pick['export']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--minutes", "5"), "Give --model or --profile"),
        (("--model", "x", "--minutes", "0"), "make no sense"),
        (("--model", "x", "--limit", "3"), "too few to calibrate"),
    ],
)
def test_what_cannot_be_explored_is_refused(
    capsys: pytest.CaptureFixture[str],
    tones: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    model = str(random_ctc(tmp_path / "x", WAV2VEC2)) if "x" in arguments else ""
    named = [model if word == "x" else word for word in arguments]
    command = ["explore", "--speech", str(tones), "--out", str(tmp_path / "out"), *named]
    assert main(command) == 2
    assert message in capsys.readouterr().err
