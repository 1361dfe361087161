"""Weights -> codes and scales: symmetric, rounded to nearest, a scale for each group of columns of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.quantizer.stored import Float64, narrow, next_above, widen

# Shares of a group's largest weight that are tried as the end of its scale, where the best one is looked for.
_SHARES = (1.0, 0.975, 0.95, 0.925, 0.9, 0.875, 0.85, 0.825, 0.8, 0.775, 0.75, 0.725, 0.7, 0.65, 0.6)


@dataclass(frozen=True)
class Codes:
    """`codes`: (rows, k) int8. `scales`: (rows, groups) in the stored type of `dtype`."""

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[Any]


def round_rows(
    weights: Float64, bits: int, group: int, dtype: str, *, search: bool = False, importance: Float64 | None = None
) -> Codes:
    """Rounds rows (rows, k) to codes of `bits` bits; each `group` columns, which must divide k, share a scale.

    A scale is the stored number next to absmax / (2^(bits - 1) - 0.5), so that the range is used whole, or the next
    above, if the largest weight would be cut by a quarter of a step; of zeros it is 1. `search`: of several smaller
    scales the one with the least squared error of the group is taken, each column weighed by `importance` (k,), if
    it is given. Codes are rounded with the scale as stored, so its own rounding costs nothing.
    """
    rows, k = weights.shape
    grouped = weights.reshape(rows, k // group, group)
    largest = np.abs(grouped).max(axis=-1)
    scales = _scales(largest, bits, dtype)
    if search:
        shape = None if importance is None else importance.reshape(1, k // group, group)
        scales = _best(grouped, largest, scales, bits, dtype, shape)
    return Codes(_rounded(grouped, scales, bits, dtype).astype(np.int8).reshape(rows, k), scales)


def _scales(largest: Float64, bits: int, dtype: str) -> npt.NDArray[Any]:
    half = 2.0 ** (bits - 1)
    scales = narrow(largest / (half - 0.5), dtype)
    cut = largest > (half - 0.25) * widen(scales, dtype)
    scales = np.where(cut, next_above(scales), scales)
    return np.where(largest == 0, narrow(np.ones_like(largest), dtype), scales)


def _rounded(grouped: Float64, scales: npt.NDArray[Any], bits: int, dtype: str) -> Float64:
    half = 2.0 ** (bits - 1)
    return np.clip(np.rint(grouped / widen(scales, dtype)[..., None]), -half, half - 1)


def _best(
    grouped: Float64,
    largest: Float64,
    scales: npt.NDArray[Any],
    bits: int,
    dtype: str,
    importance: Float64 | None,
) -> npt.NDArray[Any]:
    least = np.full(largest.shape, np.inf)
    best = scales
    for share in _SHARES:
        tried = scales if share == 1.0 else _scales(largest * share, bits, dtype)
        error = (_rounded(grouped, tried, bits, dtype) * widen(tried, dtype)[..., None] - grouped) ** 2
        total = (error if importance is None else error * importance).sum(axis=-1)
        better = total < least
        least, best = np.where(better, total, least), np.where(better, tried, best)
    return best
