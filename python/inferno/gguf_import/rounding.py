"""Rounds float32 to the stored dtypes, to nearest and ties to even; a value that does not fit is an error."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from inferno.errors import CheckpointError, UsageError

FloatDtype = Literal["BF16", "F16", "F32"]
ITEMSIZE: dict[str, int] = {"BF16": 2, "F16": 2, "F32": 4}


def check_dtype(dtype: str) -> FloatDtype:
    """`dtype` itself; raises UsageError if it is not one that a checkpoint can be written in."""
    for known in get_args(FloatDtype):
        if dtype == known:
            return dtype  # type: ignore[return-value]
    raise UsageError(f"dtype must be one of {', '.join(get_args(FloatDtype))}; got {dtype!r}")


def round_to(values: npt.NDArray[np.float32], dtype: FloatDtype, where: str) -> npt.NDArray[Any]:
    """float32 of any shape -> uint16 (BF16 bits), float16 or float32 of the same shape.

    Raises CheckpointError, beginning with `where`, for NaN, infinity, and values beyond the dtype's range.
    """
    if not np.isfinite(values).all():
        raise CheckpointError(f"{where}: weights must be finite; got NaN or infinity")
    if dtype == "F32":
        return values
    if dtype == "F16":
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        fits = np.isfinite(halves)
        rounded: npt.NDArray[Any] = halves
    else:
        rounded = _bfloat16_bits(values)
        fits = (rounded & 0x7F80) != 0x7F80
    if not fits.all():
        worst = values[~fits].flat[0]
        raise CheckpointError(f"{where}: holds {worst:g}, which does not fit {dtype}; import it as {_wider(dtype)}")
    return rounded


def _bfloat16_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    bits = np.ascontiguousarray(values).view(np.uint32)
    # Half a unit in the last kept place, less one where the kept part is even: ties go to even.
    nudge = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded: npt.NDArray[np.uint16] = ((bits + nudge) >> np.uint32(16)).astype(np.uint16)
    return rounded


def _wider(dtype: FloatDtype) -> str:
    return "BF16 or F32" if dtype == "F16" else "F32"
