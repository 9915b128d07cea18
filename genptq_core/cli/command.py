"""A command of the command line: its flags, its typed arguments, and what it answers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..progress import Report

Arguments = TypeVar("Arguments")


@dataclass(frozen=True)
class Answer:
    """What a command prints.

    Attributes:
        result: the object printed with `--json`.
        text: what is printed otherwise.
        code: the exit code.
    """

    result: dict[str, Any]
    text: str
    code: int = 0


@dataclass(frozen=True, kw_only=True)
class Command(Generic[Arguments]):
    """A command.

    Attributes:
        name: as typed.
        about: one sentence for the help.
        add_flags: adds its flags to a parser.
        from_flags: builds its arguments from parsed flags; raises a GenPTQError where a flag makes
            no sense.
        run: does the work; reports progress, prints nothing.
    """

    name: str
    about: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    from_flags: Callable[[argparse.Namespace], Arguments]
    run: Callable[[Arguments, Report], Answer]

    def answer(self, flags: argparse.Namespace, report: Report) -> Answer:
        """The command's answer to parsed flags.

        Raises:
            GenPTQError: something that the user can mend.
        """
        return self.run(self.from_flags(flags), report)
