"""Footprint: the estimate of what a profile takes is given before it starts, and not too low."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from genptq_core.cli.main import main
from genptq_core.errors import FootprintError
from genptq_core.loading import expected_parameters, load_model
from genptq_core.models.weights import parameter_count
from genptq_core.options import grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.compute import compute
from genptq_core.profiling.footprint import (
    MOST_TOGETHER,
    check_weights,
    footprint,
    machine_memory,
    plan_memory,
    positions,
)
from genptq_core.quantizers import Sketch, is_wide, sketch, sketch_of_products, sketch_products
from genptq_core.speech.utterances import load_manifest
from tests.conftest import ROOT
from tests.core.tiny_models import WAV2VEC2, random_ctc

SETTINGS = Settings(grid_options((2, 4), (8,)), draws=2, rank=4)


def test_what_does_not_fit_is_refused_with_the_figure(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones)
    _, least = plan_memory(model, speech, SETTINGS, tmp_path)
    with pytest.raises(FootprintError, match=r"takes \d+\.\d GB of memory, and 0\.1 GB are"):
        compute(model, speech, tmp_path / "p", SETTINGS, max_memory=100_000_000)
    assert not (tmp_path / "p").exists()
    assert least.memory > 100_000_000


def test_the_command_line_refuses_with_exit_code_2(
    random_whisper: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profile", "--model", str(random_whisper), "--speech", str(tones)]
    assert main([*command, "--out", str(tmp_path / "p"), "--max-memory", "0.1"]) == 2
    assert "0.1 GB are allowed" in capsys.readouterr().err
    for limit in ("nan", "0", "-3", "inf"):
        assert main([*command, "--out", str(tmp_path / "p"), f"--max-memory={limit}"]) == 2
        assert "makes no sense" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["whisper", "ctc"])
def test_weights_are_refused_before_they_are_read(
    random_whisper: Path, tones: Path, tmp_path: Path, family: str, capsys: Any
) -> None:
    folder = random_whisper if family == "whisper" else random_ctc(tmp_path / "m", WAV2VEC2)
    assert expected_parameters(str(folder)) == parameter_count(load_model(str(folder)).module)
    weightless = tmp_path / "weightless"
    shutil.copytree(folder, weightless, ignore=shutil.ignore_patterns("*.safetensors"))
    command = ["profile", "--model", str(weightless), "--speech", str(tones)]
    assert main([*command, "--out", str(tmp_path / "p"), "--max-memory", "0.5"]) == 2
    assert "0.5 GB are allowed" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "p")]) == 2
    assert "holds no weights" in capsys.readouterr().err


def test_what_the_machine_has_is_the_limit_where_none_is_named(
    random_whisper: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2**29 < machine_memory() < 2**50
    monkeypatch.setattr("genptq_core.profiling.footprint.machine_memory", lambda: 1000)
    with pytest.raises(FootprintError, match="this machine has"):
        check_weights(str(random_whisper))
    with pytest.raises(FootprintError, match="this machine has"):
        plan_memory(load_model(str(random_whisper)), load_manifest(tones), SETTINGS, tmp_path)
    check_weights(str(random_whisper), 2**40)


def test_less_memory_holds_fewer_gradients(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones)
    where = positions(model, 30.0)
    count = parameter_count(model.module)
    sizes = [
        footprint(count, model.units, where, SETTINGS, n).memory for n in range(MOST_TOGETHER + 1)
    ]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    for together, size in enumerate(sizes):
        assert plan_memory(model, speech, SETTINGS, tmp_path, size)[0] == max(
            n for n, s in enumerate(sizes) if s <= size
        )
        assert plan_memory(model, speech, SETTINGS, tmp_path, size)[0] >= together


def test_a_full_disk_is_told_beforehand(
    random_whisper: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones)
    monkeypatch.setattr(
        "genptq_core.profiling.footprint.shutil.disk_usage",
        lambda _: type("Usage", (), {"free": 1000})(),
    )
    with pytest.raises(FootprintError, match="on disk"):
        plan_memory(model, speech, SETTINGS, tmp_path)


def test_a_sketch_of_products_keeps_the_strong_directions_and_the_diagonal() -> None:
    """Like the exact sketch, if the energy is in few directions."""
    torch.manual_seed(0)
    columns, rank = 200, 16
    spread = torch.cat([torch.linspace(3, 1, 12), torch.full((columns - 12,), 0.02)])
    basis = torch.linalg.qr(torch.randn(columns, columns))[0]
    inputs = (torch.randn(900, columns) * spread) @ basis.T
    hessian = inputs.T @ inputs
    summed = sketch_products(inputs[:400], rank) + sketch_products(inputs[400:], rank)
    assert summed.shape == (columns, 2 * rank + 1)
    streamed, exact = sketch_of_products(summed, rank), sketch(hessian, rank)
    error, least = ((s.dense() - hessian).norm() for s in (streamed, exact))
    assert error < 1.1 * least + 1e-3 * hessian.norm()
    # Factors are stored in 8 bit.
    assert torch.allclose(streamed.dense().diagonal(), hessian.diagonal(), rtol=2e-2)
    assert not is_wide(1536, 192) and is_wide(2048, 192) and not is_wide(2048, 1024)


def test_wide_inputs_are_never_summed_to_a_matrix(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs that are sketched as they come give a sketch close to the exact one."""
    folder = random_ctc(tmp_path / "m", WAV2VEC2)
    model, speech = load_model(str(folder)), load_manifest(tones, 2)
    exact = compute(model, speech, tmp_path / "a", SETTINGS).profile
    # The feed-forward layers have 64 columns, the others fewer.
    monkeypatch.setattr("genptq_core.quantizers.hessian.WIDE", 48)
    monkeypatch.setenv("GENPTQ_CACHE", str(tmp_path / "fresh"))
    streamed = compute(model, speech, tmp_path / "b", SETTINGS).profile
    differ = 0
    for name, parts in exact.sketches.items():
        a, b = (
            Sketch(**{k: torch.from_numpy(v) for k, v in s.items()}).dense()
            for s in (parts, streamed.sketches[name])
        )
        assert (a - b).norm() < 0.3 * a.norm()
        assert torch.allclose(a.diagonal(), b.diagonal(), rtol=0.05)
        differ += not torch.equal(a, b)
    assert differ == sum(len(p["diagonal"]) > 48 for p in exact.sketches.values()) > 0


