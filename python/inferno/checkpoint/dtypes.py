"""The element types of safetensors: their width, and the NumPy type that their bytes are viewed as."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class DType(NamedTuple):
    """`bits` per element, and the NumPy type of a view; None where elements are narrower than a byte."""

    bits: int
    numpy: np.dtype[np.generic] | None


def _as(bits: int, numpy: str) -> DType:
    return DType(bits, np.dtype(numpy))


# NumPy lacks BF16 and every F8 type: their views are unsigned integers of the same width, and `Tensor.dtype` tells.
# Numbers on disk are little-endian.
DTYPES: dict[str, DType] = {
    "BOOL": _as(8, "?"),
    "F4": DType(4, None),
    "F6_E2M3": DType(6, None),
    "F6_E3M2": DType(6, None),
    "U8": _as(8, "u1"),
    "I8": _as(8, "i1"),
    "F8_E5M2": _as(8, "u1"),
    "F8_E4M3": _as(8, "u1"),
    "F8_E8M0": _as(8, "u1"),
    "F8_E4M3FNUZ": _as(8, "u1"),
    "F8_E5M2FNUZ": _as(8, "u1"),
    "I16": _as(16, "<i2"),
    "U16": _as(16, "<u2"),
    "F16": _as(16, "<f2"),
    "BF16": _as(16, "<u2"),
    "I32": _as(32, "<i4"),
    "U32": _as(32, "<u4"),
    "F32": _as(32, "<f4"),
    "C64": _as(64, "<c8"),
    "F64": _as(64, "<f8"),
    "I64": _as(64, "<i8"),
    "U64": _as(64, "<u8"),
}
