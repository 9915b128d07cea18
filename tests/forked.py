"""Work in a forked process, which has imported already what is slow to import."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

import torch

Say = Callable[[str], None]
"""Called in the child with a line for the parent."""


def killed_at(line: str, work: Callable[[Say], object]) -> list[str]:
    """Run something in a process of its own, and kill it when it says a certain line.

    Args:
        line: what it says at the moment of its death.
        work: what it does; it is given a function to say lines with.

    Returns:
        All lines that it said, `line` the last.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # the parent's threads are not there after a fork
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            work(lambda text: os.write(writing, f"{text}\n".encode()) and None)
        finally:
            os._exit(1)
    os.close(writing)
    lines = []
    with os.fdopen(reading) as said:
        for text in said:
            lines.append(text.strip())
            if lines[-1] == line:
                os.kill(child, signal.SIGKILL)
                break
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it ended before it said {line!r}: {lines[-3:]}"
    return lines


def at_once(*works: Callable[[], object]) -> None:
    """Run things in a process each, at the same time; every one must end well."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                torch.set_num_threads(1)
                work()
                status = 0
            except BaseException:  # noqa: BLE001 - nothing may go on in the child
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
