"""`genptq adapt`, and what `solve` and `front` make of it with `--judged-on`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genptq_core.cli.main import main
from genptq_core.loading import load_model
from genptq_core.profile import save
from tests.core import synthetic


def _ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_profile_is_adapted_and_a_solved_map_judged(
    random_whisper: Path,
    six_tones: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = load_model(str(random_whisper))
    made = synthetic.profile_of(model, bits=(3, 4, 8), rates=(2, 4), group_size=8)
    folder = str(tmp_path / "profile")
    save(made, Path(folder))
    speech = ["--speech", str(six_tones)]
    found = _ask(capsys, "adapt", "--profile", folder, "--model", str(random_whisper), *speech)
    assert (found["speech"], found["recordings"]) == ("tones/manifest", 6)
    assert set(found["scales"]) == {"coded", "grid"}
    assert all(row["loss"] > 0 and row["predicted_loss"] > 0 for row in found["maps"])
    solve = ["solve", "--profile", folder, "--avg-bits", "3"]
    judged = _ask(capsys, *solve, "--judged-on", "tones/manifest")
    assert judged["judged_on"]["recordings"] == 6
    ratio = judged["judged_on"]["loss"] / judged["predicted_loss"]
    assert 0.3 < ratio / found["scales"]["coded"] < 3
    assert "judged_on" not in _ask(capsys, *solve)
    assert main([*solve, "--judged-on", "tones/manifest"]) == 0
    assert "On tones/manifest, judged by 6 recordings" in capsys.readouterr().out
    front = ["front", "--profile", folder, "--judged-on", "tones/manifest"]
    points = _ask(capsys, *front)["points"]
    near = min(points, key=lambda point: abs(point["bytes"] - judged["bytes"]))
    assert near["loss_there"] / near["predicted_loss"] == pytest.approx(ratio, rel=0.2)
    assert all(point["loss_there"] > 0 for point in points if point["predicted_loss"])
    assert main(front) == 0
    assert "On tones/manifest the map at the knee is predicted to lose" in capsys.readouterr().out
    assert main([*solve, "--judged-on", "nobody"]) == 2
    assert "There are: tones/manifest" in capsys.readouterr().err
