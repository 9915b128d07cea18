"""How many examples a slow property is tried on.

A third of them in a usual run, which draws others each time; all of them with
`--hypothesis-profile=thorough`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings

THOROUGH = "thorough"
settings.register_profile(THOROUGH, deadline=None)


def examples(most: int, **more: Any) -> settings:
    """Settings for so many examples, or a third of them.

    Args:
        most: examples of a thorough run.
        more: other settings.
    """
    thorough = settings.get_current_profile_name() == THOROUGH
    return settings(max_examples=most if thorough else -(-most // 3), deadline=None, **more)
