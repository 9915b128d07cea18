"""What a check by pydantic found wrong with a file's content, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_fault(error: ValidationError) -> str:
    """The first wrong field and why: `'ci95', 0: Input should be a valid number`."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ", ".join(repr(part) for part in first["loc"])
    return f"{place}: {first['msg']}"
