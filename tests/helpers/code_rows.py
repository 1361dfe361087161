"""Rows of int8 codes as kernels exchange them: what is in them, and rows of any codes for products to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inferno import _core

CODES_AT = 64  # bytes before a row's first code
Outliers = Sequence[Mapping[int, float]]


@dataclass(frozen=True)
class CodeRows:
    """`scale`: (m,) float32; `codes`: (m, k) int64; `outliers`: for each row, its values by column, in order."""

    scale: np.ndarray
    codes: np.ndarray
    outliers: Outliers


def _list_at(k: int) -> int:
    """Where a row's outliers begin."""
    return _core.quantized_rows(0, k).shape[1]


def read_rows(rows: np.ndarray, k: int) -> CodeRows:
    """Takes rows apart; what lies between the codes and the next thing must be zero."""
    end = CODES_AT + 2 * k
    start = _list_at(k)
    assert (rows[:, 8:CODES_AT] == 0).all()
    assert (rows[:, end:start] == 0).all()
    counts = rows[:, 4:8].copy().view(np.int32)[:, 0]
    outliers = []
    for row, count in zip(rows, counts, strict=True):
        pairs = row[start : start + 8 * int(count)].copy()
        columns, values = pairs.view(np.int32)[::2], pairs.view(np.float32)[1::2]
        assert (np.diff(columns) > 0).all()
        outliers.append(dict(zip(columns.tolist(), values.tolist(), strict=True)))
    codes = rows[:, CODES_AT:end].copy().view(np.int16).astype(np.int64)
    return CodeRows(rows[:, :4].copy().view(np.float32)[:, 0], codes, outliers)


def make_rows(scale: np.ndarray, codes: np.ndarray, outliers: Outliers | None = None) -> np.ndarray:
    """Rows with these contents, as quantize would leave them; with room for outliers where they are given."""
    m, k = codes.shape
    rows = _core.quantized_rows(m, k, outliers=outliers is not None)
    rows[:, :4] = np.asarray(scale, np.float32).reshape(m, 1).view(np.uint8)
    rows[:, CODES_AT : CODES_AT + 2 * k] = np.ascontiguousarray(codes, np.int16).view(np.uint8).reshape(m, 2 * k)
    for row, found in zip(rows, outliers or [], strict=bool(outliers)):
        pairs = np.zeros((len(found), 2), np.int32)
        pairs[:, 0] = list(found)
        pairs[:, 1] = np.array(list(found.values()), np.float32).view(np.int32)
        row[4:8] = np.array([len(found)], np.int32).view(np.uint8)
        start = _list_at(k)
        row[start : start + pairs.nbytes] = pairs.view(np.uint8).reshape(-1)
    return rows