_ALONE = """
import json, os, resource, sys
from pathlib import Path
from genptq_core.loading import load_model
from genptq_core.options import grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.compute import compute
from genptq_core.profiling.footprint import plan_memory
from genptq_core.speech.utterances import load_manifest

model, speech = load_model("whisper-tiny.en"), load_manifest(Path(sys.argv[1]), 2)
settings = Settings(grid_options((8,), (64,)), draws=1)
limit = int(float(sys.argv[3]))
together, needed = plan_memory(model, speech, settings, Path(sys.argv[2]), limit)
compute(model, speech, Path(sys.argv[2]), settings, max_memory=limit)
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"together": together, "estimate": needed.memory, "peak": peak}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1.7e9, 4e9])
def test_the_estimate_is_not_below_the_peak(
    tones: Path, tmp_path: Path, limit: float, cache: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", _ALONE, str(tones), str(tmp_path / "p"), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "GENPTQ_CACHE": str(cache)},
    )
    bytes_of = json.loads(process.stdout)
    assert bytes_of["peak"] <= bytes_of["estimate"] <= limit
    assert bytes_of["estimate"] < 2 * bytes_of["peak"]


def test_more_options_and_parameters_take_more() -> None:
    from genptq_core.units import Unit

    unit = Unit(
        name="a",
        parameter="a",
        start=0,
        stop=100,
        columns=100,
        part="encoder",
        kind="attention",
        block=0,
        inputs="a",
    )
    base = footprint(20_000, (unit,), {"a": 50}, SETTINGS, 0)
    more = dataclasses.replace(SETTINGS, options=grid_options(range(1, 9), (8, 16)))
    assert footprint(20_000, (unit,), {"a": 50}, more, 0).disk > base.disk
    assert footprint(40_000, (unit,), {"a": 50}, SETTINGS, 0).memory > base.memory
    assert footprint(20_000, (unit,), {"a": 500}, SETTINGS, 0).activations > base.activations
