"""Adapting a profile's predictions to a kind of speech, from a dozen recordings without texts.

Of each form of storage that the profile serves, two or three maps are measured:
their divergence from full precision, on full precision's own transcripts. Nothing is decoded but
these, and no gradient is taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..allocation.problem import problem
from ..allocation.solving import solve_average_bits
from ..errors import ConstraintError, InfeasibleError
from ..models import SpeechModel
from ..models.asking import by_language
from ..models.divergence import divergences, head_states
from ..models.weights import replaced
from ..options import Option
from ..profile import Profile
from ..progress import Progress, Report, silent
from ..rounding.baseline import baseline
from ..rounding.rounded import check_model, quantized_weights
from ..speech.utterances import SpeechSet, Utterance, duration, load_audio
from ..speech.windows import in_windows
from .speech_scale import Adapted, AdaptedMap, load_adapted, save_adapted

FEWEST = 12
"""Recordings that are listened to, of sets that have as many."""

SECONDS = 180.0
"""Of short recordings more are taken, until they last as long together."""

WIDTHS = {"native": (2.0, 2.5, 4.0), "integer": (3.5, 5.0), "gguf": (4.75, 5.75)}
"""Mean bits of the maps that are measured, small ones and a good one, by target: each form of
storage has one. What entropy codes lose next to the predicted turns most with the width."""


def adapt(
    model: SpeechModel, profile: Profile, folder: Path, speech: SpeechSet, report: Report = silent
) -> Adapted:
    """Measure what a kind of speech loses, and keep it beside the profile; resumes.

    Args:
        model: the profile's model.
        profile: the profile.
        folder: its folder.
        speech: recordings of that kind; texts are not used. Those of more than 30 s are cut at
            pauses.
        report: called with the maps done.

    Raises:
        ModelError: the model is not the profile's.
        SpeechError: a recording cannot be used.
        ProfileError: an earlier file is damaged.
        GenPTQError: the file cannot be written.
    """
    check_model(model, profile)
    used = listened(in_windows(speech))
    recordings = tuple(u.digest for u in used)
    known = {
        m.options: m
        for adapted in load_adapted(folder, profile)
        if (adapted.speech_digest, adapted.recordings) == (speech.digest, recordings)
        for m in adapted.maps
    }
    transcripts, states = baseline(model, used, report)
    heard = by_language(model, used)
    tokens = sum(len(t.tokens) for t in transcripts)
    wanted = maps_to_measure(profile)
    done: list[AdaptedMap] = []
    for number, options in enumerate(wanted):
        report(Progress("adapting", number, len(wanted)))
        if options in known:
            done.append(known[options])
            continue
        loss = 0.0
        with replaced(model, quantized_weights(model, profile, options)), torch.no_grad():
            for spoken, members in heard:
                audio = [load_audio(used[i]) for i in members]
                changed = head_states(spoken, audio, [transcripts[i] for i in members])
                for index, after in zip(members, changed, strict=True):
                    # One utterance's log-probabilities at a time: of all there may be no room.
                    before = states[index].to(after.device)
                    loss += sum(divergences([model.log_probs(before)], [model.log_probs(after)]))
        done.append(AdaptedMap(options, max(loss / max(tokens, 1), 0.0)))
        save_adapted(folder, profile, _adapted(profile, speech, recordings, tokens, done))
    report(Progress("adapting", len(wanted), len(wanted)))
    adapted = _adapted(profile, speech, recordings, tokens, done)
    save_adapted(folder, profile, adapted)
    return adapted


def _adapted(
    profile: Profile,
    speech: SpeechSet,
    recordings: tuple[str, ...],
    tokens: int,
    maps: Sequence[AdaptedMap],
) -> Adapted:
    return Adapted(
        speech=speech.name,
        speech_digest=speech.digest,
        profile_digest=profile.digest,
        recordings=recordings,
        tokens=tokens,
        maps=tuple(maps),
    )


def listened(speech: SpeechSet) -> tuple[Utterance, ...]:
    """The recordings of a set that are listened to: drawn from all of it, always the same ones."""
    order = np.random.default_rng(0).permutation(len(speech))
    chosen: list[int] = []
    seconds = 0.0
    for index in order:
        if len(chosen) >= FEWEST and seconds >= SECONDS:
            break
        chosen.append(int(index))
        seconds += duration(speech.utterances[index])
    return tuple(speech.utterances[index] for index in sorted(chosen))


def maps_to_measure(profile: Profile) -> list[tuple[Option, ...]]:
    """The best maps of `WIDTHS` of each target that the profile serves, each once."""
    found: dict[tuple[Option, ...], None] = {}
    for target, averages in WIDTHS.items():
        try:
            task = problem(profile, target=target)
        except ConstraintError:  # the profile has nothing for it
            continue
        for average in averages:
            with contextlib.suppress(InfeasibleError):  # narrower than its options
                found[solve_average_bits(task, average).options] = None
    return [options for options in found if any(o.form != "half" for o in options)]
