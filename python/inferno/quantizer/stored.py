"""Numbers as checkpoints store them, F32, F16 or BF16, from and to float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
# What weights may be stored in, by the bytes of a number.
ITEMSIZE = {"F32": 4, "F16": 2, "BF16": 2}


def widen(stored: npt.NDArray[Any], dtype: str) -> Float64:
    """The exact values, as float64. BF16 is seen as uint16."""
    if dtype == "BF16":
        stored = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(invalid="ignore"):  # of a signalling NaN
        return np.asarray(stored, np.float64)


def is_finite(stored: npt.NDArray[Any], dtype: str) -> bool:
    """Whether all numbers are; an exponent of ones is what the others have."""
    if dtype != "BF16":
        return bool(np.isfinite(stored).all())
    return not ((stored & np.uint16(0x7F80)) == np.uint16(0x7F80)).any()


def narrow(values: Float64, dtype: str) -> npt.NDArray[Any]:
    """The nearest numbers of a type, ties to even (BF16: by way of float32); out of range becomes infinite."""
    with np.errstate(over="ignore"):
        if dtype == "F16":
            return values.astype(np.float16)
        singles = values.astype(np.float32)
    if dtype == "F32":
        return singles
    bits = singles.view(np.uint32)
    # Half a unit in the last kept place, less one where the kept part is even: ties go to even.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.asarray(rounded, np.uint16)


def next_above(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The next larger number of the same type, for positive ones."""
    unsigned = stored.view(np.uint16 if stored.dtype.itemsize == 2 else np.uint32)
    return (unsigned + 1).astype(unsigned.dtype).view(stored.dtype)
