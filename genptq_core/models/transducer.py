"""Transducers: Parakeet RNN-T and Parakeet TDT, which write along the frames of what they hear.

A transducer (Graves, "Sequence Transduction with Recurrent Neural Networks", 2012) walks through
the encoder's frames. At each step a joint network gets one frame and what a prediction network, an
LSTM, makes of the tokens so far, and decides on a token. The blank token moves on by one frame. TDT
(Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations", 2023) also
decides at each step how many frames to move on.

The decisions are those along the model's own greedy path: a token at each step, and of TDT a
duration too. Each has a distribution, given what was heard and decided before. Labels are drawn
from these distributions, and divergence is summed over them, along full precision's path, as along
a decoder's own transcript.

All matrices of encoder, prediction network and joint network carry bits. The table of token
embeddings stays at 16 bit: calibration speech reaches few of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForRNNT, AutoModelForTDT

from ..errors import ModelError
from ..speech.utterances import RATE
from ..speech.wer import BASIC
from ..units import Unit
from . import Transcript
from .acoustic import (
    Encoded,
    check_features,
    check_labels,
    encoder_states,
    fold_norms,
    settings,
)
from .checkpoint import check_finite, from_parameters
from .lstm import SeenLstm, State
from .matrices import Place, block_of, encoder_kind, unit_of, units_of
from .text_digest import text_digest
from .weights import weights_digest

_IMPOSSIBLE = -1e4  # log-probability of what is no answer to a question; its probability is 0
_LSTM = "decoder.lstm"


@dataclass(frozen=True)
class Rules:
    """How a transducer walks.

    Attributes:
        tokens: how many there are, the blank among them.
        blank: the token that writes nothing; the prediction network starts from it.
        durations: frames to move on by, one for each answer; none for RNN-T.
        most: tokens at one frame, after which it moves on by one.
    """

    tokens: int
    blank: int
    durations: tuple[int, ...]
    most: int

    @property
    def questions(self) -> int:
        """Decisions at each step."""
        return 2 if self.durations else 1


class Walk:
    """A walk through frames; it starts at the first.

    Attributes:
        frame: the frame that is heard next.
        written: tokens so far.
    """

    def __init__(self, rules: Rules) -> None:
        self.frame = 0
        self.written: list[int] = []
        self._here = 0  # tokens written at this frame
        self._rules = rules

    def move(self, decided: Sequence[int]) -> None:
        """Go on as was decided at one step."""
        rules = self._rules
        is_blank = decided[0] == rules.blank
        step = rules.durations[decided[1] - rules.tokens] if rules.durations else int(is_blank)
        if not is_blank:
            self.written.append(decided[0])
        self._here = 0 if step else self._here + 1
        if step == 0 and (is_blank or self._here >= rules.most):
            step, self._here = 1, 0
        self.frame += step


class Transducer:
    """A transducer behind the core's protocol; see `SpeechModel` for the methods.

    `Transcript.tokens` are rows of the joint network's head: at each step a token, and of TDT a
    duration, whose rows follow those of the tokens.
    """

    normalizer = BASIC

    def __init__(self, name: str, module: Any, features: Any, tokenizer: Any) -> None:
        check_finite(module, name)
        self.rules = _rules(name, module.config)
        check_features(name, module, features)
        check_labels(name, self.rules.tokens, [self.rules.blank], tokenizer)
        fold_norms(module)
        check_finite(module, name)  # a statistic may be below zero
        module.decoder.lstm = SeenLstm(module.decoder.lstm)
        self.name = name
        self.family = str(module.config.model_type)
        self.decoding = f"greedy, at most {self.rules.most} tokens a frame"
        self.head = "joint.head.weight"
        self.module: nn.Module = module
        self._transducer = module
        self._features = features
        self._tokenizer = tokenizer
        self.derived: dict[str, Tensor] = {}
        self.units = self._units()
        self.digest = weights_digest(module)

    @cached_property
    def text_digest(self) -> str:
        """SHA-256 over all that turns audio into text besides the weights."""
        return text_digest(self.save_settings, [self.decoding, asdict(self.rules)])

    def save_settings(self, folder: Path) -> None:
        """Configuration, feature settings and tokenizer."""
        self._transducer.config.save_pretrained(folder)
        self._features.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def encode(self, audio: Sequence[np.ndarray]) -> Encoded:
        """Encoder states, one utterance at a time: padding would change them and add frames."""
        encoder = self._transducer.encoder
        return Encoded(tuple(encoder_states(encoder, self._features, samples) for samples in audio))

    def transcribe(self, encoded: Encoded) -> list[Transcript]:
        """The likeliest token of each step, and of TDT the likeliest duration."""
        transcripts = []
        for states in encoded.states:
            with torch.no_grad():
                transcripts.append(self._greedy(states))
        return transcripts

    def _greedy(self, states: Tensor) -> Transcript:
        heard = self._transducer.encoder_projector(states)
        predicted, state = self._predict([self.rules.blank])
        walk, decisions = Walk(self.rules), list[int]()
        while walk.frame < len(heard):
            joint = self._joint(heard[walk.frame : walk.frame + 1], predicted)
            decided = self.log_probs(joint).argmax(dim=-1).tolist()
            before = len(walk.written)
            walk.move(decided)
            decisions += decided
            if len(walk.written) > before:
                predicted, state = self._predict(walk.written[-1:], state)
        text = self._tokenizer.decode(walk.written, skip_special_tokens=True, group_tokens=False)
        return Transcript(str(text).strip(), tuple(decisions))

    def head_inputs(self, encoded: Encoded, transcripts: Sequence[Transcript]) -> list[Tensor]:
        """Inputs of the joint network's head at each decision along the given paths.

        The last feature is no input: it says which question the decision answers, 0 for the token
        and 1 for the duration.
        """
        return [
            self._along(states, transcript.tokens)
            for states, transcript in zip(encoded.states, transcripts, strict=True)
        ]

    def _along(self, states: Tensor, decisions: Sequence[int]) -> Tensor:
        walk, frames, written = Walk(self.rules), list[int](), list[int]()
        for start in range(0, len(decisions), self.rules.questions):
            frames.append(walk.frame)
            written.append(len(walk.written))
            walk.move(decisions[start : start + self.rules.questions])
        heard = self._transducer.encoder_projector(states)
        predicted, _ = self._predict([self.rules.blank, *walk.written])
        return self._joint(heard[frames], predicted[written])

    def _predict(self, tokens: Sequence[int], state: State | None = None) -> tuple[Tensor, State]:
        """What the prediction network makes of tokens, (tokens, features), and its state then."""
        decoder = self._transducer.decoder
        embedded = decoder.embedding(torch.tensor([tokens], device=self._transducer.device))
        outputs, after = decoder.lstm(embedded, state)
        return decoder.decoder_projector(outputs[0]), after

    def _joint(self, heard: Tensor, predicted: Tensor) -> Tensor:
        """The head's inputs for steps: (decisions, features + 1), see `head_inputs`."""
        joint = self._transducer.joint.activation(heard + predicted)
        questions = self.rules.questions
        which = torch.arange(questions, device=joint.device).repeat(len(joint))[:, None]
        return torch.cat([joint.repeat_interleave(questions, dim=0), which.to(joint.dtype)], dim=1)

    def log_probs(self, head_inputs: Tensor) -> Tensor:
        """Log-probabilities of each decision's answers among all rows: (decisions, outputs)."""
        inputs = head_inputs.to(self._transducer.device)
        logits = self._transducer.joint.head(inputs[:, :-1])
        of_duration = torch.arange(logits.shape[1], device=logits.device) >= self.rules.tokens
        other = of_duration[None] != (inputs[:, -1:] > 0.5)
        chances = torch.log_softmax(logits.masked_fill(other, -torch.inf), dim=-1)
        return chances.masked_fill(other, _IMPOSSIBLE)

    def _units(self) -> tuple[Unit, ...]:
        """Every matrix: those of the encoder, of the LSTM, and of the joint network."""
        layers = self._transducer.decoder.lstm.num_layers

        def place(name: str) -> Place:
            if not name.startswith("encoder."):
                return "decoder", "joint", layers
            return "encoder", encoder_kind(name), block_of(name)

        found = units_of(self.module, self._run, place)
        encoder = [unit for unit in found if unit.part == "encoder"]
        lstm = [
            unit_of(
                f"{_LSTM}.{weight}_l{layer}",
                self.module.get_parameter(f"{_LSTM}.{weight}_l{layer}"),
                f"{_LSTM}.{inputs}.{layer}",
                ("decoder", "prediction", layer),
            )
            for layer in range(layers)
            for weight, inputs in (("weight_ih", "inputs"), ("weight_hh", "states"))
        ]
        return (*encoder, *lstm, *(unit for unit in found if unit.part != "encoder"))

    def _run(self) -> None:
        """Everything once, on silence."""
        with torch.no_grad():
            states = self.encode([np.zeros(RATE // 2, dtype=np.float32)]).states[0]
            step = [self.rules.blank, self.rules.tokens][: self.rules.questions]
            self.log_probs(self._along(states, step))


MODEL = Transducer
CHECKPOINTS = {"parakeet_tdt": AutoModelForTDT, "parakeet_rnnt": AutoModelForRNNT}
"""The class of `transformers` that reads the weights, by model type."""


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> Transducer:
    """A transducer with a folder's settings and these parameters.

    Its batch norms' statistics are the trivial ones that `fold_norms` left.

    Raises:
        ModelError: a parameter is missing or has another shape.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    module = from_parameters(CHECKPOINTS[config.model_type], config, folder, parameters)
    return Transducer(name, module, *settings(str(folder), folder, offline=True))


def computed(name: str, parameter: Tensor) -> Tensor | None:
    """None: all parameters are stored."""
    return None


def _rules(name: str, config: Any) -> Rules:
    """How a model walks, by its configuration.

    Raises:
        ModelError: it says what cannot be.
    """
    durations = tuple(getattr(config, "durations", ()))
    blank, most, tokens = config.blank_token_id, config.max_symbols_per_step, config.vocab_size
    wrong = ""
    if config.model_type == "parakeet_tdt" and (not durations or min(durations) < 0):
        wrong = f"durations {durations}"
    elif not 0 <= blank < tokens:
        wrong = f"blank_token_id {blank} of {tokens} tokens"
    elif most < 1:
        wrong = f"max_symbols_per_step {most}"
    if wrong:
        raise ModelError(f"{name} says {wrong} in its config.json.", "Get the model again.")
    return Rules(tokens, blank, durations, most)
