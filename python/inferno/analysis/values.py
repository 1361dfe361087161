"""Statistics of one tensor's values, from its bytes in pieces of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.checkpoint.dtypes import DTYPES

Floats = npt.NDArray[Any]
# Rows are kept apart up to this many; beyond, a tensor counts as one row (a hostile header may claim any number).
MAX_ROWS = 1 << 22
# A row whose root mean square is so many times the median row's stands out.
OUTLIER = 20.0
# Elements that are widened at a time: float32 copies of them stay in a core's own cache.
_AT_ONCE = 1 << 17
_SCALES = ("scale", "scale_inv", "scales", "SCB", "absmax")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
SCANNED = _FLOATS | {"I8"}


@dataclass(frozen=True)
class TensorValues:
    """What a tensor's values are like. NaN and Inf count in `nan` and `inf` and nowhere else.

    `elements` that were looked at: 0 for types whose values mean nothing alone (packed codes, truth values). `rows` is
    the number of rows; of them `zero_rows` hold nothing but zeros and `outlier_rows` have a root mean square above
    OUTLIER times the median of the rows that are not zero. `ends`: share of int8 codes at -128, -127 or 127.
    `bad_scales`: of a scale's values, those that are NaN, Inf, zero or negative.
    """

    name: str
    dtype: str
    elements: int = 0
    rows: int = 0
    nan: int = 0
    inf: int = 0
    minimum: float | None = None
    maximum: float | None = None
    rms: float | None = None
    zero_rows: int = 0
    outlier_rows: int = 0
    outlier_factor: float = 0.0
    ends: float | None = None
    bad_scales: int = 0

    @classmethod
    def of(cls, name: str, parts: Sequence[Scan]) -> TensorValues:
        """The values of a tensor that lies in these parts. Parts of a row (columns) count as rows of their own."""
        dtype = parts[0].dtype
        elements = sum(part.elements for part in parts)
        if dtype not in SCANNED or elements == 0:
            return cls(name, dtype)
        squares = np.concatenate([part.squares for part in parts])
        zero = np.concatenate([part.zero for part in parts])
        lengths = np.concatenate([np.full(len(part.squares), part.row_length, np.float64) for part in parts])
        row_rms = np.sqrt(squares / lengths)
        alive = row_rms[~zero]
        median = float(np.median(alive)) if len(alive) else 0.0
        top = float(row_rms.max())
        judged = len(row_rms) > 2 and median > 0
        finite = elements - sum(part.nan + part.inf for part in parts)
        return cls(
            name,
            dtype,
            elements=elements,
            rows=len(row_rms),
            nan=sum(part.nan for part in parts),
            inf=sum(part.inf for part in parts),
            minimum=float(min(part.minimum for part in parts)) if finite else None,
            maximum=float(max(part.maximum for part in parts)) if finite else None,
            rms=float(np.sqrt(squares.sum() / finite)) if finite else None,
            zero_rows=int(zero.sum()),
            outlier_rows=int((row_rms > OUTLIER * median).sum()) if judged else 0,
            outlier_factor=top / median if judged else 0.0,
            ends=sum(part.ends for part in parts) / elements if dtype == "I8" else None,
            bad_scales=sum(part.bad_scales for part in parts),
        )


class Scan:
    """Takes in one stored tensor piece by piece."""

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.row_length = shape[-1] if shape else 1
        rows = prod(shape[:-1])
        if rows > MAX_ROWS:
            rows, self.row_length = 1, prod(shape)
        if dtype not in SCANNED or self.row_length == 0:
            rows = 0
        self.squares = np.zeros(rows, np.float64)
        self.zero = np.ones(rows, np.bool_)
        self.minimum, self.maximum = np.inf, -np.inf
        self.elements = self.nan = self.inf = self.ends = self.bad_scales = 0
        self._is_scale = dtype in _FLOATS and name.endswith(_SCALES)
        self._rest = b""

    def add(self, piece: memoryview) -> None:
        """The next bytes of the tensor."""
        if not len(self.squares):
            return
        itemsize = DTYPES[self.dtype].bits // 8
        raw: bytes | memoryview = piece
        if self._rest:
            raw = self._rest + bytes(piece)
        whole = len(raw) // itemsize * itemsize
        self._rest = bytes(raw[whole:])
        codes = np.frombuffer(raw[:whole], DTYPES[self.dtype].numpy)
        if self.dtype == "I8":
            self.ends += int(((codes <= -127) | (codes == 127)).sum())
        for begin in range(0, len(codes), _AT_ONCE):
            self._add_values(_widened(codes[begin : begin + _AT_ONCE], self.dtype))

    def _add_values(self, values: Floats) -> None:
        if self._is_scale:
            self.bad_scales += int((~(np.isfinite(values) & (values > 0))).sum())
        k = self.row_length
        row, inside = divmod(self.elements, k)
        self.elements += len(values)
        head = min((k - inside) % k, len(values))
        if head:
            self._add_rows(row, values[None, :head])
            values, row = values[head:], row + 1
        full = len(values) // k
        if full:
            self._add_rows(row, values[: full * k].reshape(full, k))
        if full * k < len(values):
            self._add_rows(row + full, values[None, full * k :])

    def _add_rows(self, row: int, values: Floats) -> None:
        """`values`: (rows, k), from row `row` on, of which an earlier piece may have seen the beginning."""
        rows = slice(row, row + len(values))
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", values, values)
        low, high = values.min(), values.max()
        # A square of 0 may have been less than float32 holds.
        seen = squares != 0
        if not seen.all():
            seen[~seen] = (values[~seen] != 0).any(axis=1)
        self.zero[rows] &= ~seen
        if not np.isfinite(squares).all():
            # NaN, Inf, or numbers whose squares leave float32
            finite = np.isfinite(values)
            self.nan += int(np.isnan(values).sum())
            self.inf += int(np.isinf(values).sum())
            wide = np.where(finite, values, 0).astype(np.float64)
            with np.errstate(over="ignore"):
                squares = np.einsum("ij,ij->i", wide, wide)
            low = np.where(finite, values, np.inf).min()
            high = np.where(finite, values, -np.inf).max()
        self.squares[rows] += squares
        self.minimum = min(self.minimum, low)
        self.maximum = max(self.maximum, high)


def _widened(codes: npt.NDArray[Any], dtype: str) -> Floats:
    """The values as float32 (float64 stays what it is), exactly."""
    if dtype in ("F32", "F64"):
        return codes
    if dtype == "BF16":
        wide = codes.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype.startswith("F8_"):
        return np.asarray(_table(dtype)[codes])
    return np.asarray(codes, np.float32)


@cache
def _table(dtype: str) -> Floats:
    """The 256 values of an eight-bit float: 1 sign bit, then exponent and mantissa as the name says.

    E4M3 has no Inf, and one NaN (all ones); E5M2 is like IEEE; the FNUZ kinds have one zero, no Inf, NaN at 0x80, and a
    bias of one more; E8M0 is 2^(code - 127), 255 is NaN. Sources: OCP 8-bit Floating Point Specification 1.0, OCP
    Microscaling Formats 1.0, and arXiv:2206.02915 for FNUZ.
    """
    code = np.arange(256)
    if dtype == "F8_E8M0":
        return np.where(code == 255, np.nan, np.ldexp(np.float64(1), code - 127)).astype(np.float32)
    mantissa_bits = 3 if "E4M3" in dtype else 2
    fnuz = dtype.endswith("FNUZ")
    bias = (1 << (6 - mantissa_bits)) - 1 + fnuz
    exponent = (code & 0x7F) >> mantissa_bits
    mantissa = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    value = np.ldexp(np.where(exponent > 0, 1 + mantissa, mantissa), np.maximum(exponent, 1) - bias)
    value = np.where(code >= 0x80, -value, value)
    if fnuz:
        value[0x80] = np.nan
    elif mantissa_bits == 3:
        value[[0x7F, 0xFF]] = np.nan
    else:
        value[[0x7C, 0xFC]] = np.inf, -np.inf
        value[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    table: Floats = value.astype(np.float32)
    return table
