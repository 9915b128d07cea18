"""Paths as a user types and reads them: from the folder in which the page was started."""

from __future__ import annotations

import os
from pathlib import Path


def typed(text: str) -> Path:
    """A path as typed, as an absolute one; a relative one is from the folder of the server."""
    return (Path.cwd() / Path(text).expanduser()).resolve()


def shown(path: Path | str) -> str:
    """A path as one types it in the folder of the server; absolute where it lies outside it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).is_relative_to(here) else str(path)
