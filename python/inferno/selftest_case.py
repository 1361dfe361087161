"""What the self-test's cases are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# The relative error of one rounding to float32.
U = 2.0**-24
NO_TYPE = "-"


@dataclass(frozen=True)
class Case:
    """An operation to try: `run(tier)` computes it, `expected` is the truth, `bound` what one tier may be off by."""

    operation: str
    weight_type: str
    run: Callable[[str], Array]
    expected: Float64
    bound: Float64 | float = 0.0


def stored(values: Array, weight_type: str) -> Array:
    """`values` in the stored type, rounded to nearest with ties to even."""
    single = np.ascontiguousarray(values, np.float32)
    if weight_type == "BF16":
        bits = single.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return single.astype({"F32": np.float32, "F16": np.float16}[weight_type])


def widened(array: Array) -> Float64:
    """The values of a stored array in float64."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


def single(values: Array) -> Float32:
    return np.ascontiguousarray(values, np.float32)


def nans(*shape: int) -> Float32:
    """Room for results: what a kernel leaves out shows."""
    return np.full(shape, np.nan, np.float32)
