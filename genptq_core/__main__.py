"""`python -m genptq_core`, and the command `genptq`: the command line.

Until it is imported, which takes a moment, Ctrl-C ends the process at once: there is nothing to
clean up, and a library that is half imported would report something else.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_NAME = "genptq"


def run(program: str = _NAME) -> int:
    """Import the command line, and run it with this process's arguments; returns the exit code."""
    usual = signal.getsignal(signal.SIGINT)
    is_usual = usual is signal.default_int_handler
    if is_usual:  # a shell may have made background processes deaf to it

        def stop(number: int, frame: FrameType | None) -> None:
            os.write(2, f"{program}: stopped before it began.\n".encode())
            os._exit(130)

        signal.signal(signal.SIGINT, stop)
    from .cli.main import main
    from .models.lean_imports import in_own_process

    in_own_process()

    def listen() -> None:
        if is_usual:
            signal.signal(signal.SIGINT, usual)

    return main(program=program, ready=listen)


if __name__ == "__main__":
    sys.exit(run("python -m genptq_core"))
