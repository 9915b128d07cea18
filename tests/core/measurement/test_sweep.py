"""Sweeps: shards of a set, evaluations that end early, many processes with one's results."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import ClusterError, ConstraintError, ModelError, ProfileError, SpeechError
from genptq_core.extras import install_command
from genptq_core.loading import load_model
from genptq_core.measurement import shards
from genptq_core.measurement.evaluation import Evaluation
from genptq_core.measurement.measure import measure
from genptq_core.measurement.records import Measured
from genptq_core.measurement.shards import ShardResult, measure_shard, random_blocks
from genptq_core.measurement.sweep import ShardCall, measure_maps, run_shard_call
from genptq_core.models import SpeechModel
from genptq_core.profile import Profile, load_profile, save
from genptq_core.progress import Progress
from genptq_core.speech.utterances import SpeechSet, load_manifest, speech_set
from genptq_core.workers import local_copies
from genptq_core.workers.pool import Workers
from tests.conftest import ROOT
from tests.core import synthetic
from tests.core.tiny_models import WAV2VEC2, random_ctc

COUNT = 9
SHARDS = 6  # as `small` cuts the speech below: three blocks of three, each 2 and 1
Maps = list[tuple[str, BitMap]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sums in one order, here and in every other process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of at most 2 utterances, blocks of at most 3."""
    monkeypatch.setattr(shards, "BATCH", 2)
    monkeypatch.setattr(shards, "BLOCK", 3)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> SpeechSet:
    """Noises of 0.3 to 1.1 s with made-up texts."""
    folder = tmp_path_factory.mktemp("noises")
    lines = []
    for index in range(COUNT):
        rng = np.random.default_rng(index)
        wave = rng.normal(0, 0.1, 4_800 + 1_600 * (index * 4 % COUNT))
        soundfile.write(folder / f"{index}.wav", wave, 16_000)
        lines.append(f'{{"audio": "{index}.wav", "text": "noise number {index}"}}')
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return load_manifest(folder / "manifest.jsonl")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(random_ctc(tmp_path_factory.mktemp("model") / "tiny", WAV2VEC2)))


