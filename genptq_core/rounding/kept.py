"""The rounded weights of the map asked for last, kept so that the next recording need not wait."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import GenPTQError
from ..models.layered import LayeredWeights
from ..options import Option
from ..progress import Report, silent
from ..storage.cache import read_cached, write_cached
from ..storage.locations import kept_weights_file
from .rounded import check_model, quantized_weights, rounding_key

if TYPE_CHECKING:
    from torch import Tensor

    from ..models import SpeechModel
    from ..profile import Profile

LARGEST = 2_000_000_000
"""Bytes of float32 weights past which they are rounded anew each time: a disk is not endless."""


def kept_weights(
    model: SpeechModel, profile: Profile, options: Sequence[Option], report: Report = silent
) -> Mapping[str, Tensor]:
    """The weights of `rounding.rounded.quantized_weights`, read where they are those kept.

    One map's are kept at a time, in the cache folder: another map's take their place.

    Raises:
        ModelError: the model is not the profile's.
    """
    check_model(model, profile)
    key = rounding_key(profile, options)
    path = kept_weights_file()
    found = read_cached(path)
    if found is not None and found[1] == key:
        return found[0]
    weights = quantized_weights(model, profile, options, report)
    if isinstance(
        weights, LayeredWeights
    ):  # of a large model: made layer by layer, never all there
        return weights
    if sum(tensor.nbytes for tensor in weights.values()) <= LARGEST:
        with contextlib.suppress(GenPTQError):  # a full disk costs the next recording its time
            write_cached(path, {n: t.contiguous() for n, t in weights.items()}, key)
    return weights
