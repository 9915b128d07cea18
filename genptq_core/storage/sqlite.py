"""SQLite in write-ahead mode, which one process enters while others wait."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote


def reading(path: Path) -> sqlite3.Connection:
    """A connection that only reads, and leaves no files next to a database that nobody has open.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    # In write-ahead mode, whoever has it open keeps this file; without one nothing can change.
    is_open = path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro" if is_open else "immutable=1"
    address = f"file:{quote(str(path.absolute()))}?{mode}"
    return sqlite3.connect(address, uri=True, timeout=10)


def enter_wal(connection: sqlite3.Connection, patience: float = 30.0) -> None:
    """Put a database into write-ahead mode.

    SQLite gives up on this change at once when another connection is open, whatever the
    connection's own timeout says, so it is tried again here.

    Args:
        connection: outside a transaction.
        patience: seconds to wait for other processes.

    Raises:
        sqlite3.OperationalError: it is still locked after that, or cannot be written.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.001, 0.02))
