"""`genptq explore`: from a model and speech to a recommended map, in as many runs as it takes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from dashboard.page.knobs import SHORT
from genptq_core.allocation.constraints import Constraints
from genptq_core.bitmaps.file import read_bit_map
from genptq_core.cli import explore
from genptq_core.cli.main import build_parser, main
from genptq_core.measurement.exploration import explored
from genptq_core.measurement.store import save_measured
from genptq_core.options import grid_options
from genptq_core.profile import load_profile, save
from genptq_core.workers.pool import Workers
from tests.core import synthetic
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
    second = _run(capsys, *common, "--minutes", "0.0001")
    digests = {record["digest"] for record in second["measured"]}
    assert len(digests) == 2 and first["measured"][0]["digest"] in digests
    kept = json.loads((out / "explored.json").read_text())
    assert kept["measured"] == second["measured"] and kept["front"] == second["front"]
    assert second["report"] == str(out / "report.html")
    report = (out / "report.html").read_text()
    assert "default-src 'none'" in report
    assert all(digest[:SHORT] in report for digest in digests)


def test_the_pick_is_written_and_said_with_its_export(tmp_path: Path, cache: Path) -> None:
    profile = save(synthetic.profile(0, scale=0.1), tmp_path / "profile")
    records = [
        synthetic.measured(profile, bits, wer_increase=0.02 / bits**2) for bits in synthetic.BITS
    ]
    for record in records:
        save_measured(tmp_path / "profile", profile.digest, record)
    known = explored(tmp_path / "profile", records[0].set_key)
    assert known.curve.points == 5 and known.pick is not None
    arguments = explore.ExploreArguments(
        model="a model", profile=None, speech="", limit=None, calibration=None, target="native",
        constraints=Constraints(), normalizer="", minutes=1, out=tmp_path / "out",
        workers=Workers(),
    )  # fmt: skip
    (tmp_path / "out").mkdir()
    answer = explore._answer(known, tmp_path / "profile", arguments, {})
    pick = answer.result["pick"]
    chosen = read_bit_map(Path(pick["bitmap"]), profile)
    assert chosen == known.map_at(known.pick)
    assert pick["predicted_wer"]["band"][1] <= 0.01
    flags = build_parser().parse_args(shlex.split(pick["export"])[1:])
    assert (str(flags.bitmap), flags.target, flags.model) == (pick["bitmap"], "native", "a model")
    assert answer.text.splitlines()[-1].endswith(f"Export it with: {pick['export']}")
    assert json.loads((tmp_path / "out" / "explored.json").read_text())["pick"] == pick


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
