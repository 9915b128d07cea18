"""The profile: a model's sensitivities, computed once, from which any budget is solved.

It reads without torch, and carries digests of the model, of the calibration speech and of its own
tensors, so that nothing is ever matched by path.
"""

from __future__ import annotations

from .file import EMBEDDED, JSON_NAME, TENSORS_NAME, bundled_profile, load_profile, save
from .values import Anchor, Profile, Settings, Source, anchored, of_weights

__all__ = [
    "EMBEDDED",
    "JSON_NAME",
    "TENSORS_NAME",
    "Anchor",
    "Profile",
    "Settings",
    "Source",
    "anchored",
    "bundled_profile",
    "load_profile",
    "of_weights",
    "save",
]
