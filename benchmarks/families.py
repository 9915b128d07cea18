"""Every family's prediction on a very small model of random weights, as a table of Markdown.

    python -m benchmarks.families

For each, a profile is computed on a few of the demo's recordings, and random maps are measured on
the same recordings: ranks of predicted loss and measured divergence are compared. The models are
those of the tests. What is known of real weights is said in words.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.random_maps import random_maps
from genptq_core import load_manifest, load_model, quadratic_loss
from genptq_core.models import SpeechModel
from genptq_core.models.divergence import divergence, head_states
from genptq_core.models.weights import replaced
from genptq_core.options import grid_options
from genptq_core.profile import Profile, Settings
from genptq_core.profiling.compute import compute
from genptq_core.rounding.baseline import baseline
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.rounding.rounded_units import RoundedUnits
from genptq_core.speech.utterances import SpeechSet, load_audio
from genptq_core.targets import TARGETS
from tests.core.tiny_models import FAMILIES, random_model

DEMO = Path(__file__).resolve().parent.parent / "data" / "speech" / "demo" / "manifest.jsonl"
SETTINGS = Settings(grid_options((3, 4, 5, 6, 8), (16,)), draws=16, rank=32)
MAPS, UTTERANCES = 20, 6

REAL = {"whisper": "tiny.en, base", "parakeet_ctc": "conformer-an4"}
"""Models of real weights that figures of these documents are of, by family."""


@dataclass(frozen=True)
class Row:
    """One family's figures.

    Attributes:
        family: its `model_type`.
        kind: the class of `transformers` that computes it.
        spearman: rank correlation of predicted and measured losses of random maps.
        targets: names of the targets that its maps can be written for.
    """

    family: str
    kind: str
    spearman: float
    targets: tuple[str, ...]


def figures_of(family: str, folder: Path, speech: SpeechSet) -> Row:
    """A family's row, its model and profile written to a folder."""
    model = load_model(str(random_model(folder / "model", family)))
    profile = compute(model, speech, folder / "profile", SETTINGS).profile
    kind = type(model.module).__name__
    targets = tuple(n for n, t in TARGETS.items() if not t.families or family in t.families)
    return Row(family, kind, rank_correlation(model, profile, speech, MAPS), targets)


def rank_correlation(model: SpeechModel, profile: Profile, speech: SpeechSet, count: int) -> float:
    """Spearman's correlation of predicted and measured losses of random maps."""
    transcripts, states = baseline(model, speech.utterances)
    audio = [load_audio(utterance) for utterance in speech.utterances]
    maps, kept = random_maps(profile, "integer", count, seed=0), RoundedUnits()
    indices = {option: index for index, option in enumerate(profile.menu)}
    predicted = quadratic_loss(profile)(np.array([[indices[o] for o in m] for m in maps]))
    measured = []
    with torch.no_grad():
        reference = [model.log_probs(state) for state in states]
        for chosen in maps:
            with replaced(model, quantized_weights(model, profile, chosen, kept=kept)):
                changed = [model.log_probs(s) for s in head_states(model, audio, transcripts)]
            measured.append(divergence(reference, changed))
    return float(spearmanr(predicted, measured).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", nargs="*", default=FAMILIES, help="all by default")
    families = parser.parse_args().family
    speech = load_manifest(DEMO, UTTERANCES)
    print(f"{MAPS} random maps of 2.5 to 6 bits each, on {UTTERANCES} recordings of {speech.name}")
    print("\n| class | family | weights | Spearman | targets |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        os.environ.setdefault("GENPTQ_CACHE", str(Path(name) / "cache"))
        for family in families:
            row = figures_of(family, Path(name) / family, speech)
            weights = f"real ({REAL[family]}), random" if family in REAL else "random"
            print(
                f"| `{row.kind}` | `{row.family}` | {weights} | {row.spearman:.2f} "
                f"| {', '.join(row.targets)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
