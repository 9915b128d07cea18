"""The exception tree: every failure that a user can fix is a `GenPTQError`.

Each message is one sentence that names what was wrong and where, and `hint` says what to do.
"""

from __future__ import annotations

PROGRAM = "genptq"
"""The command that hints name, as it is after installation."""


class GenPTQError(Exception):
    """Base of all errors that a user can fix.

    Args:
        message: what was wrong, and where (file, line, layer).
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".strip())


class SpeechError(GenPTQError):
    """A manifest or a recording cannot be used."""


class ModelError(GenPTQError):
    """A model cannot be loaded, or does not match what it is used with."""


class ProfileError(GenPTQError):
    """A profile is missing, damaged, of another schema, or of another model."""


class BitMapError(GenPTQError):
    """A bit map is damaged or does not fit the profile."""


class ConstraintError(GenPTQError):
    """A constraint is malformed or names no layer."""


class InfeasibleError(ConstraintError):
    """No allocation satisfies the request.

    Args:
        smallest: the smallest feasible size under the constraints, bytes.
    """

    def __init__(self, message: str, hint: str = "", *, smallest: int) -> None:
        super().__init__(message, hint)
        self.smallest = smallest


class StoreError(GenPTQError):
    """The store of measured configurations cannot be read or written."""


class ClusterError(GenPTQError):
    """Processes or machines that should do a part of the work cannot be reached, or died."""


class FootprintError(GenPTQError):
    """A computation needs more memory or disk than it may use; raised before it starts."""


class ExportError(GenPTQError):
    """An exported model cannot be written, or what was written cannot be read."""


class ModelWarning(UserWarning):
    """Something about a model that was settled, and that its user should know."""
