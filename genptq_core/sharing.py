"""Gradients of a profile by many processes: each takes a few utterances at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .gradients import groups_left, project
from .models import Transcript
from .profile import Settings
from .progress import Progress, silent
from .remote import ONE_AT_A_TIME, check_recordings, for_workers, local_model, name_for_workers
from .sensitivity import Share
from .speech import Utterance, speech_set
from .work import Work
from .workers import Workers


@dataclass(frozen=True)
class Job:
    """A group of utterances, with all that a worker needs to know; paths must be good there too.

    Attributes:
        model: name or absolute folder of the model.
        model_digest: what its weights must be.
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
    folder: Path
    settings: Settings
    utterances: tuple[Utterance, ...]
    transcripts: tuple[Transcript, ...]
    errors: tuple[Path, ...]
    members: range
    held: bool


def sharing(workers: Workers) -> Share:
    """How `sensitivity.compute` has its gradients taken by these workers."""

    def share(
        work: Work,
        transcripts: Sequence[Transcript],
        errors: Sequence[Path],
        groups: Sequence[range],
        held: bool,
    ) -> None:
        left = groups_left(work, groups)
        done, total = 0, sum(map(len, left))

        common = Job(
            model=name_for_workers(work.model),
            model_digest=work.model.digest,
            folder=work.folder.resolve(),
            settings=work.settings,
            utterances=for_workers(work.speech.utterances),
            transcripts=tuple(transcripts),
            errors=tuple(path.resolve() for path in errors),
            members=range(0),
            held=held,
        )
        jobs = ((dataclasses.replace(common, members=members),) for members in left)
        work.report(Progress("gradients", 0, total))
        for utterances, passes in workers.run(gradients, jobs):
            work.backward_passes += passes
            work.hits -= utterances  # found done by what comes next, but not by an earlier run
            done += utterances
            work.report(Progress("gradients", done, total))

    return share


def gradients(job: Job) -> tuple[int, int]:
    """Do one job, in whatever process; its file is what counts, and is the same done twice.

    Returns:
        Utterances done, and backward passes made.

    Raises:
        ClusterError: this machine does not see the work folder.
        ModelError, SpeechError: what is here is not what the profile is of.
        GenPTQError: the work folder cannot be written.
    """
    with ONE_AT_A_TIME:
        if not all(path.is_file() for path in job.errors):
            raise ClusterError(
                f"A worker does not see {job.folder}.",
                "Let $GENPTQ_CACHE name a folder that all machines share, the same on each.",
            )
        check_recordings([job.utterances[i] for i in job.members])
        model = local_model(job.model, job.model_digest)
        speech = speech_set("", list(job.utterances))
        work = Work(job.folder, model, speech, None, job.settings, silent)
        project(work, job.transcripts, lambda: job.errors, [job.members], job.held)
        return len(job.members), work.backward_passes
