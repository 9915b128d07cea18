"""Several maps measured on one speech set, shard by shard, by one process or by many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..models import SpeechModel
from ..models.asking import asked_of
from ..profile import Profile, load_profile
from ..progress import Progress, Report, silent
from ..rounding.rounded import check_model, quantized_weights, rounding_key
from ..speech.utterances import SpeechSet, Utterance
from ..workers.local_copies import (
    MODEL_LOCK,
    check_recordings,
    identity_of,
    local_model,
    local_profile,
    name_with_absolute_path,
    with_absolute_paths,
)
from ..workers.pool import Workers
from .evaluation import Evaluation
from .long_speech import check_lengths
from .measure import ROUNDED, measure, normalizer_of, record_of
from .records import Measured
from .shards import ShardResult, measure_shard, save_result, shard_key


def measure_maps(
    model: SpeechModel,
    folder: Path,
    maps: Sequence[tuple[str, BitMap]],
    speech: SpeechSet,
    *,
    workers: Workers | None = None,
    report: Report = silent,
    normalizer: str = "",
    stop: float | None = None,
) -> Iterator[Measured]:
    """Measurements of maps, each as soon as it is finished.

    What is in the cache is not computed again, so a sweep that was cut off continues. The number
    of processes changes no result, except for rounding where their numbers of threads differ.

    Args:
        model: the profile's model.
        folder: the profile's folder; workers must find it, and the recordings, under this path.
        maps: labels and maps.
        speech: the set, with reference texts.
        workers: the processes that compute; this process if None.
        report: called with the utterances done, of all maps together.
        normalizer: text normalizer of both sides; if empty the model's own, or where that does not
            fit the texts, one that does.
        stop: an increase of WER, a fraction, at which to stop once it is decided; see `Evaluation`.

    Raises:
        SpeechError: a recording cannot be used, or no utterance has a reference text.
        ModelError, ProfileError: the model is not the profile's, or a worker has others.
        ConstraintError: `stop` is not an increase of WER.
        ClusterError: a worker died for good, or the cluster cannot be reached.
    """
    profile = load_profile(folder)
    check_lengths(model, speech)
    normalizer = normalizer_of(model, speech, normalizer)
    if workers is None or workers.here:
        for number, (label, chosen) in enumerate(maps):
            yield measure(
                model,
                profile,
                chosen,
                speech,
                label=label,
                report=_numbered(report, number, len(maps)),
                normalizer=normalizer,
                stop=stop,
            )
        return
    check_model(model, profile)
    evaluations = [Evaluation(speech, normalizer, stop) for _ in maps]
    keys = [rounding_key(profile, chosen.options) for _, chosen in maps]
    total = sum(e.recall(model, key) for e, key in zip(evaluations, keys, strict=True))

    def record(number: int) -> Measured:
        label, chosen = maps[number]
        evaluation = evaluations[number]
        return record_of(evaluation, model, profile, chosen, label=label, normalizer=normalizer)

    yield from (record(number) for number, e in enumerate(evaluations) if e.finished)
    done = 0
    report(Progress("measuring", done, total))
    calls = _calls(
        model,
        profile,
        Path(folder),
        device=workers.device,
        maps=[chosen for _, chosen in maps],
        evaluations=evaluations,
    )
    for call, result in workers.run(run_shard_call, calls):
        # A worker's cache may be another one.
        save_result(shard_key(model, keys[call.map], call.utterances), result)
        done += len(call.utterances)
        report(Progress("measuring", done, total))
        if evaluations[call.map].add(call.shard, result):
            yield record(call.map)


@dataclass(frozen=True)
class ShardCall:
    """A map and a shard, with all that a worker needs to know.

    Attributes:
        model: name or absolute folder of the model.
        model_identity: what it must be; see `identity_of`.
        asked: language and task that it is asked for; see `asked_of`.
        device: device on which it runs.
        profile: absolute folder of the profile.
        profile_digest: digest that it must have.
        map: index of the map in the sweep.
        chosen: the map.
        shard: number of the shard.
        utterances: the shard, with absolute paths.
    """

    model: str
    model_identity: str
    asked: tuple[str, str]
    device: str
    profile: str
    profile_digest: str
    map: int
    chosen: BitMap
    shard: int
    utterances: tuple[Utterance, ...]


def run_shard_call(call: ShardCall) -> tuple[ShardCall, ShardResult]:
    """Measure a shard, in any process; measuring it again gives the same result.

    Raises:
        ModelError, ProfileError, SpeechError: the model, the profile or a recording here differs
            from the sweep's.
        GenPTQError: the cache cannot be written.
    """
    with MODEL_LOCK:
        check_recordings(call.utterances)
        model = local_model(call.model, call.model_identity, call.device, call.asked)
        profile = local_profile(call.profile, call.profile_digest)
        key = rounding_key(profile, call.chosen.options)
        result = measure_shard(
            model, lambda: _weights(model, profile, call.chosen, key), key, call.utterances
        )
        return call, result


_rounded: dict[str, Mapping[str, Tensor]] = {}  # of the latest map, by its rounding key


def _weights(
    model: SpeechModel, profile: Profile, chosen: BitMap, key: str
) -> Mapping[str, Tensor]:
    """A map's weights, rounded once for all the shards that one process gets of it."""
    if key not in _rounded:
        _rounded.clear()  # before the next are made: large models have room for one
        _rounded[key] = quantized_weights(model, profile, chosen.options, kept=ROUNDED)
    return _rounded[key]


def _calls(
    model: SpeechModel,
    profile: Profile,
    folder: Path,
    *,
    device: str,
    maps: Sequence[BitMap],
    evaluations: Sequence[Evaluation],
) -> Iterator[tuple[ShardCall]]:
    """The shards that remain of all maps, each as the only argument of `run_shard_call`.

    Whether a shard is still needed is looked up when its turn comes: by then its map may be
    decided.
    """
    name = name_with_absolute_path(model)
    for number, (chosen, evaluation) in enumerate(zip(maps, evaluations, strict=True)):
        for shard in evaluation.remaining:
            if evaluation.finished:
                break
            call = ShardCall(
                model=name,
                model_identity=identity_of(model),
                asked=asked_of(model),
                device=device,
                profile=str(folder.resolve()),
                profile_digest=profile.digest,
                map=number,
                chosen=chosen,
                shard=shard,
                utterances=with_absolute_paths(evaluation.utterances(shard)),
            )
            yield (call,)


def _numbered(report: Report, number: int, total: int) -> Report:
    """A report whose stages name the map among several."""
    if total == 1:
        return report
    return lambda at: report(
        dataclasses.replace(
            at, stage=f"map {number + 1} of {total}, {at.stage}", part=number, parts=total
        )
    )
