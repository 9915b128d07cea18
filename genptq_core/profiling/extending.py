"""More options for a profile that there is: new columns, while the old ones stay as they are.

Statistics of inputs, importance of rows, lengths, old projections and old anchors are taken over to
the bit. Only what the new options need is computed: rounding errors, gradients along them on labels
drawn with the same seed, and anchors.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import profile as profiles
from ..errors import ConstraintError, ModelError, ProfileError
from ..models import SpeechModel, Transcript
from ..models.asking import by_language, text_digests
from ..models.device import device_key, multiplies_bf16
from ..models.divergence import CHUNK
from ..options import Option
from ..profile import Profile, Settings
from ..profile.values import BLOCK_QUANTIZER
from ..progress import Progress, Report, silent
from ..quantizers import Sketch
from ..speech.utterances import SpeechSet, load_audio
from ..speech.windows import in_windows
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import workspace_folder
from .anchors import measure_anchors
from .compute import ComputedProfile, settings_key
from .gradients import ShareGradients, project_all
from .rounding_errors import RoundingErrors
from .workspace import VERSION, Workspace, opened


def extend(
    profile: Profile,
    model: SpeechModel,
    speech: SpeechSet,
    out: Path,
    options: tuple[Option, ...],
    *,
    report: Report = silent,
    max_memory: int | None = None,
    share: ShareGradients | None = None,
    float32: bool = False,
) -> ComputedProfile:
    """Add options to a profile, as far as it does not have them, and write it to `out`.

    Args:
        profile: the profile, which stays as it is.
        model: the model that it was computed from.
        speech: its calibration set.
        out: folder for the new profile.
        options: what to add.
        report: called with the progress of each stage.
        max_memory: most bytes of memory that may be used.
        share: has gradients taken by other processes; see `profiling.shared_gradients`.
        float32: gradients in float32 also where the processor multiplies bf16 much faster.

    Raises:
        ConstraintError: the profile has these options.
        FootprintError: the computation needs more memory than that, or more disk than is free.
        ModelError: the model is not the profile's.
        ProfileError: the speech is not what the profile was calibrated on.
        SpeechError: a recording cannot be used.
        GenPTQError: the workspace folder or `out` cannot be written.
    """
    speech = in_windows(speech)
    _check(profile, model, speech)
    fresh = tuple(option for option in options if option not in profile.menu)
    if not fresh:
        raise ConstraintError("The profile has all of these options.", "Name others.")
    settings = _settings(profile.settings, fresh)
    parts: list[Any] = [
        VERSION,
        "extend",
        profile.digest,
        model.text_digest,
        settings_key(settings),
    ]
    bf16 = multiplies_bf16(model.module) and not float32
    parts += text_digests(model, speech.utterances) + bf16 * ["bf16"]
    key = sha256_json([*parts, *device_key(model.module)])
    workspace = Workspace(
        folder=workspace_folder(key),
        model=model,
        speech=speech,
        listening=None,
        settings=settings,
        report=report,
        bf16=bf16,
    )
    with opened(workspace, max_memory) as together:
        return _extend(profile, workspace, out, together, share)


def _check(profile: Profile, model: SpeechModel, speech: SpeechSet) -> None:
    if model.digest != profile.source.model_digest:
        raise ModelError(
            f"The profile is of {profile.source.model} with other weights than {model.name}.",
            "Load the model that the profile was computed for.",
        )
    if speech.digest != profile.source.calibration_digest:
        raise ProfileError(
            f"{speech.name} is not the speech that the profile was calibrated on "
            f"({profile.source.calibration}, {profile.source.utterances} utterances).",
            "Give that speech, or compute a new profile.",
        )


def _settings(known: Settings, options: tuple[Option, ...]) -> Settings:
    """Settings that compute the new options alone."""
    blocks = any(option.block for option in options)
    quantizer = known.quantizer
    if blocks and not quantizer.endswith(BLOCK_QUANTIZER):
        quantizer += BLOCK_QUANTIZER
    return dataclasses.replace(known, options=options, quantizer=quantizer)


def _extend(
    profile: Profile,
    workspace: Workspace,
    out: Path,
    together: int,
    share: ShareGradients | None,
) -> ComputedProfile:
    started = time.perf_counter()
    sketches = {
        name: Sketch(**{part: torch.from_numpy(np.array(array)) for part, array in parts.items()})
        for name, parts in profile.sketches.items()
    }
    importance = {
        name: torch.from_numpy(np.array(rows)) for name, rows in profile.importance.items()
    }
    transcripts = _transcripts(workspace)
    errors = RoundingErrors(workspace, sketches, importance)
    columns = project_all(workspace, transcripts, lambda: errors.paths, together, share)
    anchors = measure_anchors(workspace, transcripts, errors.weights, profile.anchored)
    seconds = workspace.spent(time.perf_counter() - started)
    settings = dataclasses.replace(
        profile.settings,
        options=profile.settings.options + workspace.settings.options,
        quantizer=workspace.settings.quantizer,
    )
    extended = dataclasses.replace(
        profile,
        settings=settings,
        projections=np.concatenate([profile.projections, columns], axis=3),
        anchors=profile.anchors + anchors,
        seconds=profile.seconds + seconds,
        digest="",
    )
    workspace.finish()
    return ComputedProfile(profiles.save(extended, out), workspace.hits, workspace.backward_passes)


def _transcripts(workspace: Workspace) -> list[Transcript]:
    """What the model writes for the calibration speech; resumes."""
    path = workspace.folder / "transcripts.safetensors"
    entry = read_cached(path)
    written = [Transcript(t, tuple(tokens)) for t, tokens in entry[1]] if entry else []
    workspace.hits += len(written)
    total = len(workspace.speech)
    while len(written) < total:
        workspace.report(Progress("listening", len(written), total))
        batch = workspace.speech.utterances[len(written) : len(written) + CHUNK]
        with torch.no_grad():
            fresh: dict[int, Transcript] = {}
            for model, members in by_language(workspace.model, batch):
                encoded = model.encode([load_audio(batch[i]) for i in members])
                fresh |= dict(zip(members, model.transcribe(encoded), strict=True))
        written += [fresh[i] for i in range(len(batch))]
        write_cached(path, {}, [[t.text, t.tokens] for t in written])
    workspace.report(Progress("listening", total, total))
    return written
