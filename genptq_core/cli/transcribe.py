"""`genptq transcribe`: transcribe audio files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..models.asking import with_language
from ..models.decoding import DECODINGS, GREEDY, with_decoding
from ..progress import Report
from ..speech.utterances import speech_set, utterance
from .arguments import add_decoding, add_language, asked_from_flags
from .command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class TranscribeArguments:
    """What to transcribe, and with what.

    Attributes:
        model: a bundled name, a folder, an export or a hub name.
        audio: recordings.
        decoding: name of the rule for decoding.
        asked: language and task that the model is asked for; each "" for rows or its own.
    """

    model: str
    audio: tuple[Path, ...]
    decoding: str = GREEDY.name
    asked: tuple[str, str] = ("", "")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument(
        "--model", required=True, help="whisper-tiny.en, a local folder, an export, a hub name"
    )
    parser.add_argument("audio", nargs="+", type=Path)
    add_decoding(parser)
    add_language(parser)


def from_flags(flags: argparse.Namespace) -> TranscribeArguments:
    """The arguments that the flags state."""
    return TranscribeArguments(
        model=flags.model,
        audio=tuple(flags.audio),
        decoding=flags.decoding,
        asked=asked_from_flags(flags),
    )


def run(arguments: TranscribeArguments, report: Report) -> Answer:
    """The text of each recording.

    Raises:
        GenPTQError: the model or a recording cannot be used.
    """
    speech = speech_set("command line", [utterance(path) for path in arguments.audio])

    from ..loading import load_model

    model = with_language(load_model(arguments.model), *arguments.asked)
    model = with_decoding(model, DECODINGS[arguments.decoding])
    from ..measurement.measure import transcribe_files  # after what imports torch in the quick way

    texts = transcribe_files(model, speech)
    transcripts = {str(p): t for p, t in zip(arguments.audio, texts, strict=True)}
    lines = [f"{path}: {text}" for path, text in transcripts.items()]
    return Answer({"transcripts": transcripts}, "\n".join(lines))


COMMAND = Command(
    name="transcribe",
    about="Transcribe audio files.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
