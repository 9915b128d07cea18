"""The rounding errors of one unit at every option: a small file, and what is computed from it.

Of a small model the errors themselves are kept, in float16. Of a large one codes are
(`quantizers.near_codes`), 2 bits for each weight and option: a gradient's product with an error is
then that with the rounded weight less that with the weight, a few rows at a time.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..options import Option
from ..quantizers import Coded, Quantized, Stored, restored
from ..quantizers.coded import power
from ..quantizers.near_codes import Parts, near_parts, nearest_codes, stored_of
from ..storage.cache import write_cached

_AT_ONCE = 1 << 18  # errors that are computed together, so that the cache holds them
_ERROR, _NONE = "error", "none"  # in place of codes: float16 errors; nothing can be stored


def content_of(path: Path, device: torch.device) -> dict[str, Tensor]:
    """All that a unit's file holds, on a device."""
    with safe_open(path, framework="pt") as handle:
        return {name: handle.get_tensor(name).to(device) for name in handle.keys()}  # noqa: SIM118


def write_errors(
    path: Path, weight: Tensor, rounded: Mapping[Option, Stored | None], *, as_numbers: bool
) -> None:
    """Write what a unit was rounded to.

    Args:
        path: the unit's file.
        weight: shape (rows, columns), float32.
        rounded: what is stored, by option; None if the unit cannot be stored with it.
        as_numbers: errors in float16, which are larger than codes and sooner multiplied.

    Raises:
        GenPTQError: the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for option, stored in rounded.items():
        if stored is None:
            parts = {_NONE: torch.empty(0)}
        elif isinstance(stored, Coded | Quantized) and not as_numbers:
            parts = near_parts(weight, stored)
        else:
            parts = {_ERROR: (restored(stored).to(weight.device) - weight).half().cpu()}
        tensors |= {f"{option.key}:{name}": part for name, part in parts.items()}
    write_cached(path, tensors)


@dataclass(frozen=True)
class UnitErrors:
    """Rounding errors of a unit, read from its file.

    Attributes:
        path: the file.
        weight: the unit's weight, shape (rows, columns), float32.
        content: what the file holds, on the weight's device; None to read it each time.
    """

    path: Path
    weight: Tensor
    content: Mapping[str, Tensor] | None = None

    def restored(self, option: Option) -> Tensor | None:
        """The weight that an option decodes to: shape (rows, columns); None if it cannot be had.

        To about a thousandth of its error where errors are kept as numbers.
        """
        parts = self._parts(option)
        if _NONE in parts:
            return None
        if _ERROR in parts:
            return self.weight + parts[_ERROR].to(self.weight.device).float()
        return restored(stored_of(self.weight, option, parts))

    def products(self, slopes: Sequence[Tensor], options: Sequence[Option]) -> Tensor:
        """Inner products of gradients with the errors.

        Args:
            slopes: gradients of the unit, each of shape (rows, columns), float32.
            options: in the order of the result.

        Returns:
            Shape (gradients, options), float64, on the processor; NaN where the unit cannot be
            stored.
        """
        out = torch.full((len(slopes), len(options)), torch.nan, dtype=torch.float64)
        numbers: dict[int, Tensor] = {}
        alike: dict[int, list[tuple[int, Option, Parts]]] = defaultdict(list)
        for index, parts in enumerate(self._parts_of(options)):
            if _ERROR in parts:
                numbers[index] = parts[_ERROR].to(self.weight.device)
            elif _NONE not in parts:
                alike[options[index].group_size].append((index, options[index], parts))
        if numbers:
            out[:, list(numbers)] = _with_numbers(slopes, list(numbers.values())).cpu()
        for some in alike.values():
            where, which, kept = zip(*some, strict=True)
            out[:, list(where)] = self._products(slopes, which, kept).cpu()
        return out

    def _parts(self, option: Option) -> dict[str, Tensor]:
        (found,) = self._parts_of([option])
        return found

    def _parts_of(self, options: Sequence[Option]) -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = []
        with contextlib.ExitStack() as stack:
            get: Callable[[str], Tensor]
            if self.content is None:
                handle = stack.enter_context(safe_open(self.path, framework="pt"))
                names, get = list(handle.keys()), handle.get_tensor
            else:
                names, get = list(self.content), self.content.__getitem__
            for head in (f"{option.key}:" for option in options):
                found.append({n.removeprefix(head): get(n) for n in names if n.startswith(head)})
                if not found[-1]:
                    raise KeyError(head)
        return found

    def _products(
        self, slopes: Sequence[Tensor], options: Sequence[Option], kept: Sequence[Parts]
    ) -> Tensor:
        """Products with errors of entropy codes, or of integers in groups of one size."""
        device, count, (rows, columns) = self.weight.device, len(slopes), self.weight.shape
        scales = _Scales(kept, options, columns, device)
        codes = _Codes(self.weight, kept, scales)
        quarter = -(-rows // 4)
        step = min(quarter, max(1, _AT_ONCE // (len(kept) * columns)))
        # Looked up once: memory that is new each time takes longer than what is done with it.
        room = torch.empty((len(kept) + 1, step * columns), device=device)
        turned = torch.empty((count, step * columns), device=device)
        out = torch.zeros((len(kept) + 1, count), dtype=torch.float64, device=device)
        for number in range(4):
            end = min(quarter, rows - number * quarter)
            for start in range(0, end, step):
                first, size = number * quarter + start, min(step, end - start)
                wide, part = (space[:, : size * columns] for space in (room, turned))
                for place, slope in zip(part, slopes, strict=True):
                    place.view(size, columns).copy_(slope[first : first + size])
                codes.write(first, size, number, wide[:-1])
                wide[-1].view(size, columns).copy_(self.weight[first : first + size])
                scales.apply(part, wide, first, size)
                out += wide @ part.T
        products = scales.finished(out[:-1].T) - out[-1][:, None]
        return products + codes.listed(slopes)


def _with_numbers(slopes: Sequence[Tensor], errors: Sequence[Tensor]) -> Tensor:
    """Products of gradients with float16 errors: (gradients, options), float64."""
    device, weights = errors[0].device, errors[0].numel()
    step = min(weights, max(1, _AT_ONCE // len(errors)))
    some = torch.empty((len(slopes), step), device=device)
    wide = torch.empty((len(errors), step), device=device)
    out = torch.zeros((len(slopes), len(errors)), dtype=torch.float64, device=device)
    flat = [[one.reshape(-1) for one in of] for of in (slopes, errors)]
    for start in range(0, weights, step):
        size = min(step, weights - start)
        for room, of in zip((some, wide), flat, strict=True):
            for row, one in zip(room, of, strict=True):
                row[:size].copy_(one[start : start + size])
        out += some[:, :size] @ wide[:, :size].T
    return out


class _Scales:
    """What codes are multiplied by: steps of entropy codes, or scales of groups of one size."""

    def __init__(
        self, kept: Sequence[Parts], options: Sequence[Option], columns: int, device: torch.device
    ) -> None:
        self.coded = options[0].form == "coded"
        self.columns, self.size = columns, options[0].group_size
        self.levels = [2 ** int(option.bits) - 1 for option in options]
        if self.coded:
            self.row, self.column = (power(kept[0][name].to(device)) for name in ("row", "column"))
            self.steps = torch.cat([parts["step"] for parts in kept]).to(device)
        else:
            self.scale, self.zero = (
                torch.stack([parts[name].to(device).float() for parts in kept])
                for name in ("scale", "zero")
            )

    def of_rows(self, first: int, size: int) -> tuple[Tensor, Tensor]:
        """Scales and zero points of some rows, to be seen as (options, rows, groups, columns)."""
        found = [part[:, first : first + size] for part in (self.scale, self.zero)]
        if self.columns % self.size:
            found = [
                part.repeat_interleave(self.size, dim=2)[..., : self.columns] for part in found
            ]
        scale, zero = (part[..., None] for part in found)
        return scale, zero

    def units(self, first: int, size: int) -> Tensor:
        """Row and column steps of some rows, (rows, columns)."""
        return self.row[first : first + size, None] * self.column

    def apply(self, part: Tensor, wide: Tensor, first: int, size: int) -> None:
        """Make products of gradients with codes those with weights in units.

        Args:
            part: gradients of some rows, (gradients, weights).
            wide: codes and, in the last row, the weights themselves.
            first, size: the rows.
        """
        if self.coded:
            units = self.units(first, size).view(-1)
            part.mul_(units)
            wide[-1].div_(units)
        else:
            scale, zero = self.of_rows(first, size)
            codes = wide[:-1].view(len(wide) - 1, size, scale.shape[2], -1)
            codes.sub_(zero).mul_(scale)

    def finished(self, products: Tensor) -> Tensor:
        """Products with codes as products with weights."""
        return products * self.steps.double() if self.coded else products

    def at(self, index: int, places: Tensor) -> Tensor:
        """What a code of an option is multiplied by, by its place in the unit."""
        down, along = places // self.columns, places % self.columns
        if self.coded:
            return self.row[down] * self.column[along] * self.steps[index]
        return self.scale[index, down, along // self.size]


class _Codes:
    """Codes of a unit at several options, a few rows at a time."""

    def __init__(self, weight: Tensor, kept: Sequence[Parts], scales: _Scales) -> None:
        self._weight, self._kept, self._scales = weight, kept, scales
        self._near = torch.stack([parts["near"] for parts in kept]).to(weight.device)
        self._levels = self._near.new_tensor(scales.levels, dtype=torch.float32)[:, None]

    def write(self, first: int, size: int, number: int, out: Tensor) -> None:
        """Write the codes of some rows, which lie in one quarter: (options, weights)."""
        scales, weight = self._scales, self._weight[first : first + size]
        if scales.coded:
            nearest_codes(weight, scales.units(first, size), scales.steps, out)
        else:
            scale, zero = scales.of_rows(first, size)
            aimed = out.view(len(out), size, scale.shape[2], -1)
            torch.div(weight.reshape(aimed.shape[1:]), scale, out=aimed).add_(zero).round_()
            torch.minimum(out.clamp_(min=0), self._levels, out=out)
        start = first - number * self._near.shape[1]
        # A quarter's two bits where they are: divided by what they then count too much.
        bits = self._near[:, start : start + size] & (3 << (2 * number))
        out.add_(bits.view(out.shape).float(), alpha=4.0**-number).sub_(1)

    def listed(self, slopes: Sequence[Tensor]) -> Tensor:
        """Products with what codes differ by that are further away: (gradients, options)."""
        device = self._weight.device
        out = torch.zeros((len(slopes), len(self._kept)), dtype=torch.float64, device=device)
        for index, parts in enumerate(self._kept):
            if len(parts["at"]):
                at, by = (parts[name].to(device) for name in ("at", "by"))
                moved = by * self._scales.at(index, at.long())
                there = torch.stack([slope.reshape(-1)[at.long()] for slope in slopes])
                out[:, index] = there @ moved
        return out
