"""A profile in memory: a model's sensitivities, and what they were computed from and with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..options import RATES, UNQUANTIZED, USUAL_GROUP, Option, coded_options, grid_options
from ..units import Unit

ANCHORED = 8
"""Calibration utterances on which anchors are measured; at most a quarter of a small set."""

_UNSAID = 12  # the same in profiles that do not say


@dataclass(frozen=True)
class Settings:
    """What a profile was computed with.

    Attributes:
        options: ways to store a unit, 16 bit (left as it is) not among them.
        draws: labels drawn per utterance, each with a backward pass.
        seed: seed of the draws.
        rank: directions kept in each Hessian sketch.
        quantizer: how weights are rounded; another method makes another profile.
    """

    options: tuple[Option, ...] = (
        *grid_options((2, 3, 4, 5, 6, 8), (USUAL_GROUP,)),
        *coded_options(RATES),
    )
    draws: int = 4
    seed: int = 0
    rank: int = 192
    quantizer: str = "gptq; grids damped 0.2, clipped by search; codes damped 0.1, filled"


BLOCK_QUANTIZER = "; blocks damped 0.1, scales searched, then fitted to outputs twice"
"""What `Settings.quantizer` says besides where block types are among the options."""


@dataclass(frozen=True)
class Anchor:
    """A configuration whose loss was measured on calibration speech.

    Attributes:
        options: option of each unit, in the profile's order.
        loss: mean Kullback-Leibler divergence to full precision, nats per token.
    """

    options: tuple[Option, ...]
    loss: float


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model and the calibration speech that a profile was computed from.

    Attributes:
        model: the model's name.
        family: its family, such as "whisper".
        model_digest: SHA-256 over its weights.
        parameters: how many it has, tied ones counted once.
        derived: how many of them follow from a formula of the architecture, and need not be stored.
        calibration: the calibration set's name.
        calibration_digest: SHA-256 over its recordings.
        utterances: recordings in it.
        tokens: tokens the model wrote for it.
        listened: recordings that inputs were summed over, including the calibration set.
        listening_digest: SHA-256 over the recordings beyond the calibration set, or "".
        overhead: bytes that a folder takes besides its tensors (headers, graph, settings,
            tokenizer), by the target's name; the same for every map. What a profile says of no
            target is not known: sizes are then of weights alone. No result depends on it, so it
            is not in the profile's digest.
        language, task: what the model was asked for; "" for what its own settings say, or rows.
        anchored: how many utterances, from the first on, the anchors were measured on; 0 where
            it is what earlier versions took: 12, and at most a quarter of a small set.
    """

    model: str
    family: str
    model_digest: str
    parameters: int
    derived: int
    calibration: str
    calibration_digest: str
    utterances: int
    tokens: int
    listened: int = 0
    listening_digest: str = ""
    overhead: Mapping[str, int] = field(default_factory=dict)
    language: str = ""
    task: str = ""
    anchored: int = 0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All that the solver needs, and all that quantizing again to the same bits needs.

    Attributes:
        source: model and calibration speech.
        settings: how it was computed.
        units: the quantizable units, in the network's order.
        projections: inner products of loss gradients with quantization errors, shape
            (utterances, draws, units, options), float32, in nats; see `profiling.compute`.
        lengths: tokens of each utterance, shape (utterances,).
        anchors: measured losses that check and correct the prediction.
        sketches: Hessian sketches by input name: arrays "factor", "scale", "diagonal".
        importance: how much the loss depends on each row of each weight, shape (rows,), by
            parameter name.
        seconds: time the computation took.
        digest: SHA-256 over the profile's content, without `seconds` and `source.overhead`.
    """

    source: Source
    settings: Settings
    units: tuple[Unit, ...]
    projections: np.ndarray
    lengths: np.ndarray
    anchors: tuple[Anchor, ...]
    sketches: dict[str, dict[str, np.ndarray]]
    importance: dict[str, np.ndarray]
    seconds: float
    digest: str

    @property
    def menu(self) -> tuple[Option, ...]:
        """Every option that a unit may have: those computed, and 16 bit (left as it is)."""
        return (*self.settings.options, UNQUANTIZED)

    @property
    def anchored(self) -> int:
        """How many utterances, from the first on, the anchors were measured on."""
        return self.source.anchored or anchored(self.source.utterances, _UNSAID)


def of_weights(profile: Profile) -> Profile:
    """A profile whose sizes are of weights alone, as those of other tools are."""
    source = dataclasses.replace(profile.source, overhead={})
    return dataclasses.replace(profile, source=source)


def anchored(utterances: int, most: int = ANCHORED) -> int:
    """How many of a set's utterances anchors are measured on."""
    return min(most, max(2, utterances // 4), utterances)


def said_anchored(count: int, utterances: int) -> int:
    """`Source.anchored` of a profile whose anchors are measured on so many utterances of a set."""
    return 0 if count == anchored(utterances, _UNSAID) else count
