"""Footprint: the memory and disk that a profile takes, estimated before it is computed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FootprintError, SpeechError
from ..loading import expected_parameters
from ..models import SpeechModel
from ..models.layered import HELD as HELD_WEIGHTS
from ..models.weights import parameter_count
from ..options import Option
from ..profile import Settings
from ..quantizers import is_wide
from ..quantizers.near_codes import kept_bytes
from ..speech.utterances import LONGEST, SpeechSet, Utterance, duration
from ..units import Unit

MOST_TOGETHER = 2
"""Most utterances whose gradients are held together: rounding errors are then computed once."""

ROUNDED_TOGETHER = 1 << 23
"""Weights that are rounded together, unless a unit has more: all their options are held."""

HELD = 4_000_000_000
"""Most bytes of gradients that are held if no limit is given."""

HELD_CODES = {"cpu": 500_000_000, "cuda": 9_000_000_000}
"""Most bytes of rounding errors' files that stay in a device's memory; more are read each time."""

NUMBERS = 3_000_000_000
"""Most bytes of rounding errors that are kept as numbers, in float16; of more, codes are kept."""

_PROGRAM = 800_000_000  # the interpreter with its libraries, and their working memory
_MARGIN = 1.5  # factor for activations other than units' inputs and outputs
_FRAMES = 100  # positions per second, more than any front end of a CTC model gives


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a profile takes, by stage; only one stage runs at a time.

    Attributes:
        model: the weights, float32.
        moments: sums over inputs in the calibration pass.
        rounding: units with the same inputs at every option, with what they share.
        activations: what a backward pass keeps of the forward pass.
        gradients: gradients held together, and the rounding errors of one unit.
        anchors: changed weights in addition to the original ones.
        disk: errors or codes of every option, or sums, in the cache folder.
    """

    model: int
    moments: int
    rounding: int
    activations: int
    gradients: int
    anchors: int
    disk: int

    @property
    def memory(self) -> int:
        """Peak memory of the process."""
        stages = (self.moments, self.rounding, self.activations + self.gradients, self.anchors)
        return _PROGRAM + self.model + max(stages)


def footprint(
    parameters: int,
    units: Sequence[Unit],
    positions: Mapping[str, int],
    settings: Settings,
    together: int,
) -> Footprint:
    """Estimate what a profile takes.

    Args:
        parameters: how many the model has.
        units: its units.
        positions: most input positions of a unit on one utterance, by unit name.
        settings: of the profile.
        together: utterances whose gradients are held together; 0 if each gradient is dropped once
            it is multiplied by the rounding errors.
    """
    options = len(settings.options)
    weights = sum(unit.weights for unit in units)
    largest = max(unit.weights for unit in units)
    widest = max(unit.columns for unit in units)
    sizes = _parameter_sizes(units)
    inputs = {unit.inputs: unit.columns for unit in units}.values()
    summed = [n * (2 * settings.rank + 1 if is_wide(n, settings.rank) else n) for n in inputs]
    shared: dict[str, int] = {}
    for unit in units:
        shared[unit.inputs] = shared.get(unit.inputs, 0) + unit.weights
    most = min(max(shared.values()), max(largest, ROUNDED_TOGETHER))
    activations = sum((u.rows + u.columns) * positions[u.name] for u in units)
    kept = _kept(units, settings.options)
    sketches = sum(n * (settings.rank + 4) for n in inputs)
    held = together * settings.draws * weights if together else 0
    # Weights of an anchor: all of them, or for a large model one layer's with its errors.
    changed = 4 * parameters if 4 * parameters <= HELD_WEIGHTS else 12 * max(sizes.values())
    # The largest gradient twice: autograd sums parts of a tied parameter.
    gradients = held + 2 * max(sizes.values()) + largest
    # Of files that do not stay in memory one unit's; its codes are no more than its errors above.
    apart = 2 * options * largest if kept_as_numbers(units, settings.options) else 0
    read = kept if kept <= HELD_CODES["cpu"] else apart
    return Footprint(
        model=4 * parameters,
        moments=4 * (sum(summed) + max(summed)) + 8 * 4 * min(widest, 1 << 14) * settings.rank,
        # Weights in order, twice; codes of each option, of the last two also as they are kept.
        rounding=(16 + 5 * options) * most + 8 * 8 * widest * settings.rank,
        activations=int(_MARGIN * 4 * activations),
        gradients=4 * gradients + read,
        anchors=changed + int(_MARGIN * 4 * activations / max(1, len(units)) * 8),
        # Each file is written anew before the old one goes; sums are gone before codes come.
        disk=max(2 * 4 * sum(summed), kept) + 2 * sketches,
    )


