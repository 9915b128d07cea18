"""The fields of `profile.json` as it is read: types, ranges, and how they must agree.

The dataclasses of `values` say what each field means; a test compares their names.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, Strict, model_validator

from ..options import Option
from .values import Settings

_LIMIT = 2**40  # more than any model has weights; beyond, array sizes overflow

_Count = Annotated[int, Strict(), Field(ge=0, lt=_LIMIT)]
_Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_Option = Annotated[Option, PlainValidator(Option.parse)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceRecord(_Record):
    """Fields of `Source`."""

    model: str
    family: str
    model_digest: str
    parameters: _Count
    derived: _Count
    calibration: str
    calibration_digest: str
    utterances: _Count
    tokens: _Count
    listened: _Count = 0
    listening_digest: str = ""
    overhead: dict[str, _Count] = Field(default_factory=dict)
    language: str = ""
    task: str = ""
    anchored: _Count = 0


class SettingsRecord(_Record):
    """Fields of `Settings`."""

    options: tuple[_Option, ...]
    draws: _Count = Settings.draws
    seed: Annotated[int, Strict()] = Settings.seed
    rank: _Count = Settings.rank
    quantizer: str = Settings.quantizer


class UnitRecord(_Record):
    """Fields of `Unit`."""

    name: str
    parameter: str
    start: _Count
    stop: _Count
    columns: _Count
    part: str
    kind: str
    block: _Count
    inputs: str

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if not 0 < (self.stop - self.start) * self.columns < _LIMIT:
            raise ValueError("the unit has no weights, or too many")
        return self


class AnchorRecord(BaseModel):
    """Fields of `Anchor`."""

    options: tuple[_Option, ...]
    loss: _Number


class ProfileRecord(BaseModel):
    """Fields of `profile.json`, schema, version and seal left out."""

    source: SourceRecord
    settings: SettingsRecord
    units: tuple[UnitRecord, ...] = Field(min_length=1)
    anchors: tuple[AnchorRecord, ...]
    tensors: str
    seconds: _Number = Field(ge=0)
    digest: str

    @model_validator(mode="after")
    def _fits_its_units(self) -> Self:
        if len({unit.name for unit in self.units}) < len(self.units):
            raise ValueError("two units have the same name")
        if any(len(anchor.options) != len(self.units) for anchor in self.anchors):
            raise ValueError("an anchor does not have one option per unit")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the projections: (utterances, draws, units, options)."""
        settings = self.settings
        return self.source.utterances, settings.draws, len(self.units), len(settings.options)
