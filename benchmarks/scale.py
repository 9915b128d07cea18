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
decoded and no text is needed. `,mp3` codes a set at 32 kbit/s, `,noise` adds white noise at 10 dB,
`,64` takes the first 64.
`--chosen-on 16,32,64` measures maps that the solver chooses from so many of the profile's
utterances instead, on denoised and on raw sensitivities. Results are saved as they come, by
utterance; a second call continues.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.degrade import degraded
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
from genptq_core.errors import GenPTQError, ModelError
from genptq_core.measurement.adapting import WIDTHS
from genptq_core.measurement.speech_scale import fitted, form_of
from genptq_core.options import Option
from genptq_core.speech.utterances import SpeechSet, load_audio, speech_set
from genptq_core.storage.files import write_text

AVERAGES = {
    "native": (2.5, 4.0, 2.0, 3.0),
    "integer": (4.0, 5.0, 3.5),
    "gguf": (4.75, 5.5),
}
"""Average widths of the chosen maps, by target."""

COMPARED = {"native": (2.5, 3.0), "integer": (4.0,)}
"""Average widths at which maps chosen on denoised and on raw sensitivities are compared."""

UNIFORM = ("3", "4/64")
"""Options of the uniform maps, where the profile has them."""

NOISE_DB = 10
MOST_HEARD = 64  # utterances that are adapted to

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

    @property
    def name(self) -> str:
        """Its name in records."""
        return f"{self.label}, {self.target}, {self.bits:g} bits"


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
    """What the solver chooses under a loss, the targets in turn."""
    for turn in range(max(map(len, averages.values()))):
        for target, wanted in averages.items():
            if turn >= len(wanted):
                continue
            try:
                task = problem(profile, loss=loss, target=target)
                ways = solve_average_bits(task, wanted[turn]).options
            except GenPTQError:  # the profile has nothing for it, or nothing so narrow
                continue
            yield Map(label, target, wanted[turn], ways)


def sets_of(options: argparse.Namespace, folder: Path) -> dict[str, SpeechSet]:
    """The sets to measure on, by the names they were given."""
    found = {}
    for spec in options.set:
        name, _, source = spec.partition("=")
        source, _, how = source.partition(",")
        first = int(how) if how.isdecimal() else None
        every = load_speech(source, first).utterances
        drawn = np.random.default_rng(0).permutation(len(every))[: options.utterances]
        chosen = [every[i] for i in sorted(drawn)]
        found[name] = speech_set(name, chosen)
        if how in ("mp3", "noise"):
            (folder / name).mkdir()
            noise_db = None if how == "mp3" else NOISE_DB
            found[name] = degraded(name, chosen, folder / name, noise_db)
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
            "tokens": [len(t.tokens) for t in transcripts],
            "digests": [u.digest for u in speech.utterances],
        }
        held[name] = ([load_audio(u) for u in speech.utterances], transcripts, states)
    rounded: dict[tuple[int, Option], torch.Tensor] = {}

    def weights_of(ways: Ways) -> dict[str, torch.Tensor]:
        """The parameters of a map; each unit is rounded once at each option."""
        weights: dict[str, torch.Tensor] = dict(model.derived)
        for index, (unit, option) in enumerate(zip(profile.units, ways, strict=True)):
            parameter = model.module.get_parameter(unit.parameter)
            if option.form == "half":
                continue
            if (index, option) not in rounded:
                statistics = unit_statistics(profile, unit)
                stored = quantize(unit_weight(parameter, unit), *statistics, [option])[0]
                if stored is None:
                    raise ModelError(f"{unit.name} cannot be stored at {option.label}.")
                rounded[index, option] = restored(stored).half()
            if unit.parameter not in weights:
                weights[unit.parameter] = parameter.detach().clone()
            part = weights[unit.parameter][unit.start : unit.stop]
            part.copy_(rounded[index, option].view_as(part))
        return weights

    for chosen in maps_of(profile, options.chosen_on):
        record = record_of(document, chosen)
        wanted = [name for name in held if name not in record["loss"]]
        with replaced(model, weights_of(chosen.ways) if wanted else {}), torch.no_grad():
            for name in wanted:
                audio, transcripts, reference = held[name]
                states = head_states(model, audio, transcripts)
                record["loss"][name] = [
                    divergences([model.log_probs(a)], [model.log_probs(b)])[0]
                    for a, b in zip(reference, states, strict=True)
                ]
        write_text(options.out, json.dumps(document))
        losses = {name: round(loss_of(document, record, name), 5) for name in wanted}
        print(chosen.name, losses, flush=True)


def record_of(document: dict, chosen: Map) -> dict:
    """The record of a map, which may have been chosen before under another name."""
    keys = [option.key for option in chosen.ways]
    record = next((r for r in document["maps"] if r["options"] == keys), None)
    if record is None:
        record = {"names": [], "options": keys, "loss": {}}
        document["maps"].append(record)
    if chosen.name not in record["names"]:
        record["names"].append(chosen.name)
    return record


