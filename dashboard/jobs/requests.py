"""What the page can ask a worker for: to measure, hear, profile or export something."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from genptq_core.errors import StoreError
from genptq_core.options import RATES, Option
from genptq_core.storage.json_files import sealed, unsealed


@dataclass(frozen=True)
class Measure:
    """A map to measure.

    Attributes:
        profile: the profile's folder.
        profile_digest: its digest when the job was queued.
        map_digest: digest of the bit map.
        options: option of each unit.
        manifest: path of the speech manifest.
        utterances: measure only this many, from its start; None for all.
        label: the measurement's name in lists.
    """

    profile: str
    profile_digest: str
    map_digest: str
    options: tuple[Option, ...]
    manifest: str
    utterances: int | None
    label: str = ""


@dataclass(frozen=True)
class Transcribe:
    """A recording of the user's to transcribe at full precision and with a map.

    Attributes:
        profile, profile_digest, map_digest, options: as for `Measure`.
        audio: path of the recording, which is deleted once it was heard.
        name: what the user called it.
        said: what the user says was said, or "".
        owner: whose it is: the browser that sent it, or "" where browsers cannot be told apart.
    """

    profile: str
    profile_digest: str
    map_digest: str
    options: tuple[Option, ...]
    audio: str
    name: str
    said: str = ""
    owner: str = ""


@dataclass(frozen=True)
class ComputeProfile:
    """A profile to compute.

    Attributes:
        model: what `load_model` takes.
        manifest: path of the calibration manifest.
        utterances: use only this many, from its start; None for all.
        out: the folder to write.
        bits, group_sizes, rates: the options to score.
        draws: label draws an utterance.
        seed: seed of the draws.
    """

    model: str
    manifest: str
    utterances: int | None
    out: str
    bits: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
    group_sizes: tuple[int, ...] = (64,)
    rates: tuple[float, ...] = RATES
    draws: int = 4
    seed: int = 0


@dataclass(frozen=True)
class ExportMap:
    """A map to write as a model that a target loads.

    Attributes:
        profile, profile_digest, map_digest, options: as for `Measure`.
        target: the target's name.
        out: the folder to write.
    """

    profile: str
    profile_digest: str
    map_digest: str
    options: tuple[Option, ...]
    target: str
    out: str


Request = Measure | Transcribe | ComputeProfile | ExportMap

KINDS: dict[str, type[Any]] = {
    "measure": Measure,
    "transcribe": Transcribe,
    "profile": ComputeProfile,
    "export": ExportMap,
}


def kind_of(request: Request) -> str:
    """A request's kind."""
    return next(kind for kind, made in KINDS.items() if isinstance(request, made))


def to_json(request: Request) -> str:
    """A request as text, sealed."""
    fields = dataclasses.asdict(request)
    if "options" in fields:
        fields["options"] = [option.key for option in request.options]  # type: ignore[union-attr]
    return json.dumps(sealed(fields))


def from_json(kind: str, text: str) -> Request:
    """A request from text.

    Raises:
        StoreError: it is damaged.
    """
    try:
        content = unsealed(json.loads(text))
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        if "options" in fields:
            fields["options"] = tuple(Option.parse(key) for key in fields["options"])
        made: Request = KINDS[kind](**fields)
        return made
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"A job of kind {kind!r} in the queue is damaged ({error}).",
            "Move the queue's file away.",
        ) from error
