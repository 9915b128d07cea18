"""What the page can ask a worker for: to measure, explore, transcribe, profile or export.

A request is a frozen dataclass; the queue keeps it as JSON, which Pydantic checks when it is read.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
)

from genptq_core.errors import StoreError
from genptq_core.options import RATES, Option
from genptq_core.storage.json_files import sealed, unsealed

_READING = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Options = tuple[Annotated[Option, PlainValidator(Option.parse)], ...]
"""Option of each unit; their keys in JSON."""

Number = Annotated[int, Strict()] | Annotated[float, Strict(), Field(allow_inf_nan=False)]
"""A number that is written as it was read: 3, not 3.0."""


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
        language, task: what the model is asked for; "" for what rows or the profile say.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READING

    profile: str
    profile_digest: str
    map_digest: str
    options: Options
    manifest: str
    utterances: int | None
    label: str = ""
    language: str = ""
    task: str = ""


@dataclass(frozen=True)
class Transcribe:
    """A recording of the user's to transcribe at full precision and with a map.

    Attributes:
        profile, profile_digest, map_digest, options: as for `Measure`.
        audio: path of the recording, which is deleted once it was transcribed.
        name: what the user called it.
        said: what the user says was said, or "".
        owner: name of the browser that sent it, or "" where browsers cannot be told apart.
        language, task: as for `Measure`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READING

    profile: str
    profile_digest: str
    map_digest: str
    options: Options
    audio: str
    name: str
    said: str = ""
    owner: str = ""
    language: str = ""
    task: str = ""


@dataclass(frozen=True)
class ComputeProfile:
    """A profile to compute.

    Attributes:
        model: what `load_model` takes.
        manifest: path of the calibration manifest.
        utterances: use only this many, from its start; None for all.
        out: the folder to write.
        bits, group_sizes, rates: the options to score.
        draws: label draws per utterance.
        seed: seed of the draws.
        language, task: what the model is asked for; "" for what rows or its own settings say.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READING

    model: str
    manifest: str
    utterances: int | None
    out: str
    bits: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
    group_sizes: tuple[int, ...] = (64,)
    rates: tuple[Number, ...] = RATES
    draws: int = 4
    seed: int = 0
    language: str = ""
    task: str = ""


@dataclass(frozen=True)
class ExportMap:
    """A map to write as a model that a target loads.

    Attributes:
        profile, profile_digest, map_digest, options: as for `Measure`.
        target: the target's name.
        out: the folder to write.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READING

    profile: str
    profile_digest: str
    map_digest: str
    options: Options
    target: str
    out: str


@dataclass(frozen=True)
class Explore:
    """Maps to choose and measure, until a format's front is known or time is up.

    Attributes:
        profile, profile_digest, manifest, utterances: as for `Measure`.
        target: name of the target whose maps are meant.
        minutes: the time there is; one map is measured in any case.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _READING

    profile: str
    profile_digest: str
    target: str
    manifest: str
    utterances: int | None
    minutes: Number


Request = Measure | Explore | Transcribe | ComputeProfile | ExportMap


@dataclass(frozen=True)
class Unreadable:
    """What stands in the queue in place of a request that was damaged there.

    Attributes:
        kind: its kind, as far as that can be read.
    """

    kind: str


KINDS: dict[str, type[Any]] = {
    "measure": Measure,
    "explore": Explore,
    "transcribe": Transcribe,
    "profile": ComputeProfile,
    "export": ExportMap,
}
_READERS: dict[str, TypeAdapter[Request]] = {
    kind: TypeAdapter(request) for kind, request in KINDS.items()
}


def kind_of(request: Request) -> str:
    """A request's kind, as the queue names it."""
    return next(kind for kind, its_type in KINDS.items() if isinstance(request, its_type))


def to_json(request: Request) -> str:
    """A request as text, sealed."""
    fields = dataclasses.asdict(request)
    for name in ("language", "task"):
        if not fields.get(name):  # as before they could be asked for
            fields.pop(name, None)
    if not isinstance(request, ComputeProfile | Explore):
        fields["options"] = [option.key for option in request.options]
    return json.dumps(sealed(fields))


def from_json(kind: str, text: str) -> Request:
    """A request from text.

    Raises:
        StoreError: it is damaged: not JSON, another content than was sealed, a field that is
            missing, unknown or of the wrong type, or a number that is none.
    """
    try:
        content = unsealed(json.loads(text))
        # As JSON, for there lists are tuples even where types are strict.
        return _READERS[kind].validate_json(json.dumps(content))
    except ValidationError as error:
        raise _damaged(kind, fault(error)) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(kind, str(error)) from error


def fault(error: ValidationError) -> str:
    """The first thing that Pydantic found wrong, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ", ".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}"


def _damaged(kind: str, reason: str) -> StoreError:
    return StoreError(
        f"A job of kind {kind!r} in the queue is damaged ({reason}).",
        "Forget it, and ask for it again.",
    )
