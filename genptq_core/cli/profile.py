"""`genptq profile`: compute and cache a model's sensitivities, or add options to them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ConstraintError
from ..measurement.store import load_measured, ship
from ..options import BLOCKS, RATES, Option, block_options, coded_options, grid_options
from ..profile import Profile, Settings, load_profile
from ..progress import Report
from ..speech.sources import load_speech
from ..storage.files import require_folder
from ..workers.pool import Workers
from .arguments import (
    SOURCES,
    add_device,
    add_language,
    add_workers,
    asked_from_flags,
    block_types,
    profile_folder,
    rates,
    sizes,
    widths,
    workers_from_flags,
)
from .command import Answer, Command

_BITS = (2, 3, 4, 5, 6, 8)
_GROUPS = (64,)
MODELS = "whisper-tiny.en, whisper-base, conformer-an4"


@dataclass(frozen=True, kw_only=True)
class ProfileArguments:
    """What to profile, and how.

    Attributes:
        model: a bundled name, a folder or a hub name.
        speech: calibration speech: a path, or `hf:` and a data set's name.
        limit: take only this many utterances of it; None for all.
        listen: more speech, for the statistics of inputs alone; None for none.
        settings: options to score, label draws and seed.
        max_memory: most bytes of memory that the work may take; None for all there is.
        workers: who takes the gradients; the model of this process is on their device too.
        out: folder for the profile.
        extend: folder of a profile that the options are added to; None to compute a new one.
        asked: language and task that the model is asked for; each "" for rows or its own.
        float32: gradients in float32, whatever the processor multiplies faster.
    """

    model: str
    speech: str
    limit: int | None
    listen: str | None
    settings: Settings
    max_memory: int | None
    workers: Workers
    out: Path
    extend: Path | None = None
    asked: tuple[str, str] = ("", "")
    float32: bool = False


def usual_options() -> tuple[Option, ...]:
    """The options that a new profile offers where none are named."""
    return grid_options(_BITS, _GROUPS) + coded_options(RATES)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument("--model", required=True, help=f"{MODELS}, a local folder, a hub name")
    parser.add_argument(
        "--extend",
        type=profile_folder,
        metavar="PROFILE",
        help="add the options that are named to this profile; --speech is its calibration speech",
    )
    parser.add_argument("--speech", required=True, help=f"calibration speech: {SOURCES}")
    parser.add_argument("--limit", type=int, help="use only the first N utterances")
    parser.add_argument("--listen", help="more speech, for the statistics of inputs alone")
    parser.add_argument(
        "--bits", type=widths, help="integer widths to offer: 2,3,4,5,6,8 for a new profile"
    )
    parser.add_argument(
        "--group-size",
        type=sizes,
        default=_GROUPS,
        help="columns that share a scale; several: 32,64",
    )
    parser.add_argument("--rates", type=rates, help="bits per weight of entropy codes; none: 0")
    parser.add_argument(
        "--types",
        type=block_types,
        default=(),
        help=f"block types to offer, for the target gguf: {','.join(BLOCKS)}",
    )
    parser.add_argument("--draws", type=int, default=4, help="label draws per utterance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rank",
        type=int,
        metavar="N",
        help="directions of each layer's inputs to keep: fewer make a smaller profile; "
        f"{Settings().rank} for a new one",
    )
    add_device(parser)
    parser.add_argument(
        "--max-memory", type=float, metavar="GB", help="refuse before the work what takes more"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the profile")
    parser.add_argument(
        "--float32",
        action="store_true",
        help="gradients in float32 also where the processor multiplies bf16 much faster",
    )
    add_workers(parser)
    add_language(parser)


def from_flags(flags: argparse.Namespace) -> ProfileArguments:
    """The arguments that the flags state.

    Raises:
        ConstraintError: they leave nothing to score.
        ClusterError: there are no processes.
    """
    bits, codes = flags.bits, flags.rates
    if flags.extend is None:
        bits = _BITS if bits is None else bits
        codes = RATES if codes is None else codes
    options = grid_options(bits or (), flags.group_size) + coded_options(codes or ())
    options += block_options(flags.types)
    if not options or flags.draws < 1:
        raise ConstraintError("A profile needs an option or more, and 1 draw or more.")
    if flags.rank is not None and (flags.rank < 1 or flags.extend):
        raise ConstraintError("--rank is of a new profile, and 1 or more.")
    if flags.extend and flags.listen:
        raise ConstraintError(
            "--extend keeps the statistics of inputs that the profile has.", "Leave out --listen."
        )
    if flags.extend and (flags.language or flags.task):
        raise ConstraintError(
            "--extend keeps the language and task that the profile has.",
            "Leave out --language and --task.",
        )
    return ProfileArguments(
        model=flags.model,
        speech=flags.speech,
        limit=flags.limit,
        listen=flags.listen,
        settings=Settings(
            options, draws=flags.draws, seed=flags.seed, rank=flags.rank or Settings().rank
        ),
        max_memory=_bytes(flags.max_memory),
        workers=workers_from_flags(flags),
        out=flags.out,
        extend=flags.extend,
        asked=asked_from_flags(flags),
        float32=flags.float32,
    )


def _bytes(gigabytes: float | None) -> int | None:
    """Bytes in a limit in GB of 10^9 bytes."""
    if gigabytes is None:
        return None
    if not 0 < gigabytes < 1e9:
        raise ConstraintError(f"A limit of {gigabytes} GB makes no sense.", "Give more than 0.")
    return int(gigabytes * 1e9)


def run(arguments: ProfileArguments, report: Report) -> Answer:
    """The computed profile's figures; it is written to the folder that was named.

    Raises:
        FootprintError: it would take more memory or disk than it may.
        GenPTQError: model, speech or workers cannot be used.
    """
    require_folder(arguments.out)  # before work that takes hours
    speech = load_speech(arguments.speech, arguments.limit)
    workers = arguments.workers

    from ..loading import load_model, load_model_of
    from ..models.asking import with_language
    from ..models.device import device_of
    from ..profiling.compute import compute
    from ..profiling.extending import extend
    from ..profiling.footprint import check_weights
    from ..profiling.shared_gradients import shared_gradients

    device_of(workers.device)
    check_weights(arguments.model, arguments.max_memory)
    known = load_profile(arguments.extend) if arguments.extend else None
    listening = load_speech(arguments.listen) if arguments.listen else None
    share = None if workers.here else shared_gradients(workers)
    if known is None:
        model = with_language(load_model(arguments.model, workers.device), *arguments.asked)
    else:
        model = load_model_of(known, arguments.model, workers.device)
    if known is None or arguments.extend is None:
        computed = compute(
            model,
            speech,
            arguments.out,
            arguments.settings,
            report=report,
            listening=listening,
            max_memory=arguments.max_memory,
            share=share,
            float32=arguments.float32,
        )
    else:
        computed = extend(
            known,
            model,
            speech,
            arguments.out,
            arguments.settings.options,
            report=report,
            max_memory=arguments.max_memory,
            share=share,
            float32=arguments.float32,
        )
        _carry_over(arguments.extend, known, arguments.out, computed.profile)
    profile = computed.profile
    result = {
        "profile": str(arguments.out),
        "layers": len(profile.units),
        "options": len(profile.units) * len(profile.menu),
        "utterances": profile.source.utterances,
        "seconds": profile.seconds,
        "cache_hits": computed.cache_hits,
        "backward_passes": computed.backward_passes,
        "digest": profile.digest,
    }
    text = (
        f"{arguments.out}: {len(profile.units)} layers at {len(profile.menu)} options from "
        f"{profile.source.utterances} utterances, {computed.backward_passes} backward passes, "
        f"{computed.cache_hits} steps from the cache."
    )
    return Answer(result, text)


def _carry_over(folder: Path, known: Profile, out: Path, extended: Profile) -> None:
    """Keep a profile's measurements where options were added to it: old ones round as they did."""
    records = load_measured(folder, known.digest)
    if records:
        ship(out, [replace(record, profile_digest=extended.digest) for record in records])


COMMAND = Command(
    name="profile",
    about="Compute and cache a model's sensitivities.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
