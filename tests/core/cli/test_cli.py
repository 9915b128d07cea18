"""The command line: every command, its JSON, its one-line errors."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genptq_core.allocation.constraints import Constraints
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import write_bit_map
from genptq_core.cli import solve
from genptq_core.cli.main import COMMANDS, main
from genptq_core.cli.measured import on_silence
from genptq_core.loading import load_model
from genptq_core.measurement.speech_sets import measured_sets
from genptq_core.measurement.store import load_measured, save_measured
from genptq_core.profile import load_profile, save
from genptq_core.progress import silent
from genptq_core.storage.locations import bundled_profiles
from tests.conftest import DEMO, ROOT
from tests.core import synthetic
from tests.core.tiny_models import WAV2VEC2, random_ctc

PROFILE = str(bundled_profiles() / "whisper-tiny.en")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return dict(json.loads(out))


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("genptq: ")]
    assert len(lines) == 1
    return lines[0]


def test_solve_by_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    solved = run(capsys, "solve", "--profile", PROFILE, "--size-mb", "20", "--out", str(path))
    assert solved["bytes"] <= 20_000_000
    assert solved["lower_bound"] <= solved["predicted_loss"]
    assert solved["gap"] == pytest.approx(solved["predicted_loss"] - solved["lower_bound"])
    assert solved["reduction_vs_fp32"] == pytest.approx(1 - solved["bytes"] / (4 * 37_760_256))
    assert set(solved["bits"]) == set(solved["relaxed_bits"])
    written = json.loads(path.read_text())
    assert written["bits"] == solved["bits"]
    assert written["group_sizes"] == solved["group_sizes"]
    assert set(solved["group_sizes"].values()) <= {0, 64}
    assert '": 4,' in path.read_text() and '": 4.0,' not in path.read_text()
    assert written["digest"] == solved["digest"]


def test_solve_by_average_bits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "solve", "--profile", PROFILE, "--avg-bits", "3.5")["avg_bits"] <= 3.5


def test_solve_by_wer_increase(capsys: pytest.CaptureFixture[str]) -> None:
    small = run(capsys, "solve", "--profile", PROFILE, "--max-wer-increase", "0.05")
    large = run(capsys, "solve", "--profile", PROFILE, "--max-wer-increase", "0.02")
    assert small["bytes"] < large["bytes"]
    assert large["predicted_wer_increase"] < 0.02


def test_pins_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    solved = run(
        capsys, "solve", "--profile", PROFILE, "--size-mb", "25", "--pin", "*embed_tokens*=4",
        "--pin", "*fc2*=8", "--min-bits", "3", "--max-bits", "8",
    )  # fmt: skip
    for name, bits in solved["bits"].items():
        assert 3 <= bits <= 8
        assert bits == 4 or "embed_tokens" not in name
        assert bits == 8 or "fc2" not in name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size-mb", "1"], "smallest size under these constraints is"),
        (["--size-mb", "-3"], "makes no sense"),
        (["--size-mb", "nan"], "makes no sense"),
        (["--avg-bits", "1"], "not feasible"),
        (["--max-wer-increase", "1.5"], "is a fraction"),
        (["--max-wer-increase", "1e-7", "--max-bits", "8"], "No map is predicted"),
        (["--size-mb", "20", "--pin", "nothing*=4"], "matches no layer"),
        (["--size-mb", "20", "--pin", "*=7"], "no such width"),
        (["--size-mb", "20", "--pin", "oops"], "is not GLOB=BITS"),
        (["--size-mb", "20", "--pin", "*=4/32"], "no such width"),
        (["--size-mb", "20", "--pin", "*=2.125"], "no such width"),
        (["--size-mb", "20", "--pin", "*=4/x"], "is not GLOB=BITS"),
        (["--size-mb", "20", "--target", "toaster"], "Targets: native, integer"),
        (["--size-mb", "20", "--min-bits", "9", "--max-bits", "8"], "leave no width"),
    ],
)
def test_bad_requests_get_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refuse(capsys, "solve", "--profile", PROFILE, *arguments)


def test_missing_profile_gets_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "does not exist" in refuse(
        capsys, "solve", "--profile", str(tmp_path), "--size-mb", "20"
    )


def test_a_command_runs_from_typed_arguments() -> None:
    arguments = solve.SolveArguments(
        profile=Path(PROFILE),
        budget=solve.Budget(average_bits=3.5),
        target="native",
        constraints=Constraints(min_bits=2),
        out=None,
    )
    answer = solve.run(arguments, silent)
    assert answer.result["avg_bits"] <= 3.5
    assert f"{answer.result['avg_bits']:.2f} bits per weight" in answer.text


def test_a_bundled_profile_is_named_by_its_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "measured", "--profile", "whisper-tiny.en")["measured"]
    assert "profile.json does not exist" in refuse(capsys, "measured", "--profile", "whisper-huge")
    (tmp_path / "whisper-tiny.en").mkdir()  # a folder of that name comes first
    assert "does not exist" in refuse(capsys, "measured", "--profile", "whisper-tiny.en")


def test_messages_name_the_program_as_it_was_started(tmp_path: Path) -> None:
    for program, start in (
        ("genptq", "from genptq_core.cli.main import main; main()"),
        ("python -m genptq_core", ""),
    ):
        command = [sys.executable, *(["-c", start] if start else ["-m", "genptq_core"])]
        refused = subprocess.run(
            [*command, "measured", "--profile", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert refused.stderr.startswith(f"{program}: ")
        usage = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True)
        assert usage.stdout.startswith(f"usage: {program} ")


def test_front(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    front = run(capsys, "front", "--profile", PROFILE, "--out", str(path))
    sizes = [p["bytes"] for p in front["points"]]
    losses = [p["predicted_loss"] for p in front["points"]]
    assert sizes == sorted(set(sizes)) and losses == sorted(set(losses), reverse=True)
    assert front["knee"] in front["points"]
    assert 0 < front["hypervolume"] < 1
    with path.open() as handle:
        assert [int(row["bytes"]) for row in csv.DictReader(handle)] == sizes


def test_measured_lists_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    records = run(capsys, "measured", "--profile", PROFILE)["measured"]
    dev = [r for r in records if r["utterances"] == 196]
    assert len(dev) >= 6
    labels = {r["label"] for r in dev}
    assert {"full precision", "mixed 4 bits", "mixed 3 bits", "mixed 2 bits"} <= labels
    for record in records:
        assert {"wer", "wer_increase", "ci95", "bytes", "reduction_vs_fp32", "avg_bits"} < set(
            record
        )
        assert record["ci95"][0] <= record["wer_increase"] <= record["ci95"][1]
        assert record["wer_increase"] == pytest.approx(record["wer"] - record["wer_full_precision"])


def test_profile_measure_and_measured(
    capsys: pytest.CaptureFixture[str], random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    folder, path = str(tmp_path / "profile"), str(tmp_path / "map.json")
    computed = run(
        capsys, "profile", "--model", str(random_whisper), "--speech", str(tones), "--limit", "3",
        "--bits", "2,4", "--group-size", "16,8", "--rates", "1.5,3.5", "--draws", "1",
        "--rank", "5", "--out", folder,
    )  # fmt: skip
    directions = {s["factor"].shape[1] for s in load_profile(Path(folder)).sketches.values()}
    assert directions == {5}
    none = ("--model", str(random_whisper), "--speech", str(tones), "--rank", "0", "--out", folder)
    assert "--rank" in refuse(capsys, "profile", *none)
    assert computed["utterances"] == 3 and computed["backward_passes"] == 3 + 1
    assert computed["options"] == computed["layers"] * 7
    with pytest.warns(RuntimeWarning, match=r"at 1\.5"):  # so small a model cannot be so narrow
        native = run(capsys, "solve", "--profile", folder, "--avg-bits", "5")
    assert set(native["bits"].values()) <= {1.5, 3.5, 16} and native["target"] == "native"
    assert set(native["group_sizes"].values()) == {0}
    solved = run(
        capsys, "solve", "--profile", folder, "--avg-bits", "3", "--target", "integer",
        "--pin", "*fc1*=4/16", "--pin", "*fc2*=2", "--out", path,
    )  # fmt: skip
    for name, bits in solved["bits"].items():
        assert (bits, solved["group_sizes"][name]) == (4, 16) or "fc1" not in name
        assert bits == 2 or "fc2" not in name
    record = run(
        capsys, "measure", "--profile", folder, "--bitmap", path, "--speech", str(tones),
        "--limit", "2", "--label", "mine",
    )  # fmt: skip
    assert record["utterances"] == 2
    for figure in ("download", "weights", "memory", "runs_in"):
        assert record[figure] == solved[figure]
    guarded = run(
        capsys, "measure", "--profile", folder, "--bitmap", path, "--speech", str(tones),
        "--limit", "2", "--decoding", "fallback",
    )  # fmt: skip
    assert "again at temperature 0.2" in guarded["method"]
    assert "temperature" not in record["method"]
    listed = run(capsys, "measured", "--profile", folder)["measured"]
    # Both are kept, as two sets: the label is the map's, and the front that of greedy decoding.
    known = {r["asked"]: (r["label"], r["wer"]) for r in listed}
    assert known == {"": ("mine", record["wer"]), "fallback": ("mine", guarded["wer"])}
    records = load_measured(Path(folder), load_profile(Path(folder)).digest)
    assert [s.asked for s in measured_sets(records)] == ["", "fallback"]
    out = tmp_path / "exported"
    written = run(
        capsys, "export", "--profile", folder, "--bitmap", path, "--target", "integer",
        "--out", str(out),
    )  # fmt: skip
    assert written["predicted_bytes"] == record["bytes"] == solved["bytes"]
    assert written["as_promised"]
    notes = {"export.json", "bitmap.json"}
    loaded = [file for file in out.rglob("*") if file.is_file() and file.name not in notes]
    assert written["bytes"] == written["download"] == sum(f.stat().st_size for f in loaded)
    kept = json.loads((out / "bitmap.json").read_text())
    assert kept["measured"]["wer"] == record["wer"] and kept["target"] == "integer"
    assert set(written["files"]) == {str(file.relative_to(out)) for file in out.rglob("*")}
    assert run(capsys, "doctor", str(out)) == {
        "checked": [str(out)], "problems": [], "notes": []
    }  # fmt: skip
    transcribed = run(capsys, "transcribe", "--model", str(out), str(tones.parent / "0.wav"))
    assert list(transcribed["transcripts"]) == [str(tones.parent / "0.wav")]
    refused = refuse(
        capsys, "export", "--profile", folder, "--bitmap", path, "--out", str(tones)
    )  # fmt: skip
    assert "is a file" in refused


@pytest.fixture
def small_profile(tmp_path: Path) -> Path:
    """A made-up profile of a very small recognizer, and two of its maps in a folder `maps`."""
    model = load_model(str(random_ctc(tmp_path / "model", WAV2VEC2)))
    profile = synthetic.profile_of(model, group_size=16, bits=(2, 4))
    profile = save(profile, tmp_path / "profile")
    (tmp_path / "maps").mkdir()
    for bits in (2, 4):
        chosen = bit_map(profile, [f"{bits}/16"] * len(profile.units))
        write_bit_map(tmp_path / "maps" / f"all-{bits}.json", profile, chosen)
    return tmp_path / "profile"


def test_many_maps_are_measured_at_once(
    capsys: pytest.CaptureFixture[str], small_profile: Path, tones: Path
) -> None:
    folder, maps = str(small_profile), small_profile.parent / "maps"
    common = ("measure", "--profile", folder, "--speech", str(tones))
    records = run(
        capsys, *common, "--bitmap", str(maps), "--bitmap", str(maps / "all-2.json"),
        "--label", "new",
    )["measured"]  # fmt: skip
    assert [r["label"] for r in records] == ["new all-2", "new all-4"]
    refused = refuse(capsys, *common, "--bitmap", str(maps), "--decoding", "fallback")
    assert "cannot decode with fallback" in refused
    listed = run(capsys, "measured", "--profile", folder)["measured"]
    assert sorted(r["label"] for r in listed) == ["new all-2", "new all-4"]
    alone = run(capsys, *common, "--bitmap", str(maps / "all-4.json"), "--label", "new all-4")
    assert alone == {**records[1], "when": alone["when"]}
    assert alone["changed"] == [] and alone["unit"] == "word"
    again = run(capsys, *common, "--bitmap", str(maps / "all-4.json"))
    assert again["label"] == "new all-4"  # a measurement without a label keeps the one there is
    assert set(again["runaways"]) >= {"loops", "stops", "full_precision_stops", "without"}


def test_it_is_said_what_a_foreign_map_does_not_get(
    capsys: pytest.CaptureFixture[str], small_profile: Path, tones: Path, tmp_path: Path
) -> None:
    """The profile offers 2 and 4 bit in groups of 16."""
    folder, path = str(small_profile), tmp_path / "autoround.json"
    modules = [unit.parameter for unit in load_profile(small_profile).units]
    path.write_text(json.dumps({"q_proj": {"bits": 1, "group_size": 16}}))
    count = sum("q_proj" in module for module in modules)
    common = ("--profile", folder, "--bitmap", str(path))
    record = run(capsys, "measure", *common, "--speech", str(tones))
    assert [(c["from"], c["to"]) for c in record["changed"]] == [("1/16", "2/16")] * count != []
    out = ("--target", "hqq", "--out", str(tmp_path / "out"))
    assert run(capsys, "export", *common, *out)["changed"] == record["changed"]
    for command in (("measure", *common, "--speech", str(tones)), ("export", *common, *out)):
        assert main([*command]) == 0
        said = capsys.readouterr().out
        assert f"{count} of {len(modules)} layers changed" in said
        assert f"{count} from 1/16 to 2/16" in said
    path.write_text(json.dumps({"q_proj": {"bits": 2}, "model.nowhere": {"bits": 2}}))
    assert "'model.nowhere', which matches no layer" in refuse(
        capsys, "measure", *common, "--speech", str(tones)
    )


def test_it_is_said_which_normalizer_was_taken(
    capsys: pytest.CaptureFixture[str], small_profile: Path, tones: Path
) -> None:
    chinese = tones.parent / "chinese.jsonl"
    chinese.write_text(json.dumps({"audio": "0.wav", "text": "今天天气很好"}))
    path = str(small_profile.parent / "maps" / "all-4.json")
    common = ("--profile", str(small_profile), "--bitmap", path, "--speech", str(chinese))
    assert main(["measure", *common]) == 0
    said = capsys.readouterr().out
    assert said.startswith("CER ")
    assert "Counted after multilingual-characters: basic does not fit these texts." in said
    refused = refuse(capsys, "measure", *common, "--normalizer", "basic")
    assert "Use 'multilingual-characters'" in refused


def test_characters_and_words_on_silence_are_named(
    capsys: pytest.CaptureFixture[str], small_profile: Path
) -> None:
    profile = load_profile(small_profile)
    record = dataclasses.replace(
        synthetic.measured(profile, 4),
        normalizer="multilingual-characters",
        insertions_on_silence=2,
    )
    save_measured(small_profile, profile.digest, record)
    (listed,) = run(capsys, "measured", "--profile", str(small_profile))["measured"]
    assert (listed["unit"], listed["insertions_on_silence"]) == ("character", 2)
    assert main(["measured", "--profile", str(small_profile)]) == 0
    assert "CER %" in capsys.readouterr().out.splitlines()[0]
    assert on_silence(record) == " On silence it wrote 2 characters, which no rate counts."


def test_a_measurement_may_stop_when_decided(
    capsys: pytest.CaptureFixture[str],
    small_profile: Path,
    tones: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("genptq_core.measurement.shards.BLOCK", 3)
    chosen = str(small_profile.parent / "maps" / "all-4.json")
    common = ("measure", "--profile", str(small_profile), "--speech", str(tones))
    early = run(capsys, *common, "--bitmap", chosen, "--stop-when-decided", "99")
    assert early["utterances"] == 3
    assert early["speech"] == "tones/manifest, stopped at 3 of 6"
    whole = run(capsys, *common, "--bitmap", chosen)
    assert (whole["utterances"], whole["speech"]) == (6, "tones/manifest")
    listed = run(capsys, "measured", "--profile", str(small_profile))["measured"]
    assert sorted(r["utterances"] for r in listed) == [3, 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "cannot do anything"),
        (["--jobs", "2", "--compile", "speech.jsonl"], "Compiling goes layer by layer"),
        (["--scheduler", "here", "--compile", "speech.jsonl"], "Compiling goes layer by layer"),
        (["--stop-when-decided", "100"], "decides nothing"),
        (["--bitmap", "{tmp}/nothing"], "nothing holds no .json file"),
    ],
)
def test_measuring_that_cannot_be_gets_one_line(
    capsys: pytest.CaptureFixture[str],
    small_profile: Path,
    tones: Path,
    arguments: list[str],
    message: str,
) -> None:
    (small_profile.parent / "nothing").mkdir()
    arguments = [text.replace("{tmp}", str(small_profile.parent)) for text in arguments]
    maps = str(small_profile.parent / "maps")
    refused = refuse(
        capsys, "measure", "--profile", str(small_profile), "--speech", str(tones),
        "--bitmap", maps, *arguments,
    )  # fmt: skip
    assert message in refused


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        *(("--bits", text) for text in ("", "x", "2,9", "2.5", "nan", "2;3")),
        *(("--group-size", text) for text in ("", "4", "64.5", "inf", "-64")),
        *(("--rates", text) for text in ("", "0.5", "9", "2.12345", "nan", "1e9")),
    ],
)
def test_lists_that_cannot_be_read_are_refused(
    capsys: pytest.CaptureFixture[str], flag: str, text: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["profile", "--model", "m", "--speech", "s", "--out", "o", flag, text])
    assert caught.value.code == 2
    assert f"argument {flag}" in capsys.readouterr().err


def test_no_options_at_all_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    refused = refuse(
        capsys, "profile", "--model", "m", "--speech", "s", "--out", "o", "--bits", "0",
        "--rates", "0",
    )  # fmt: skip
    assert "an option or more" in refused


def test_transcribe(capsys: pytest.CaptureFixture[str]) -> None:
    audio = str(DEMO.parent / "audio" / "demo-001.flac")
    transcripts = run(capsys, "transcribe", "--model", "whisper-tiny.en", audio)["transcripts"]
    assert transcripts[audio]


def test_transcribe_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "does not exist" in refuse(
        capsys, "transcribe", "--model", "whisper-tiny.en", str(tmp_path / "none.wav")
    )


def test_doctor_finds_planted_damage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import shutil

    healthy = run(capsys, "doctor")
    assert len(healthy["checked"]) >= 2 and healthy["problems"] == []
    shutil.copytree(PROFILE, tmp_path / "p")
    leftover = tmp_path / "p" / ".profile.json.genptq-0123abcd.tmp"
    leftover.write_text("")
    os.utime(leftover, (0, 0))  # long ago: no living process is at it
    tensors = tmp_path / "p" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    assert main(["doctor", str(tmp_path), "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert len(problems) == 2
    assert any("tensors.safetensors" in p for p in problems)


def test_nothing_but_json_on_standard_output() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "genptq_core", "front", "--profile", PROFILE, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    json.loads(completed.stdout)
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_solving_never_imports_torch() -> None:
    code = (
        "import sys; from genptq_core.cli.main import main; "
        f"main(['solve', '--profile', {PROFILE!r}, '--size-mb', '20']); "
        f"main(['measured', '--profile', {PROFILE!r}]); "
        "sys.exit('torch' in sys.modules or 'streamlit' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
