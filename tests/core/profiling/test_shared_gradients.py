"""Gradients taken by several processes: the profile is the same as by one process."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genptq_core.errors import ClusterError, ModelError, SpeechError
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.options import grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.compute import ComputedProfile, compute
from genptq_core.profiling.shared_gradients import GradientCall, run_gradient_call, shared_gradients
from genptq_core.progress import Progress
from genptq_core.speech.utterances import load_manifest
from genptq_core.workers.pool import Workers
from tests.core.tiny_models import WAV2VEC2, random_ctc

SETTINGS = Settings(grid_options((2, 4), (16,)), draws=2, rank=4)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sums are in the same order in this process and in all others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(random_ctc(tmp_path_factory.mktemp("model") / "tiny", WAV2VEC2)))


class Noting(Workers):
    """This process, which notes its calls."""

    def run(self, function: Any, calls: Any) -> Any:
        for call in calls:
            JOBS.append(call[0])
            yield function(*call)


JOBS: list[GradientCall] = []


@pytest.fixture(autouse=True)
def jobs_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    JOBS.clear()
    monkeypatch.setattr("genptq_core.profiling.footprint.MOST_TOGETHER", 4)


def both(
    model: SpeechModel, tones: Path, folder: Path, workers: Workers, monkeypatch: Any
) -> tuple[ComputedProfile, ComputedProfile]:
    """The same profile computed by one process, and by workers with another cache."""
    speech = load_manifest(tones)
    alone = compute(model, speech, folder / "alone", SETTINGS)
    monkeypatch.setenv("GENPTQ_CACHE", str(folder / "other"))
    shared = compute(model, speech, folder / "shared", SETTINGS, share=shared_gradients(workers))
    return alone, shared


def check(alone: ComputedProfile, shared: ComputedProfile) -> None:
    assert np.array_equal(alone.profile.projections, shared.profile.projections)
    assert alone.profile.anchors == shared.profile.anchors
    assert alone.backward_passes == shared.backward_passes
    assert alone.cache_hits == shared.cache_hits


def test_jobs_give_the_profile_of_one_process(
    model: SpeechModel, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, shared = both(model, tones, tmp_path, Noting(), monkeypatch)
    check(alone, shared)
    assert [job.members for job in JOBS] == [range(4), range(4, 6)]
    again = compute(
        model, load_manifest(tones), tmp_path / "again", SETTINGS, share=shared_gradients(Noting())
    )
    assert len(JOBS) == 2 and again.backward_passes == 0


def test_what_was_cut_off_goes_on_with_the_groups_left(
    model: SpeechModel, tones: Path, tmp_path: Path
) -> None:
    def cut(at: Progress) -> None:
        if at.stage == "gradients" and at.done:
            raise KeyboardInterrupt

    speech, share = load_manifest(tones), shared_gradients(Noting())
    with pytest.raises(KeyboardInterrupt):
        compute(model, speech, tmp_path / "p", SETTINGS, cut, share=share)
    resumed = compute(model, speech, tmp_path / "p", SETTINGS, share=share)
    assert [job.members for job in JOBS] == [range(4), range(4, 6)]
    assert resumed.backward_passes == 2 * SETTINGS.draws
    assert resumed.cache_hits >= 4


def test_a_worker_that_lacks_something_says_so(
    model: SpeechModel, tones: Path, tmp_path: Path
) -> None:
    def cut(at: Progress) -> None:
        if at.stage == "gradients" and at.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share = shared_gradients(Noting())
        compute(model, load_manifest(tones), tmp_path / "p", SETTINGS, cut, share=share)
    job = dataclasses.replace(JOBS[0], members=range(4, 6))
    with pytest.raises(ModelError, match="has other weights, or another tokenizer"):
        run_gradient_call(dataclasses.replace(job, model_identity="0" * 64))
    with pytest.raises(ClusterError, match=r"does not see .*\. Let \$GENPTQ_CACHE name a folder"):
        run_gradient_call(dataclasses.replace(job, errors=(tmp_path / "gone",)))
    strange = dataclasses.replace(job.utterances[4], digest="0" * 64)
    with pytest.raises(SpeechError, match="another recording on a worker"):
        run_gradient_call(dataclasses.replace(job, utterances=(strange,) * 6))
    assert run_gradient_call(job) == (2, 2 * SETTINGS.draws)
    assert run_gradient_call(job) == (2, 0)


@pytest.mark.slow  # 15 s, most of it two processes importing torch
def test_two_processes_give_the_profile_of_one(
    model: SpeechModel, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"
    alone, shared = both(model, tones, tmp_path, Workers(jobs=2), monkeypatch)
    check(alone, shared)