def kept_as_numbers(units: Sequence[Unit], options: Sequence[Option]) -> bool:
    """Whether rounding errors are kept as numbers, and not as codes."""
    return _numbers(units, options) <= NUMBERS


def _numbers(units: Sequence[Unit], options: Sequence[Option]) -> int:
    return 2 * len(options) * sum(unit.weights for unit in units)


def _kept(units: Sequence[Unit], options: Sequence[Option]) -> int:
    """Bytes of the files that hold what every unit is rounded to."""
    if kept_as_numbers(units, options):
        return _numbers(units, options)
    return sum(kept_bytes(unit.rows, unit.columns, option) for unit in units for option in options)


def check_weights(name: str, max_memory: int | None = None) -> None:
    """Refuse a model whose weights alone do not fit in memory, before they are read.

    Args:
        name: of the model; see `load_model`.
        max_memory: most bytes of memory that may be used; all that the machine has otherwise.

    Raises:
        FootprintError: they do not fit.
        ModelError: nothing of that name can be loaded.
    """
    needed = _PROGRAM + 4 * expected_parameters(name)
    _check(f"Loading {name}", needed, max_memory, "Take a smaller model.")


def plan_memory(
    model: SpeechModel,
    speech: SpeechSet,
    settings: Settings,
    folder: Path,
    max_memory: int | None = None,
) -> tuple[int, Footprint]:
    """How many utterances' gradients to hold together, and the bytes that the profile then takes.

    Args:
        model: the model.
        speech: the calibration set.
        settings: of the profile.
        folder: where the cache is, or will be.
        max_memory: most bytes of memory that may be used; all that the machine has otherwise.

    Returns:
        Utterances held together, 0 for none, and the footprint.

    Raises:
        FootprintError: it does not fit in the memory allowed, or on the disk.
    """
    longest = max((_seconds(u) for u in speech.utterances), default=LONGEST)
    most_positions = positions(model, longest)
    count = parameter_count(model.module)

    def at(together: int) -> Footprint:
        return footprint(count, model.units, most_positions, settings, together)

    _check(f"A profile of {model.name}", at(0).memory, max_memory, "Offer fewer options.")
    weights = 4 * sum(unit.weights for unit in model.units) * settings.draws
    most = min(MOST_TOGETHER, HELD // weights) if max_memory is None else MOST_TOGETHER
    limit = max_memory or machine_memory()
    together = max(n for n in range(most + 1) if n == 0 or at(n).memory <= limit)
    chosen = at(together)
    free = shutil.disk_usage(_existing(folder)).free
    if chosen.disk > free:
        raise FootprintError(
            f"A profile of {model.name} takes {chosen.disk / 1e9:.1f} GB on disk while it runs;"
            f" {folder} has {free / 1e9:.1f} GB.",
            "Offer fewer options, or let $GENPTQ_CACHE name a folder with more room.",
        )
    return together, chosen


def positions(model: SpeechModel, seconds: float) -> dict[str, int]:
    """Most input positions of every unit on an utterance of that length, by unit name."""
    config = model.module.config
    frames = int(getattr(config, "max_source_positions", 0) or _FRAMES * max(seconds, 1.0))
    # At most half the text context is written, after a prompt of a few tokens.
    tokens = int(getattr(config, "max_target_positions", 0) or 2 * frames) // 2 + 4

    def of(unit: Unit) -> int:
        if unit.part == "encoder":
            return 2 * frames if unit.kind == "convolution" else frames
        return frames if "encoder_attn.k_proj" in unit.inputs else tokens

    return {unit.name: of(unit) for unit in model.units}


def machine_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check(what: str, needed: int, allowed: int | None, remedy: str) -> None:
    if needed <= (allowed or machine_memory()):
        return
    limit = f"this machine has {machine_memory() / 1e9:.1f} GB"
    way = "If it can swap, name a larger --max-memory."
    if allowed:
        limit, way = f"{allowed / 1e9:.1f} GB are allowed", "Allow more with --max-memory."
    raise FootprintError(
        f"{what} takes {needed / 1e9:.1f} GB of memory, and {limit}.", f"{remedy} {way}"
    )


def _parameter_sizes(units: Sequence[Unit]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for unit in units:
        sizes[unit.parameter] = sizes.get(unit.parameter, 0) + unit.weights
    return sizes


def _seconds(recording: Utterance) -> float:
    try:
        return duration(recording)
    except SpeechError:
        return LONGEST  # reading it will say what is wrong


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
