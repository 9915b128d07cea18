"""Sweeps: maps measured on one speech set, shard by shard, by one process or by many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..models import SpeechModel
from ..profile import Profile, load_profile
from ..progress import Progress, Report, silent
from ..rounding.rounded import check_model, quantized_weights, rounding_key
from ..speech.utterances import SpeechSet, Utterance
from ..workers.local_copies import (
    MODEL_LOCK,
    check_recordings,
    local_model,
    local_profile,
    name_with_absolute_path,
    with_absolute_paths,
)
from ..workers.pool import Workers
from .evaluation import Evaluation
from .measure import measure, record_of
from .records import Measured
from .shards import ShardResult, measure_shard, save_result, shard_key


@dataclass(frozen=True)
class ShardCall:
    """A map and a shard, with all that a worker needs to know; paths must be good there too.

    Attributes:
        model: name or absolute folder of the model.
        model_digest: what its weights must be.
        device: where it shall run.
        profile: absolute folder of the profile.
        profile_digest: what it must be.
        map: place of the map in the sweep.
        chosen: the map.
        shard: number of the shard.
        utterances: the shard.
    """

    model: str
    model_digest: str
    device: str
    profile: str
    profile_digest: str
    map: int
    chosen: BitMap
    shard: int
    utterances: tuple[Utterance, ...]


def measure_maps(
    model: SpeechModel,
    folder: Path,
    maps: Sequence[tuple[str, BitMap]],
    speech: SpeechSet,
    workers: Workers | None = None,
    report: Report = silent,
    normalizer: str = "",
    stop: float | None = None,
) -> Iterator[Measured]:
    """Measure maps, each given out as soon as it is done.

    What is in the cache is not computed again, so a sweep that was cut off goes on. How many
    processes there are changes no number, but for rounding where they differ in threads.

    Args:
        model: the profile's model.
        folder: the profile's folder; like the recordings, workers must find it under this path.
        maps: labels and maps.
        speech: the set, with reference texts.
        workers: who computes; this process, if None.
        report: called with the utterances done, of all maps together.
        normalizer: text normalizer of both sides; the model's own if empty.
        stop: an increase of WER, a fraction, at which to stop once it is decided; see `Evaluation`.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
        ModelError, ProfileError: the model is not the profile's, or a worker has others.
        ConstraintError: `stop` is no increase of WER.
        ClusterError: a worker died for good, or the cluster cannot be reached.
    """
    profile = load_profile(folder)
    normalizer = normalizer or model.normalizer
    if workers is None or workers.here:
        for number, (label, chosen) in enumerate(maps):
            yield measure(
                model, profile, chosen, speech, label,
                _placed(report, number, len(maps)), normalizer, stop=stop,
            )  # fmt: skip
        return
    check_model(model, profile)
    trials = [Evaluation(speech, normalizer, stop) for _ in maps]
    keys = [rounding_key(profile, chosen.options) for _, chosen in maps]
    total = sum(trial.recall(model, key) for trial, key in zip(trials, keys, strict=True))

    def record(place: int) -> Measured:
        label, chosen = maps[place]
        return record_of(trials[place], model, profile, chosen, label, normalizer)

    yield from (record(place) for place, trial in enumerate(trials) if trial.finished)
    done = 0
    report(Progress("measuring", done, total))
    jobs = _jobs(model, workers.device, folder, profile, [chosen for _, chosen in maps], trials)
    for job, found in workers.run(run_shard_call, jobs):
        # A worker's cache may be another one.
        save_result(shard_key(model, keys[job.map], job.utterances), found)
        done += len(job.utterances)
        report(Progress("measuring", done, total))
        if trials[job.map].add(job.shard, found):
            yield record(job.map)


def _jobs(
    model: SpeechModel,
    device: str,
    folder: Path,
    profile: Profile,
    maps: Sequence[BitMap],
    trials: Sequence[Evaluation],
) -> Iterator[tuple[ShardCall]]:
    """What is left of all maps, each looked up when its turn comes: it may be decided by then."""
    name, place_of_profile = name_with_absolute_path(model), str(Path(folder).resolve())
    where = (name, model.digest, device, place_of_profile, profile.digest)
    for place, (chosen, trial) in enumerate(zip(maps, trials, strict=True)):
        for shard in trial.left:
            if trial.finished:
                break
            yield (
                ShardCall(
                    *where, place, chosen, shard, with_absolute_paths(trial.utterances(shard))
                ),
            )


def _placed(report: Report, number: int, total: int) -> Report:
    """A report that says which of several maps it is of."""
    if total == 1:
        return report
    return lambda at: report(
        dataclasses.replace(at, stage=f"map {number + 1} of {total}, {at.stage}")
    )


def run_shard_call(job: ShardCall) -> tuple[ShardCall, ShardResult]:
    """Do one job of a sweep, in whatever process; doing it again gives the same.

    Raises:
        ModelError, ProfileError, SpeechError: what is here is not what the sweep is of.
        GenPTQError: the cache cannot be written.
    """
    with MODEL_LOCK:
        check_recordings(job.utterances)
        model = local_model(job.model, job.model_digest, job.device)
        profile = local_profile(job.profile, job.profile_digest)
        key = rounding_key(profile, job.chosen.options)
        found = measure_shard(
            model, lambda: _weights(model, profile, job.chosen, key), key, job.utterances
        )
        return job, found


_rounded: dict[str, Mapping[str, Tensor]] = {}  # of the map at hand


def _weights(
    model: SpeechModel, profile: Profile, chosen: BitMap, key: str
) -> Mapping[str, Tensor]:
    """A map's weights, rounded once for all the shards that one process gets of it."""
    if key not in _rounded:
        _rounded.clear()  # before the next are made: large models have room for one
        _rounded[key] = quantized_weights(model, profile, chosen.options)
    return _rounded[key]
