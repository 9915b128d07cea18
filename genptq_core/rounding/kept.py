"""Rounded weights of the latest map, kept on disk so that its next transcript need not wait."""

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
"""Most bytes of float32 weights that are kept; larger ones are rounded again each time."""


def kept_weights(
    model: SpeechModel, profile: Profile, options: Sequence[Option], report: Report = silent
) -> Mapping[str, Tensor]:
    """The weights of `rounding.rounded.quantized_weights`, from disk if they were the latest.

    The cache folder keeps the weights of one map at a time; those of another map replace them.

    Raises:
        ModelError: the model is not the profile's, or a unit cannot be stored at its option.
    """
    check_model(model, profile)
    key = rounding_key(profile, options)
    path = kept_weights_file()
    entry = read_cached(path)
    if entry is not None and entry[1] == key:
        return entry[0]
    weights = quantized_weights(model, profile, options, report)
    if isinstance(weights, LayeredWeights):  # of a large model: never all in memory at once
        return weights
    if sum(tensor.nbytes for tensor in weights.values()) <= LARGEST:
        with contextlib.suppress(GenPTQError):  # with a full disk, the next call rounds again
            write_cached(path, {n: t.contiguous() for n, t in weights.items()}, key)
    return weights
