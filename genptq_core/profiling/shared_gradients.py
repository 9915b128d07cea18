"""Gradients of a profile by many processes: each takes a few utterances at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClusterError
from ..models import Transcript
from ..profile import Settings
from ..progress import Progress, silent
from ..speech.utterances import Utterance, speech_set
from ..workers.local_copies import (
    MODEL_LOCK,
    check_recordings,
    local_model,
    name_with_absolute_path,
    with_absolute_paths,
)
from ..workers.pool import Workers
from .compute import ShareGradients
from .gradients import groups_left, project
from .workspace import Workspace


@dataclass(frozen=True)
class GradientCall:
    """A group of utterances, with all that a worker needs to know; paths must be good there too.

    Attributes:
        model: name or absolute folder of the model.
        model_digest: what its weights must be.
        device: where it shall run.
        folder: the profile's work folder, which all share.
        settings: the profile's.
        utterances: the whole calibration set, whose places seed the draws.
        transcripts: what the model wrote for each.
        errors: files of the units' rounding errors.
        members: the group's places in the set.
        held: whether its gradients are held at once.
    """

    model: str
    model_digest: str
    device: str
    folder: Path
    settings: Settings
    utterances: tuple[Utterance, ...]
    transcripts: tuple[Transcript, ...]
    errors: tuple[Path, ...]
    members: range
    held: bool


def shared_gradients(workers: Workers) -> ShareGradients:
    """How `profiling.compute` has its gradients taken by these workers."""

    def share(
        work: Workspace,
        transcripts: Sequence[Transcript],
        errors: Sequence[Path],
        groups: Sequence[range],
        held: bool,
    ) -> None:
        left = groups_left(work, groups)
        done, total = 0, sum(map(len, left))

        common = GradientCall(
            model=name_with_absolute_path(work.model),
            model_digest=work.model.digest,
            device=workers.device,
            folder=work.folder.resolve(),
            settings=work.settings,
            utterances=with_absolute_paths(work.speech.utterances),
            transcripts=tuple(transcripts),
            errors=tuple(path.resolve() for path in errors),
            members=range(0),
            held=held,
        )
        jobs = ((dataclasses.replace(common, members=members),) for members in left)
        work.report(Progress("gradients", 0, total))
        for utterances, passes in workers.run(run_gradient_call, jobs):
            work.backward_passes += passes
            work.hits -= utterances  # found done by what comes next, but not by an earlier run
            done += utterances
            work.report(Progress("gradients", done, total))

    return share


def run_gradient_call(job: GradientCall) -> tuple[int, int]:
    """Do one job, in whatever process; its file is what counts, and is the same done twice.

    Returns:
        Utterances done, and backward passes made.

    Raises:
        ClusterError: this machine does not see the work folder.
        ModelError, SpeechError: what is here is not what the profile is of.
        GenPTQError: the work folder cannot be written.
    """
    with MODEL_LOCK:
        if not all(path.is_file() for path in job.errors):
            raise ClusterError(
                f"A worker does not see {job.folder}.",
                "Let $GENPTQ_CACHE name a folder that all machines share, the same on each.",
            )
        check_recordings([job.utterances[i] for i in job.members])
        model = local_model(job.model, job.model_digest, job.device)
        speech = speech_set("", list(job.utterances))
        work = Workspace(job.folder, model, speech, None, job.settings, silent)
        project(work, job.transcripts, lambda: job.errors, [job.members], job.held)
        return len(job.members), work.backward_passes
