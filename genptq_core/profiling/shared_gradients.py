"""Gradients of a profile, taken by many processes, a few utterances at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClusterError
from ..models import Transcript
from ..models.asking import asked_of
from ..profile import Settings
from ..progress import Progress, silent
from ..speech.utterances import Utterance, speech_set
from ..workers.local_copies import (
    MODEL_LOCK,
    check_recordings,
    identity_of,
    local_model,
    name_with_absolute_path,
    with_absolute_paths,
)
from ..workers.pool import Workers
from .gradients import ShareGradients, groups_left, project
from .workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class GradientCall:
    """A group of utterances, with all that a worker needs; its paths must exist there too.

    Attributes:
        model: name or absolute folder of the model.
        model_identity: what it must be; see `identity_of`.
        asked: language and task that it is asked for; see `asked_of`.
        device: where to run it.
        folder: the profile's workspace folder, the same for all workers.
        settings: the profile's.
        utterances: the whole calibration set; an utterance's index in it seeds its draws.
        transcripts: what the model wrote for each.
        errors: files of the units' rounding errors.
        bf16: whether backward passes multiply matrices in bf16.
        members: indices of the group's utterances in the set.
        held: whether all its gradients are held in memory together.
    """

    model: str
    model_identity: str
    asked: tuple[str, str]
    device: str
    folder: Path
    settings: Settings
    utterances: tuple[Utterance, ...]
    transcripts: tuple[Transcript, ...]
    errors: tuple[Path, ...]
    bf16: bool
    members: range
    held: bool


def shared_gradients(workers: Workers) -> ShareGradients:
    """What `profiling.compute` takes as `share`, to have gradients taken by these workers."""

    def share(
        workspace: Workspace,
        transcripts: Sequence[Transcript],
        errors: Sequence[Path],
        groups: Sequence[range],
        held: bool,
    ) -> None:
        missing = groups_left(workspace, groups)
        finished, total = 0, sum(map(len, missing))
        common = GradientCall(
            model=name_with_absolute_path(workspace.model),
            model_identity=identity_of(workspace.model),
            asked=asked_of(workspace.model),
            device=workers.device,
            folder=workspace.folder.resolve(),
            settings=workspace.settings,
            utterances=with_absolute_paths(workspace.speech.utterances),
            transcripts=tuple(transcripts),
            errors=tuple(path.resolve() for path in errors),
            bf16=workspace.bf16,
            members=range(0),
            held=held,
        )
        calls = ((dataclasses.replace(common, members=members),) for members in missing)
        workspace.report(Progress("gradients", 0, total))
        for utterances, passes in workers.run(run_gradient_call, calls):
            workspace.backward_passes += passes
            workspace.hits -= utterances  # `project` will count them, but no earlier run did them
            finished += utterances
            workspace.report(Progress("gradients", finished, total))

    return share


def run_gradient_call(call: GradientCall) -> tuple[int, int]:
    """Take a group's gradients, in any process; the result is a file in the workspace folder.

    Returns:
        How many utterances it did, and with how many backward passes.

    Raises:
        ClusterError: this machine does not see the workspace folder.
        ModelError, SpeechError: the model or a recording is not the profile's.
        GenPTQError: the workspace folder cannot be written.
    """
    with MODEL_LOCK:
        if not all(path.is_file() for path in call.errors):
            raise ClusterError(
                f"A worker does not see {call.folder}.",
                "Let $GENPTQ_CACHE name a folder that all machines share, the same on each.",
            )
        check_recordings([call.utterances[i] for i in call.members])
        model = local_model(call.model, call.model_identity, call.device, call.asked)
        speech = speech_set("", list(call.utterances))
        workspace = Workspace(
            folder=call.folder,
            model=model,
            speech=speech,
            listening=None,
            settings=call.settings,
            report=silent,
            bf16=call.bf16,
        )
        project(workspace, call.transcripts, lambda: call.errors, [call.members], call.held)
        return len(call.members), workspace.backward_passes
