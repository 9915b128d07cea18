"""The drill prints one table when it is over."""

from __future__ import annotations

from typing import Any

from tests.drill import ledger


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ledger.COUNTS:
        terminalreporter.section("drill")
        for line in ledger.table():
            terminalreporter.write_line(line)
