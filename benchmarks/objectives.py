"""Does the quadratic objective choose better maps? Measured divergence of each objective's choice.

    python -m benchmarks.objectives --profile data/profiles/whisper-tiny.en --speech MANIFEST \\
        --utterances 64 --stored 4.31,3.85,3.49,3.3,2.8,2.4

At each size the same scores choose four times: the quadratic loss (cross terms kept in part, as the
page does), the quadratic loss with cross terms whole, the separable loss to its optimum, and greedy
steps by separable gain per byte. Divergence is measured on utterances that the profile never saw.
Results are saved as they come; a second call continues.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.allocation import greedy
from genptq_core import Problem, Profile, load_manifest, load_model, load_profile, problem, solve
from genptq_core.allocation.knapsack import separable_front
from genptq_core.allocation.predicted_loss import quadratic_loss
from genptq_core.profile import of_weights
from genptq_core.storage.files import write_text


def choices(profile: Profile, target: str, size: int) -> dict[str, np.ndarray]:
    """What each objective chooses for a size, indices into the target's menu."""
    task = problem(profile, target=target)
    whole = problem(profile, loss=quadratic_loss(profile, shrinkage=0.0), target=target)
    loss, room = task.search.program.separable, size - task.fixed
    front = separable_front(task.cost, loss)
    return {
        "quadratic": _indices(task, size),
        "quadratic, cross terms whole": _indices(whole, size),
        "separable, optimal": front.choices(np.array([front.within(room)]))[0],
        "separable, greedy": greedy(task.cost, loss, room),
    }


def _indices(task: Problem, size: int) -> np.ndarray:
    menu = {option: i for i, option in enumerate(task.menu)}
    return np.array([menu[option] for option in solve(task, size).options])


def measure(profile: Profile, options: argparse.Namespace) -> None:
    """Measure what is missing."""
    from genptq_core.models.divergence import divergence, head_states
    from genptq_core.models.weights import replaced
    from genptq_core.rounding.baseline import baseline
    from genptq_core.rounding.rounded import quantized_weights
    from genptq_core.speech.utterances import load_audio, speech_set

    model = load_model(profile.source.model)
    every = load_manifest(options.speech).utterances
    part = every[:: max(1, len(every) // options.utterances)][: options.utterances]
    speech = speech_set("unseen", list(part))
    transcripts, states = baseline(model, speech.utterances)
    audio = [load_audio(u) for u in speech.utterances]
    task = problem(profile, target=options.target)
    rows = read(options.out)
    for stored in options.stored:
        size = int(stored * profile.source.parameters / 8)
        for name, choice in choices(profile, options.target, size).items():
            ways = tuple(task.menu[i] for i in choice)
            keys = [o.key for o in ways]
            if any((r["objective"], r["stored"], r["map"]) == (name, stored, keys) for r in rows):
                continue
            known = [r["kl"] for r in rows if r["map"] == keys]
            if known:
                loss = known[0]
            else:
                # One utterance's log-probabilities at a time: of all of them there is no room.
                with replaced(model, quantized_weights(model, profile, ways)):
                    changed = head_states(model, audio, transcripts)
                lengths = [len(s) for s in states]
                loss = sum(
                    divergence([model.log_probs(a).detach()], [model.log_probs(b).detach()]) * n
                    for a, b, n in zip(states, changed, lengths, strict=True)
                ) / sum(lengths)
            rows.append(
                {
                    "stored": stored,
                    "objective": name,
                    "bytes": int(task.bytes(choice)),
                    "predicted": float(task.loss(choice)),
                    "kl": float(loss),
                    "utterances": len(speech),
                    "map": keys,
                }
            )
            write_text(options.out, json.dumps({"rows": rows}, indent=1))
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "map"}), flush=True)


def read(path: Path) -> list[dict]:
    """Rows measured so far."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def report(rows: list[dict]) -> None:
    """Print the table as Markdown: KL, nats per token, one column per objective."""
    names = list(dict.fromkeys(r["objective"] for r in rows))
    print("| stored bits | " + " | ".join(names) + " |\n" + "| --- " * (len(names) + 1) + "|")
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for stored in sorted({r["stored"] for r in rows}, reverse=True):
        kl = {r["objective"]: r["kl"] for r in rows if r["stored"] == stored}
        print(f"| {stored} | " + " | ".join(f"{kl[n]:.5f}" for n in names if n in kl) + " |")
        for name in kl:
            ratios[name].append(kl[name] / kl["quadratic"])
    means = [float(np.exp(np.mean(np.log(ratios[name])))) for name in names]
    print("| over quadratic, geometric mean | " + " | ".join(f"{m:.3f}" for m in means) + " |")


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--target", default="native")
    parser.add_argument(
        "--stored",
        type=lambda t: [float(s) for s in t.split(",")],
        default=[4.31, 3.85, 3.49, 3.3, 2.8, 2.4],
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/objectives.json"))
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.report:
        measure(of_weights(load_profile(options.profile)), options)
    report(read(options.out))


if __name__ == "__main__":
    main()
