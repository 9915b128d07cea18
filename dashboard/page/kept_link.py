"""Kept picks as one word of the page's address, so that they outlive a reload. Pure.

The address is a browser window's own: nobody else sees what was kept there, unless the address is
given to them. The word is JSON, deflated, in base64 without padding:

    [[name, profile digest, map digest, knobs as query parameters, option keys, places], ...]

with one place in the list of keys per unit. What is in an address may be forged, so a pick
counts only once `fitted` has checked it against its profile.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import zlib
from typing import Any

from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import BitMapError
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.targets import NATIVE, TARGETS, held_columns, usable_targets
from genptq_core.targets.ways import named_way

from .kept import KeptPick, KeptPicks, keep
from .knobs import LOSSES, POINTS, Knobs, from_params, size_range, to_params, widths

LONGEST = 4000
"""Characters that kept picks may take in an address; browsers and proxies take twice as many."""

_MOST = 1_000_000
"""Characters that a word may unpack to."""

_PICKS = LONGEST // 20
"""Picks that a word may hold; none takes fewer characters than this leaves it."""


def written(picks: KeptPicks) -> tuple[str, int]:
    """Kept picks as a word, and how many of them are in it: the latest, as many as fit."""
    for start in range(max(len(picks) - _PICKS, 0), len(picks)):
        text = json.dumps([_item(kept) for kept in picks[start:]], separators=(",", ":"))
        word = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
        if len(word) <= LONGEST:
            return word, len(picks) - start
    return "", 0


def read(word: str) -> KeptPicks:
    """The kept picks of a word, not yet checked; what cannot be read is left out."""
    try:
        word = word[:LONGEST]
        data = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
        document = json.loads(zlib.decompressobj().decompress(data, _MOST))
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        return ()
    picks: KeptPicks = ()
    for item in document[-_PICKS:] if isinstance(document, list) else ():
        try:
            picks = keep(picks, _kept(item))
        except (TypeError, ValueError, IndexError, AttributeError):
            continue
    return picks


def fitted(picks: KeptPicks, profile: Profile) -> KeptPicks:
    """Kept picks of which those of a profile are maps of it, with knobs that the page has.

    Picks of other profiles stay as they are; those of this one that are no maps of it go.
    """
    sound = []
    for kept in picks:
        if kept.profile_digest == profile.digest:
            try:
                same = bit_map(profile, kept.map.options).digest == kept.map.digest
            except BitMapError:
                continue
            if not same:
                continue
            kept = dataclasses.replace(kept, knobs=_offered(kept.knobs, profile))
        sound.append(kept)
    return tuple(sound)


def _item(kept: KeptPick) -> list[Any]:
    keys = sorted({option.key for option in kept.map.options})
    places = [keys.index(option.key) for option in kept.map.options]
    params = to_params(kept.knobs)
    return [kept.name, kept.profile_digest, kept.map.digest, params, keys, places]


def _kept(item: list[Any]) -> KeptPick:
    """The kept pick that `_item` wrote.

    Raises:
        TypeError, ValueError, IndexError, AttributeError: it is none.
    """
    name, profile_digest, digest, params, keys, places = item
    values = [v for group in params.values() for v in group]
    if not all(isinstance(v, str) for v in (name, profile_digest, digest, *params, *values)):
        raise ValueError("a name is no text")
    if not all(type(place) is int and place >= 0 for place in places):
        raise ValueError("a place is no number")
    options = [Option.parse(key) for key in keys]
    chosen = BitMap(tuple(options[place] for place in places), digest)
    return KeptPick(name, profile_digest, chosen, from_params(params, Knobs("")))


def _offered(knobs: Knobs, profile: Profile) -> Knobs:
    """Knobs at the nearest values that the page offers."""
    names = usable_targets(profile.menu, profile.source.family) or [NATIVE]
    target = knobs.target if knobs.target in names else names[0]
    on_offer = widths([profile.menu[column] for column in held_columns(profile.menu, target)])
    asked = knobs.min_bits, knobs.max_bits
    sound = set(asked) <= set(on_offer) and asked[0] <= asked[1]
    low, high = asked if sound else (on_offer[0], on_offer[-1])
    least, most, step = POINTS
    return dataclasses.replace(
        knobs,
        target=target,
        runtime=_run(knobs.runtime, target, profile),
        size_mb=size_range(profile, target).clip(knobs.size_mb),
        points=min(max(round(knobs.points / step) * step, least), most),
        loss=min(LOSSES, key=lambda loss: abs(loss - knobs.loss)),
        min_bits=low,
        max_bits=high,
    )


def _run(name: str, target: str, profile: Profile) -> str:
    """The name of a way to run a format, or "" where it has none of that name."""
    way = named_way(profile, TARGETS[target], name)
    return name if way is not None and way.name == name else ""
