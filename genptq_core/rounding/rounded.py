"""A model's weights as a bit map stores them, rounded with the statistics of its profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..models import SpeechModel
from ..models.layered import held_or_layered
from ..models.weights import unit_weight
from ..options import Option
from ..profile import Profile
from ..progress import Progress, Report, silent
from ..quantizers import Sketch, Stored, quantize, restored
from ..storage.digests import sha256_json
from ..units import Unit
from .rounded_units import RoundedUnits


def quantized_weights(
    model: SpeechModel,
    profile: Profile,
    options: Sequence[Option],
    report: Report = silent,
    kept: RoundedUnits | None = None,
) -> Mapping[str, Tensor]:
    """A model's weights rounded as a bit map says, with the profile's Hessian sketches.

    Args:
        model: the profile's model.
        profile: the profile.
        options: option of each unit.
        report: called with the units rounded.
        kept: units that were rounded before, and where to keep those that are rounded now.

    Returns:
        New content by parameter name, float32. Parameters that stay wholly at 16 bit are absent;
        those that the architecture computes are included.

    Raises:
        ModelError: the model is not the profile's, or a unit cannot be stored at its option.
    """
    return restored_weights(model, stored_units(model, profile, options, report, kept))


def restored_weights(
    model: SpeechModel, units: Iterable[tuple[Unit, Option, Stored]]
) -> Mapping[str, Tensor]:
    """The parameters that the stored units decode to, by name; see `quantized_weights`.

    Those of a large model are decoded layer by layer while it runs.
    """
    parameters = dict(model.module.named_parameters())
    parts: dict[str, list[tuple[Unit, Stored]]] = {}
    for unit, option, stored in units:
        if option.form != "half":
            parts.setdefault(unit.parameter, []).append((unit, stored))
    makers = {name: partial(_restored, parameters[name], part) for name, part in parts.items()}
    return held_or_layered(model.module, makers, model.derived)


def _restored(parameter: Tensor, units: Iterable[tuple[Unit, Stored]]) -> Tensor:
    """A parameter with the rows of some units decoded, float32."""
    weight = parameter.detach().clone()
    for unit, stored in units:
        part = weight[unit.start : unit.stop]
        part.copy_(restored(stored).view_as(part))
    return weight


def stored_units(
    model: SpeechModel,
    profile: Profile,
    options: Sequence[Option],
    report: Report = silent,
    kept: RoundedUnits | None = None,
) -> Iterator[tuple[Unit, Option, Stored]]:
    """Every unit with its option and what is stored for it, in the profile's order.

    Arguments are those of `quantized_weights`. Codes that were kept may be of a narrower type.

    Raises:
        ModelError: the model is not the profile's, or a unit cannot be stored at its option.
    """
    check_model(model, profile)
    parameters = dict(model.module.named_parameters())
    for index, (unit, option) in enumerate(zip(profile.units, options, strict=True)):
        report(Progress("rounding", index, len(profile.units)))
        parameter = parameters[unit.parameter]
        key = (model.digest, str(parameter.device), profile.digest, index, option)
        known = kept.get(key) if kept is not None and option.form != "half" else None
        if known is not None:
            yield unit, option, known
            continue
        stored = _rounded(profile, unit, option, parameter)
        if kept is not None and option.form != "half":
            kept.keep(key, stored)
        yield unit, option, stored


def _rounded(profile: Profile, unit: Unit, option: Option, parameter: Tensor) -> Stored:
    """What is stored for a unit.

    Raises:
        ModelError: it cannot be stored at its option.
    """
    hessian, rows = None, None
    if option.form != "half":
        hessian, rows = unit_statistics(profile, unit)
    stored = quantize(unit_weight(parameter, unit), hessian, rows, [option])[0]
    if stored is None:
        raise ModelError(f"{unit.name} cannot be stored at {option.label}.", "Choose a wider one.")
    return stored.cpu()


def check_model(model: SpeechModel, profile: Profile) -> None:
    """Make sure that a profile was computed from exactly this model.

    Raises:
        ModelError: it was not.
    """
    if model.family != profile.source.family:
        raise ModelError(
            f"The profile is of {profile.source.model}, a {profile.source.family} model, and "
            f"{model.name} is a {model.family} model.",
            "Load the model that the profile was computed for.",
        )
    if model.digest != profile.source.model_digest:
        raise ModelError(
            f"The profile is of {profile.source.model} with other weights than {model.name}.",
            "Load the model that the profile was computed for.",
        )


def unit_statistics(profile: Profile, unit: Unit) -> tuple[Sketch | None, Tensor | None]:
    """The sketch of a unit's Hessian (columns, columns) and the importance of its rows (rows,).

    Each is None where the profile has none.
    """
    parts, rows = profile.sketches.get(unit.inputs), profile.importance.get(unit.parameter)
    hessian = importance = None
    if parts is not None:
        tensors = {name: torch.from_numpy(np.array(part)) for name, part in parts.items()}
        hessian = Sketch(
            factor=tensors["factor"], scale=tensors["scale"], diagonal=tensors["diagonal"]
        )
    if rows is not None:
        importance = torch.from_numpy(np.array(rows[unit.start : unit.stop])).float()
    return hessian, importance


def rounding_key(profile: Profile, options: Sequence[Option]) -> str:
    """A digest that stands for a map's weights as the profile rounds them."""
    return sha256_json([profile.digest, [option.key for option in options]])
