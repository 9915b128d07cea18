"""SQLite in write-ahead mode, which one process enters while others wait."""

from __future__ import annotations

import random
import sqlite3
import time


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