@pytest.fixture(scope="module")
def folder(model: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of the model, on disk."""
    path = tmp_path_factory.mktemp("profile") / "p"
    save(synthetic.profile_of(model, group_size=16, bits=(2, 3, 4)), path)
    return path


@pytest.fixture(scope="module")
def profile(folder: Path) -> Profile:
    return load_profile(folder)


@pytest.fixture(scope="module")
def maps(profile: Profile) -> Maps:
    count = len(profile.units)
    return [(key, bit_map(profile, [key] * count)) for key in ("2/16", "4/16")]


def timeless(records: list[Measured]) -> list[Measured]:
    """Records without the time that they took, by map: what every process must find alike."""
    alike = [dataclasses.replace(r, seconds=0.0) for r in records]
    return sorted(alike, key=lambda r: r.map_digest)


def kept(cache: Path) -> int:
    """Shards in a cache folder."""
    return len(list((cache / "shards").rglob("*.safetensors")))


def test_a_set_is_cut_by_its_recordings_alone(
    speech: SpeechSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCK", 5)

    def digests(of: SpeechSet) -> list[list[list[str]]]:
        return [
            [[of.utterances[i].digest for i in s] for s in block] for block in random_blocks(of)
        ]

    cut = digests(speech)
    assert [[len(shard) for shard in block] for block in cut] == [[2, 2, 1], [2, 2]]
    assert sorted(d for block in cut for shard in block for d in shard) == sorted(
        u.digest for u in speech.utterances
    )
    assert digests(speech_set("turned", list(speech.utterances[::-1]))) == cut
    lengths = {u.digest: soundfile.info(u.audio).frames for u in speech.utterances}
    for block in cut:
        found = [lengths[d] for shard in block for d in shard]
        assert found == sorted(found)


def test_a_shard_is_kept_and_done_again_when_damaged(
    model: SpeechModel, speech: SpeechSet, cache: Path
) -> None:
    called = []

    def weights() -> dict[str, torch.Tensor]:
        called.append(1)
        return {}

    part = speech.utterances[:2]
    first = measure_shard(model, weights, "key", part)
    assert measure_shard(model, weights, "key", part) == first
    assert (len(called), kept(cache)) == (1, 1)
    assert first.full == first.heard and first.losses == (0.0, 0.0) and min(first.tokens) > 0
    (path,) = (cache / "shards").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    again = measure_shard(model, weights, "key", part)
    assert dataclasses.replace(again, seconds=first.seconds) == first
    measure_shard(model, weights, "other", part)
    measure_shard(model, weights, "key", part[::-1])
    assert (len(called), kept(cache)) == (4, 3)
    measure_shard(model, weights, "", part)
    assert (len(called), kept(cache)) == (5, 3)


def result_of(
    evaluation: Evaluation, number: int, wrong: tuple[int, ...] | None = ()
) -> ShardResult:
    """A shard that full precision writes right, the map wrong where told; None: everywhere."""
    texts = [u.text for u in evaluation.utterances(number)]
    bad = range(len(texts)) if wrong is None else wrong
    return ShardResult(
        full=tuple(texts),
        heard=tuple("x y z" if i in bad else text for i, text in enumerate(texts)),
        losses=(0.5,) * len(texts),
        tokens=(4,) * len(texts),
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("wrong", "stop", "utterances"),
    [
        ((), 0.01, 3),  # surely below
        (None, 0.5, 3),  # surely above
        ((0,), 0.6, COUNT),  # two of three wrong, so either may be: the first of each shard
        (None, None, COUNT),
    ],
)
def test_an_evaluation_ends_when_it_is_decided_and_says_of_what_it_is(
    speech: SpeechSet, wrong: tuple[int, ...] | None, stop: float | None, utterances: int
) -> None:
    evaluation = Evaluation(speech, "basic", stop)
    while evaluation.remaining:
        evaluation.add(
            evaluation.remaining[0], result_of(evaluation, evaluation.remaining[0], wrong)
        )
    assert evaluation.finished
    part = evaluation.speech
    assert len(part) == len(evaluation.score().transcripts) == utterances
    assert (part is speech) == (utterances == COUNT)
    if part is not speech:
        assert part.name == f"{speech.name}, stopped at 3 of 9"
        assert part.digest == speech_set("", list(part.utterances)).digest != speech.digest
        drawn = {i for shard in random_blocks(speech)[0] for i in shard}
        assert part.utterances == tuple(speech.utterances[i] for i in sorted(drawn))
        assert evaluation.score().words == 9


def test_the_order_of_shards_changes_nothing_and_twice_counts_once(speech: SpeechSet) -> None:
    straight, turned = (Evaluation(speech, "basic", 0.5) for _ in range(2))
    whole = Evaluation(speech, "basic")
    for number in range(SHARDS):
        straight.add(number, result_of(straight, number, None))
        whole.add(number, result_of(whole, number, (0,)))
        assert not whole.add(number, result_of(whole, number, None))
    for number in range(SHARDS)[::-1]:
        finished = turned.add(number, result_of(turned, number, None))
        assert finished == (number == 0)
    assert turned.score() == straight.score()
    assert turned.speech == straight.speech and len(turned.speech) == 3
    assert whole.score().wer == pytest.approx(SHARDS / COUNT)


@pytest.mark.parametrize("stop", [1.0, -1.5, float("nan"), float("inf")])
def test_what_is_no_increase_of_wer_decides_nothing(speech: SpeechSet, stop: float) -> None:
    with pytest.raises(ConstraintError, match="decides nothing"):
        Evaluation(speech, "basic", stop)


def test_two_processes_find_what_one_does(
    model: SpeechModel,
    folder: Path,
    maps: Maps,
    speech: SpeechSet,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = list(measure_maps(model, folder, maps, speech))
    assert [r.label for r in alone] == ["2/16", "4/16"]
    assert alone[0].loss > alone[1].loss > 0
    assert alone[0].transcripts != alone[1].transcripts
    assert kept(cache) == 2 * SHARDS
    monkeypatch.setenv("GENPTQ_CACHE", str(cache / "other"))
    stages: list[Progress] = []
    report = stages.append
    many = list(measure_maps(model, folder, maps, speech, workers=Workers(jobs=2), report=report))
    assert timeless(many) == timeless(alone)
    assert kept(cache / "other") == 2 * SHARDS
    assert stages[0] == Progress("measuring", 0, 2 * COUNT)
    assert stages[-1] == Progress("measuring", 2 * COUNT, 2 * COUNT)
    stages.clear()
    again = list(measure_maps(model, folder, maps, speech, workers=Workers(jobs=2), report=report))
    assert timeless(again) == timeless(alone)
    assert stages == [Progress("measuring", 0, 0)]


def test_a_measurement_that_was_cut_off_goes_on(
    model: SpeechModel, profile: Profile, maps: Maps, speech: SpeechSet, cache: Path
) -> None:
    chosen = maps[0][1]

    def cut(at: Progress) -> None:
        if at.stage == "measuring" and at.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(model, profile, chosen, speech, report=cut)
    assert kept(cache) == 3
    stages: list[Progress] = []
    record = measure(model, profile, chosen, speech, report=stages.append)
    assert next(at.done for at in stages if at.stage == "measuring") == 0
    assert stages[-1] == Progress("measuring", COUNT - 5, COUNT - 5)
    assert record.utterances == COUNT


@pytest.fixture
def job(
    model: SpeechModel, folder: Path, profile: Profile, maps: Maps, speech: SpeechSet
) -> ShardCall:
    local_copies.local_model.cache_clear()
    local_copies.local_profile.cache_clear()
    return ShardCall(
        model=model.name,
        model_identity=local_copies.identity_of(model),
        asked=("", ""),
        device="cpu",
        profile=str(folder),
        profile_digest=profile.digest,
        map=0,
        chosen=maps[0][1],
        shard=0,
        utterances=speech.utterances[:2],
    )


def test_a_worker_does_a_job_twice_alike(job: ShardCall) -> None:
    assert run_shard_call(job) == run_shard_call(job)


def test_a_worker_with_other_recordings_says_so(job: ShardCall, tmp_path: Path) -> None:
    other = dataclasses.replace(job.utterances[0], audio=job.utterances[1].audio)
    with pytest.raises(SpeechError, match="is another recording on a worker"):
        run_shard_call(dataclasses.replace(job, utterances=(other,)))
    gone = dataclasses.replace(job.utterances[0], audio=tmp_path / "gone.wav")
    with pytest.raises(SpeechError, match=r"cannot read .*gone\.wav"):
        run_shard_call(dataclasses.replace(job, utterances=(gone,)))


def test_a_worker_with_another_model_or_profile_says_so(job: ShardCall) -> None:
    with pytest.raises(ModelError, match="has other weights, or another tokenizer"):
        run_shard_call(dataclasses.replace(job, model_identity="0" * 64))
    with pytest.raises(ModelError, match="There is no device 'tpu'"):
        run_shard_call(dataclasses.replace(job, device="tpu"))
    with pytest.raises(ProfileError, match="is another profile on a worker"):
        run_shard_call(dataclasses.replace(job, profile_digest="0" * 64))


@dataclasses.dataclass
class Cluster:
    """A scheduler and two worker processes that reach each other over TCP, caches of their own."""

    address: str
    workers: list[subprocess.Popen[bytes]]
    caches: list[Path]


@contextlib.contextmanager
def started(folder: Path, **environment: str) -> Iterator[Cluster]:
    """A cluster whose processes have these variables set."""
    pytest.importorskip("distributed", reason=install_command("cluster"))
    from distributed import Client

    note = folder / "scheduler.json"
    caches = [folder / "worker-0", folder / "worker-1"]
    running: list[subprocess.Popen[bytes]] = []

    def start(cache: Path, *arguments: Any) -> None:
        variables = {**os.environ, "GENPTQ_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        with (folder / f"log-{len(running)}").open("wb") as log:
            command = [sys.executable, "-P", "-m", "dask", *map(str, arguments)]
            running.append(
                subprocess.Popen(
                    command, env=variables | environment, cwd=folder, stdout=log, stderr=log
                )
            )

    try:
        here = ("--host", "tcp://127.0.0.1", "--no-dashboard", "--scheduler-file", note)
        start(folder, "scheduler", "--port", "0", *here)
        for cache in caches:
            start(cache, "worker", "--nthreads", "1", "--no-nanny", *here)
        deadline = time.monotonic() + 60
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        with Client(scheduler_file=str(note), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        assert address.startswith("tcp://")
        yield Cluster(address, running[1:], caches)
    finally:
        for process in running[::-1]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with started(tmp_path, PYTHONPATH=str(ROOT)) as found:
        yield found


def test_a_cluster_without_the_program_is_named(
    model: SpeechModel, folder: Path, maps: Maps, speech: SpeechSet, tmp_path: Path
) -> None:
    # Installed or not, the workers find an empty module where the program should be.
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "genptq_core.py").touch()
    with started(tmp_path, PYTHONPATH=str(tmp_path / "empty")) as bare:
        workers = Workers(scheduler=bare.address)
        with pytest.raises(ClusterError, match="cluster lacks the package genptq_core"):
            list(measure_maps(model, folder, maps, speech, workers=workers))


@pytest.mark.slow  # 25 s, most of it two workers importing torch
def test_a_cluster_finds_what_one_process_does_though_a_worker_is_killed(
    model: SpeechModel, folder: Path, maps: Maps, speech: SpeechSet, cluster: Cluster,
    cache: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    alone = list(measure_maps(model, folder, maps, speech))
    monkeypatch.setenv("GENPTQ_CACHE", str(cache / "other"))
    killed = []

    def kill_first(at: Progress) -> None:
        # When it has done something, and more is under way.
        if at.done and kept(cluster.caches[0]) and not killed:
            cluster.workers[0].send_signal(signal.SIGKILL)
            killed.append(at)

    workers = Workers(scheduler=cluster.address)
    many = list(measure_maps(model, folder, maps, speech, workers=workers, report=kill_first))
    assert killed and killed[0].done < killed[0].total
    assert cluster.workers[0].wait(10) == -signal.SIGKILL
    assert timeless(many) == timeless(alone)
    assert kept(cache / "other") == 2 * SHARDS
    first, second = map(kept, cluster.caches)
    assert first and second
    # Only what the dead worker had under way, or had not yet handed over, was done again.
    assert 2 * SHARDS <= first + second <= 2 * SHARDS + 2
