"""How large measured loss is next to the predicted, on speech of several kinds: measures the maps.

    python -m benchmarks.scale --profile data/profiles/whisper-tiny.en \\
        --set calibration=CALIBRATION_MANIFEST --set readers=OTHER_MANIFEST \\
        --set demo=data/speech/demo/manifest.jsonl \\
        --set mp3=OTHER_MANIFEST,mp3 --set noise=OTHER_MANIFEST,noise \\
        --out benchmarks/results/scale-whisper-tiny.en.json
    python -m benchmarks.scale --profile data/profiles/whisper-tiny.en --report \\
        --out benchmarks/results/scale-whisper-tiny.en.json

Chosen maps of each target that the profile serves, at several average widths, and uniform maps.
Loss is the divergence from full precision on full precision's own transcripts, so nothing is
decoded and no text is needed. `,mp3` codes a set at 32 kbit/s, `,noise` adds white noise at 10 dB, `,64` takes the first 64.
`--chosen-on 16,32,64` measures maps that the solver chooses from so many of the profile's
utterances instead, on denoised and on raw sensitivities. Results are saved as they come, by utterance; a second call continues.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.random_maps import part_of
from genptq_core import (
    Profile,
    QuadraticLoss,
    load_profile,
    load_speech,
    problem,
    quadratic_loss,
    solve_average_bits,
)
from genptq_core.errors import GenPTQError
from genptq_core.options import Option
from genptq_core.speech.utterances import RATE, SpeechSet, load_audio, speech_set, utterance
from genptq_core.storage.files import write_text

AVERAGES = {
    "native": (2.0, 2.5, 3.0, 4.0),
    "integer": (3.5, 4.0, 5.0),
    "gguf": (4.75, 5.5),
}
"""Average widths of the chosen maps, by target."""

COMPARED = {"native": (2.5, 3.0), "integer": (4.0,)}
"""Average widths at which maps chosen on denoised and on raw sensitivities are compared."""

UNIFORM = ("3", "4/64")
"""Options of the uniform maps, where the profile has them."""

DEGRADE = ("mp3", "noise")
NOISE_DB = 10
MP3_LEVEL = 0.85  # of libsndfile's encoder: 32 kbit/s at 16 kHz

Ways = tuple[Option, ...]


@dataclass(frozen=True)
class Map:
    """A map to measure.

    Attributes:
        label: what it is: "chosen", "uniform 3/64", "chosen on 16".
        target: the target that it was chosen for; of uniform maps the option's form.
        bits: average width.
        ways: option of each unit.
    """

    label: str
    target: str
    bits: float
    ways: Ways


def maps_of(profile: Profile, counts: list[int]) -> Iterator[Map]:
    """The maps of a profile: chosen and uniform ones; or, with counts, those to be compared.

    Args:
        profile: the profile.
        counts: utterances to choose on, both denoised and raw.
    """
    draws = profile.projections.shape[1]
    if counts:
        for count in counts:
            part = part_of(profile, count, draws)
            for denoise in (True, False):
                label = f"chosen {'denoised' if denoise else 'raw'} on {count}"
                loss = quadratic_loss(part, denoise=denoise)
                yield from _chosen(profile, loss, label, COMPARED)
        return
    yield from _chosen(profile, quadratic_loss(profile), "chosen", AVERAGES)
    menu = {option.key: option for option in profile.menu}
    for key in UNIFORM:
        if key in menu:
            ways = tuple(menu[key] for _ in profile.units)
            target = "native" if menu[key].form == "coded" else "integer"
            yield Map(f"uniform {key}", target, menu[key].bits, ways)


def _chosen(
    profile: Profile, loss: QuadraticLoss, label: str, averages: dict[str, tuple[float, ...]]
) -> Iterator[Map]:
    """What the solver chooses under a loss."""
    for target, wanted in averages.items():
        try:
            task = problem(profile, loss=loss, target=target)
            for average in wanted:
                yield Map(label, target, average, solve_average_bits(task, average).options)
        except GenPTQError:  # the profile has nothing for it, or nothing so narrow
            continue


def degraded(speech: SpeechSet, how: str, folder: Path) -> SpeechSet:
    """The recordings coded as MP3, or with white noise; their texts stay."""
    import soundfile

    made = []
    for index, recording in enumerate(speech.utterances):
        samples = load_audio(recording)
        path = folder / f"{recording.digest}.{'mp3' if how == 'mp3' else 'flac'}"
        if how == "mp3":
            soundfile.write(
                path, samples, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=MP3_LEVEL
            )
        else:
            power = float(np.square(samples).mean()) / 10 ** (NOISE_DB / 10)
            noise = np.random.default_rng(index).normal(0, np.sqrt(power), len(samples))
            soundfile.write(path, np.clip(samples + noise, -1, 1), RATE, subtype="PCM_16")
        made.append(utterance(path, recording.text, recording.speaker))
    return speech_set(f"{speech.name}, {how}", made)


def sets_of(options: argparse.Namespace, folder: Path) -> dict[str, SpeechSet]:
    """The sets to measure on, by the names they were given."""
    found = {}
    for spec in options.set:
        name, _, source = spec.partition("=")
        source, _, how = source.partition(",")
        first = int(how) if how.isdecimal() else None
        every = load_speech(source, first).utterances
        chosen = list(every[:: max(1, len(every) // options.utterances)][: options.utterances])
        speech = speech_set(name, chosen)
        (folder / name).mkdir()
        found[name] = degraded(speech, how, folder / name) if how in DEGRADE else speech
    return found


def measure(profile: Profile, options: argparse.Namespace, folder: Path) -> None:
    """Measure what is not measured yet, saving after every map."""
    import torch

    from genptq_core import load_model
    from genptq_core.models.divergence import divergences, head_states
    from genptq_core.models.weights import replaced, unit_weight
    from genptq_core.quantizers import quantize, restored
    from genptq_core.rounding.baseline import baseline
    from genptq_core.rounding.rounded import unit_statistics

    model = load_model(profile.source.model)
    document = read(options.out) or {"profile": profile.digest, "sets": {}, "maps": []}
    held = {}
    for name, speech in sets_of(options, folder).items():
        transcripts, states = baseline(model, speech.utterances)
        document["sets"][name] = {
            "source": speech.name,
            "tokens": [len(t.tokens) for t in transcripts],
            "digests": [u.digest for u in speech.utterances],
        }
        held[name] = ([load_audio(u) for u in speech.utterances], transcripts, states)
    parameters = dict(model.module.named_parameters())
    rounded: dict[tuple[int, Option], torch.Tensor] = {}
    for chosen in maps_of(profile, options.chosen_on):
        keys = [option.key for option in chosen.ways]
        record = next((r for r in document["maps"] if r["options"] == keys), None)
        if record is None:
            record = {"label": chosen.label, "target": chosen.target, "bits": chosen.bits}
            record |= {"options": keys, "loss": {}, "labels": []}
            document["maps"].append(record)
        name_ = f"{chosen.label} {chosen.target} {chosen.bits}"
        if name_ not in record["labels"]:
            record["labels"].append(name_)
        wanted = [name for name in held if name not in record["loss"]]
        if not wanted:
            continue
        weights: dict[str, torch.Tensor] = dict(model.derived)
        for index, (unit, option) in enumerate(zip(profile.units, chosen.ways, strict=True)):
            if option.form == "half":
                continue
            if (index, option) not in rounded:
                weight = unit_weight(parameters[unit.parameter], unit)
                stored = quantize(weight, *unit_statistics(profile, unit), [option])[0]
                assert stored is not None
                rounded[index, option] = restored(stored).half()
            if unit.parameter not in weights:
                weights[unit.parameter] = parameters[unit.parameter].detach().clone()
            part = weights[unit.parameter][unit.start : unit.stop]
            part.copy_(rounded[index, option].view_as(part))
        with replaced(model, weights), torch.no_grad():
            for name in wanted:
                audio, transcripts, reference = held[name]
                states = head_states(model, audio, transcripts)
                record["loss"][name] = [
                    divergences([model.log_probs(a)], [model.log_probs(b)])[0]
                    for a, b in zip(reference, states, strict=True)
                ]
        write_text(options.out, json.dumps(document))
        print(name_, {n: round(loss_of(document, record, n), 5) for n in wanted}, flush=True)
    write_text(options.out, json.dumps(document))


def loss_of(document: dict, record: dict, name: str) -> float:
    """Measured loss of a map on a set, nats per token."""
    return sum(record["loss"][name]) / sum(document["sets"][name]["tokens"])


def read(path: Path) -> dict | None:
    """What was measured so far."""
    return json.loads(path.read_text()) if path.exists() else None


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=MANIFEST[,mp3|,noise|,FIRST]")
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument(
        "--chosen-on", type=lambda t: [int(n) for n in t.split(",")], default=[], metavar="N,..."
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    if not options.report:
        with tempfile.TemporaryDirectory() as folder:
            measure(profile, options, Path(folder))


if __name__ == "__main__":
    main()