def loss_of(document: dict, record: dict, name: str) -> float:
    """Measured loss of a map on a set, nats per token."""
    return sum(record["loss"][name]) / sum(document["sets"][name]["tokens"])


def report(profile: Profile, document: dict) -> None:
    """Print how measured loss compares with the predicted, before adapting and after.

    After: scales of each form come from two of its chosen maps, those nearest in width to the ones
    that `genptq adapt` measures, on a random half of the utterances, at most 64 of them; all maps
    are judged on the others. Medians and shares are over 50 such halves. *Itself* is what no scale
    can beat: each map's own loss on the half that is listened to.
    """
    menu = {option.key: i for i, option in enumerate(profile.menu)}
    records = [r for r in document["maps"] if r["loss"]]
    losses = quadratic_loss(profile)(np.array([[menu[k] for k in r["options"]] for r in records]))
    forms = [form_of(profile, tuple(profile.menu[menu[k]] for k in r["options"])) for r in records]
    print(
        "| set | form | maps | measured over predicted, median | within 1.5 | after adapting, "
        "median | within 1.5 | itself |\n" + "| --- " * 8 + "|"
    )
    for name, found in document["sets"].items():
        tokens = np.array(found["tokens"], dtype=float)
        rows = [i for i, r in enumerate(records) if name in r["loss"]]
        sums = np.array([records[i]["loss"][name] for i in rows])
        predicted, form = losses[rows], np.array(forms)[rows]
        before = np.log(sums.sum(axis=1) / tokens.sum() / predicted)
        names = [records[i]["names"][0] for i in rows]
        after, itself = _after(predicted, sums, tokens, form, _adapting(names, form))
        for kind in dict.fromkeys(form):
            own = form == kind
            print(
                f"| {name}, {len(tokens)} utterances | {kind} | {own.sum()} "
                f"| {np.exp(np.median(before[own])):.2f} | {_within(before[own])} "
                f"| {np.exp(np.median(after[:, own])):.2f} | {_within(after[:, own])} "
                f"| {_within(itself[:, own])} |"
            )


def _adapting(names: list[str], form: np.ndarray) -> np.ndarray:
    """Indices of the maps of each form that stand for those that adapting measures."""
    found: dict[int, None] = {}
    for target, widths in WIDTHS.items():
        chosen = [i for i, name in enumerate(names) if name.startswith(f"chosen, {target}, ")]
        for width in widths if chosen else ():
            bits = {i: float(names[i].split(", ")[2].split()[0]) for i in chosen}
            found[min(chosen, key=lambda i: abs(bits[i] - width))] = None
    return np.array([i for kind in dict.fromkeys(form) for i in found if form[i] == kind])


def _after(
    predicted: np.ndarray,
    sums: np.ndarray,
    tokens: np.ndarray,
    form: np.ndarray,
    first: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of measured over predicted loss after adapting, shape (halves, maps), and over the
    loss of the same map on the other half."""
    random = np.random.default_rng(0)
    kinds = list(dict.fromkeys(form))
    out, itself = [], []
    for _ in range(50):
        order = random.permutation(len(tokens))
        heard = order[: min(len(order) // 2, MOST_HEARD)]
        judged = order[len(heard) :]
        every = sums[:, heard].sum(axis=1) / tokens[heard].sum()
        measured = every[first]
        expected = predicted.copy()
        for kind in kinds:
            scale = fitted(predicted[first], measured, form[first] == kind)
            if scale is not None:
                expected[form == kind] = scale(predicted[form == kind])
        on_others = sums[:, judged].sum(axis=1) / tokens[judged].sum()
        out.append(np.log(on_others / expected))
        itself.append(np.log(on_others / every))
    return np.array(out), np.array(itself)


def _within(logs: np.ndarray) -> str:
    return f"{100 * (np.abs(logs) < np.log(1.5)).mean():.0f} %"


def report_chosen(document: dict) -> None:
    """Print what maps lose that were chosen on denoised and on raw sensitivities."""
    by_name = {name: r for r in document["maps"] for name in r["names"] if r["loss"]}
    print("| utterances | map | set | raw | denoised | denoised over raw |\n" + "| --- " * 6 + "|")
    for name, better in by_name.items():
        raw = by_name.get(name.replace("denoised", "raw"))
        if "denoised" not in name or raw is None:
            continue
        label, what = name.split(", ", 1)
        for speech in better["loss"]:
            ours, theirs = (loss_of(document, r, speech) for r in (better, raw))
            print(
                f"| {label.split()[-1]} | {what} | {speech} | {theirs:.5f} | {ours:.5f} "
                f"| {ours / theirs:.2f} |"
            )


def read(path: Path) -> dict | None:
    """What was measured so far."""
    return json.loads(path.read_text()) if path.exists() else None


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=MANIFEST[,mp3|,noise|,FIRST]"
    )
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
    document = read(options.out)
    if document and any("raw" in name for r in document["maps"] for name in r["names"]):
        report_chosen(document)
    elif document:
        report(profile, document)


if __name__ == "__main__":
    main()
