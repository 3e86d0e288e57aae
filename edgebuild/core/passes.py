"""Passes: what is done to a network on its way to an artifact. A tagged union; each variant has its own settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from edgebuild.units import parse_part


class Scheme(StrEnum):
    """How weights and activations are stored, in the terms of the TFLite converter."""

    INT8 = "int8"
    INT16X8 = "int16x8"
    DYNAMIC = "dynamic"
    FLOAT16 = "float16"
    FLOAT32 = "float32"

    @property
    def needs_calibration(self) -> bool:
        """Whether the converter must see representative data to choose activation ranges."""
        return self in (Scheme.INT8, Scheme.INT16X8)


class DType(StrEnum):
    """Element types of an artifact's inputs and outputs."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"


class Prune(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="prune"):
    """Weight pruning to a share of zeros in each prunable tensor."""

    sparsity: Annotated[float, parse_part]


class Quantize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="quantize"):
    """Post-training quantization by the TFLite converter; int8 is full-integer with per-channel weights."""

    scheme: Scheme
    input: DType
    output: DType
    float_fallback: bool


Pass = Prune | Quantize
