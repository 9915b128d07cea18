"""Sweeps: many maps measured on one speech set, shard by shard, by one process or by many."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from .bitmap import BitMap
from .errors import ModelError, SpeechError
from .files import sha256_file
from .measurement import (
    check_model,
    measured_record,
    profile_key,
    quantized_weights,
    require_texts,
)
from .models import SpeechModel, load_model
from .options import Option
from .profile import Profile, load_profile
from .progress import Progress, Report, silent
from .shards import BATCH, Result, keep_result, measure_shard, read_result, shard_key, shards
from .speech import SpeechSet, Utterance
from .store import Measured
from .workers import Workers

_ONE_AT_A_TIME = threading.Lock()  # a map's weights are put into the process's one model


@dataclass(frozen=True)
class Job:
    """A map and a shard, with all that a worker needs to know; paths must be good there too.

    Attributes:
        model: name or absolute folder of the model.
        model_digest: what its weights must be.
        profile: absolute folder of the profile.
        profile_digest: what it must be.
        map: place of the map in the sweep.
        options: the map.
        weights_key: stands for the map's weights; see `shards.shard_key`.
        shard: place of the shard in the set.
        utterances: the shard.
    """

    model: str
    model_digest: str
    profile: str
    profile_digest: str
    map: int
    options: tuple[Option, ...]
    weights_key: str
    shard: int
    utterances: tuple[Utterance, ...]

    @property
    def key(self) -> str:
        """Digest of all that the result depends on."""
        return shard_key(self.model_digest, self.weights_key, self.utterances)


def measure_maps(
    model: SpeechModel,
    folder: Path,
    maps: Sequence[tuple[str, BitMap]],
    speech: SpeechSet,
    workers: Workers | None = None,
    report: Report = silent,
    normalizer: str = "",
    batch: int = BATCH,
) -> Iterator[Measured]:
    """Measure maps, each given out when the last of its shards is done.

    What is in the cache is not computed again, so a sweep that was cut off goes on. Counts of
    words are the same however many processes there are, divergences but for rounding.

    Args:
        model: the profile's model.
        folder: the profile's folder; like the recordings, workers must find it under this path.
        maps: labels and maps.
        speech: the set, with reference texts.
        workers: who computes; this process, if None.
        report: called with the utterances done, of all maps together.
        normalizer: text normalizer of both sides; the model's own if empty.
        batch: most utterances of a shard.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
        ModelError: the model is not the profile's.
        ClusterError: a worker died for good, or the cluster cannot be reached.
    """
    workers = workers or Workers()
    profile = load_profile(folder)
    check_model(model, profile)
    normalizer = normalizer or model.normalizer
    require_texts(speech, normalizer)
    cut = shards(speech, batch)
    name = str(Path(model.name).resolve()) if Path(model.name).exists() else model.name
    waiting: list[Job] = []
    done: list[dict[int, Result]] = [{} for _ in maps]
    for place, (_, chosen) in enumerate(maps):
        for number, members in enumerate(cut):
            job = Job(
                model=name,
                model_digest=model.digest,
                profile=str(Path(folder).resolve()),
                profile_digest=profile.digest,
                map=place,
                options=chosen.options,
                weights_key=profile_key(profile, chosen.options),
                shard=number,
                utterances=tuple(_absolute(speech.utterances[i]) for i in members),
            )
            found = read_result(job.key)
            if found is None:
                waiting.append(job)
            else:
                done[place][number] = found

    def record(place: int) -> Measured:
        label, chosen = maps[place]
        parts = [done[place][number] for number in range(len(cut))]
        return measured_record(model, profile, chosen, speech, cut, parts, label, normalizer)

    yield from (record(place) for place in range(len(maps)) if len(done[place]) == len(cut))
    total = len(maps) * len(speech)
    heard = total - sum(len(job.utterances) for job in waiting)
    report(Progress("measuring", heard, total))
    if workers.here:
        _own.clear()
        _own[model.digest] = model
    for job, found in workers.run(work, [(job,) for job in waiting]):
        keep_result(job.key, found)  # a worker's cache may be another one
        done[job.map][job.shard] = found
        heard += len(job.utterances)
        report(Progress("measuring", heard, total))
        if len(done[job.map]) == len(cut):
            yield record(job.map)


_own: dict[str, SpeechModel] = {}  # of a sweep in this process: the caller's model, by digest


def work(job: Job) -> tuple[Job, Result]:
    """Do one job of a sweep, in whatever process; doing it again gives the same.

    Raises:
        ModelError, ProfileError, SpeechError: what is here is not what the sweep is of.
        GenPTQError: the cache cannot be written.
    """
    with _ONE_AT_A_TIME:
        started = time.perf_counter()
        for one in job.utterances:
            _check_recording(one)
        model = _own.get(job.model_digest) or _model(job.model, job.model_digest)
        rounding = 0.0

        def weights() -> Mapping[str, Tensor]:
            nonlocal rounding
            before = time.perf_counter()
            found = _weights(model, job.profile, job.profile_digest, job.options)
            rounding = time.perf_counter() - before
            return found

        found = measure_shard(model, weights, job.weights_key, job.utterances)
        del started
        return job, dataclasses.replace(found, seconds=found.seconds + rounding)


def _check_recording(recording: Utterance) -> None:
    try:
        same = sha256_file(recording.audio) == recording.digest
    except OSError as error:
        raise SpeechError(
            f"A worker cannot read {recording.audio} ({error.strerror}).",
            "All machines must see the recordings under the same path.",
        ) from error
    if not same:
        raise SpeechError(
            f"{recording.audio} is another recording on a worker.",
            "All machines must see the recordings under the same path.",
        )


@lru_cache(maxsize=1)
def _model(name: str, digest: str) -> SpeechModel:
    model = load_model(name)
    if model.digest != digest:
        raise ModelError(
            f"{name} has other weights on a worker.", "Give all machines the same model."
        )
    return model


@lru_cache(maxsize=1)
def _profile(folder: str, digest: str) -> Profile:
    profile = load_profile(Path(folder))
    if profile.digest != digest:
        raise ModelError(
            f"{folder} is another profile on a worker.", "Give all machines the same profile."
        )
    return profile


_rounded: dict[str, Mapping[str, Tensor]] = {}  # of the map at hand


def _weights(
    model: SpeechModel, folder: str, digest: str, options: tuple[Option, ...]
) -> Mapping[str, Tensor]:
    """A map's weights, rounded once for all the shards that one process gets of it."""
    profile = _profile(folder, digest)
    key = profile_key(profile, options)
    if key not in _rounded:
        _rounded.clear()
        _rounded[key] = quantized_weights(model, profile, options)
    return _rounded[key]


def _absolute(recording: Utterance) -> Utterance:
    return dataclasses.replace(recording, audio=Path(recording.audio).resolve())
