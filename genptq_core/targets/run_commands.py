"""Commands that run a folder on `talk.wav`, as one pastes them into a shell.

Those of other runtimes need nothing of this program; the recording is mono and has 16 kHz there.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from ..errors import PROGRAM
from .ways import Way

RECORDING = "talk.wav"
"""The recording that the commands transcribe."""

FOLDER = "DIR"
"""What stands for a folder that is not written yet."""

_READ = f"soundfile.read('{RECORDING}', dtype='float32')[0]"


def commands(way: Way, folder: str, unpacked: str = "") -> tuple[str, ...]:
    """The commands that run a target's folder: to unpack it, if it must be, and to transcribe.

    Args:
        way: what runs it.
        folder: the exported folder.
        unpacked: where the form is written that it is unpacked into; next to the folder if "".
    """
    if way.form is None:
        return (_RUN.get(way.runtime.name, _program)(folder),)
    unpacked = unpacked or f"{folder.rstrip('/')}-{way.runtime.name}-{way.form.name}"
    unpack = [PROGRAM, "unpack", folder, *way.form.unpack, "--out", unpacked]
    run = _UNPACKED.get(way.runtime.name, _RUN.get(way.runtime.name, _program))
    return (shlex.join(unpack), run(unpacked))


def to_run(lines: tuple[str, ...]) -> str:
    """Commands as lines to paste."""
    return "\n".join(("To run it:", *lines))


def _python(*lines: str) -> str:
    code = "; ".join(lines)
    if any(sign in code for sign in '"$`\\!'):
        return shlex.join(["python", "-c", code])
    return f'python -c "{code}"'


def _program(folder: str) -> str:
    return shlex.join([PROGRAM, "transcribe", "--model", folder, RECORDING])


def _transcribe_cpp(folder: str) -> str:
    return _python(
        "import soundfile, transcribe_cpp",
        f"session = transcribe_cpp.Model({folder + '/model.gguf'!r}).session()",
        f"print(session.run({_READ}).text)",
    )


def _faster_whisper(folder: str) -> str:
    return _python(
        "from faster_whisper import WhisperModel",
        f"parts, _ = WhisperModel({folder!r}).transcribe('{RECORDING}', beam_size=1)",
        "print(*(part.text for part in parts))",
    )


def _transformers(folder: str) -> str:
    return _python(
        "import soundfile, transformers",
        f"model = transformers.pipeline('automatic-speech-recognition', {folder!r})",
        f"print(model({_READ})['text'])",
    )


def _mlx(folder: str) -> str:
    """On a Mac; the text is written to talk.txt."""
    flags = ["--model", folder, "--audio", RECORDING, "--output-path", Path(RECORDING).stem]
    return shlex.join(["mlx_audio.stt.generate", *flags])


_RUN: dict[str, Callable[[str], str]] = {
    "transcribe.cpp": _transcribe_cpp,
    "faster-whisper": _faster_whisper,
    "mlx": _mlx,
}
"""The command of each runtime that has one of its own; this program drives the others."""

_UNPACKED: dict[str, Callable[[str], str]] = {"transformers": _transformers}
"""The same for what was unpacked for it, where that differs."""
