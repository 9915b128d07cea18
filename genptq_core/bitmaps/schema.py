"""The bit map file's fields: what is written, what is read, and the JSON Schema of both.

`docs/bitmap.schema.json` holds `schema_text()`; a test fails when it is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from ..errors import PROGRAM, BitMapError
from ..storage.validation import first_fault

SCHEMA = "genptq-bitmap"
VERSION = 3
VERSIONS = (1, 2, VERSION)
REMEDY = f"Write one with: {PROGRAM} solve --out bitmap.json."

_Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_Bits = Annotated[float, Strict(), Field(ge=0.001, le=16, allow_inf_nan=False)]
_Size = Annotated[int, Strict(), Field(ge=0, le=999_999)]
_Count = Annotated[int, Strict(), Field(ge=0)]


class Measurement(BaseModel):
    """What was measured for the map on one speech set; word error rates are fractions."""

    model_config = ConfigDict(extra="allow")

    speech: str
    speech_digest: str
    utterances: _Count
    wer: _Number
    wer_full_precision: _Number
    wer_increase: _Number
    ci95: list[_Number] = Field(min_length=2, max_length=2)


class BitMapFile(BaseModel):
    """A bit map: how every layer of one model is stored, and what is known of the whole model.

    Layers are named as parameters are, with `@start:stop` where a layer is rows of one.
    """

    model_config = ConfigDict(title="GenPTQ Explorer bit map", serialize_by_alias=True)

    schema_name: Literal["genptq-bitmap"] = Field(alias="schema")
    version: Literal[1, 2, 3] = Field(description="3 is written; 1 and 2 are read.")
    model: str = Field(description="The model's name.")
    model_digest: str = Field(description="SHA-256 over the original weights.")
    profile_digest: str = Field("", description="Digest of the profile that it was solved with.")
    calibration_digest: str = Field("", description="Digest of that profile's calibration speech.")
    digest: str = Field("", description="SHA-256 over layers and options: the map's identity.")
    symmetric: Literal[False] = Field(False, description="Integers have zero points.")
    bits: dict[str, _Bits] = Field(
        description="Bits per weight, by layer: for an integer code, scales not counted; for an "
        "entropy code or a block type, everything counted; 16 for float16."
    )
    group_sizes: dict[str, _Size] | None = Field(
        None, description="Weights of a row that share a scale, by layer; 0 without groups."
    )
    blocks: dict[str, str] | None = Field(
        None, description="Block type of ggml, by layer, of layers that are stored as one."
    )
    rows: dict[str, tuple[_Count, _Count]] | None = Field(
        None,
        description="First row and the row after the last, of layers that are rows of a parameter.",
    )
    group_size: _Size | None = Field(None, description="Version 1: one group size for all.")
    target: str | None = Field(None, description="The target that it was solved or exported for.")
    bytes: _Count | None = Field(None, description="Predicted bytes of all parameters there.")
    bytes_by_target: dict[str, _Count] | None = Field(
        None, description="Predicted bytes in each target that can hold the map."
    )
    avg_bits: _Number | None = Field(None, description="Mean of `bits` over weights.")
    reduction_vs_fp32: _Number | None = Field(None, description="1 - bytes / (4 * parameters).")
    predicted_loss: _Number | None = Field(
        None, description="Divergence from full precision, nats per token."
    )
    predicted_wer_increase: _Number | None = Field(None, description="A fraction.")
    lower_bound: _Number | None = Field(
        None, description="No map of these bytes has a smaller predicted loss."
    )
    gap: _Number | None = Field(None, description="predicted_loss - lower_bound.")
    measured: Measurement | None = None
    sha256: str = Field(
        "", description="SHA-256 over all other fields, to notice damage. Files may lack it."
    )


def parse(document: Mapping[str, Any], where: Path) -> BitMapFile:
    """A bit map file's content, checked.

    Raises:
        BitMapError: a field is missing or wrong; the first such field is named.
    """
    try:
        return BitMapFile.model_validate(dict(document))
    except ValidationError as error:
        raise BitMapError(f"{where} is wrong in {first_fault(error)}.", REMEDY) from error


def schema_text() -> str:
    """The JSON Schema of a bit map file."""
    schema = BitMapFile.model_json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=2) + "\n"
