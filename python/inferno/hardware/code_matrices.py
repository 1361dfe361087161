"""Matrices of codes that stand in for a quantized model's while a machine is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno import _core
from inferno.hardware.stand_in import Pages

Array = npt.NDArray[Any]
Make = Callable[[Pages, int, int], _core.CodedWeight]

# Columns that share a scale where a type's files come in groups, most often; bitsandbytes has 64.
_GROUP, _BNB_BLOCK = 128, 64
_BYTE, _HALF, _FLOAT, _WORD = (np.dtype(t) for t in (np.uint8, np.float16, np.float32, np.int32))


def _channels(kind: str, zeros: bool = False) -> Make:
    """Rows of bytes with a scale each."""

    def make(pages: Pages, n: int, k: int) -> _core.CodedWeight:
        points = pages.take(_BYTE, n, 1) if zeros else None
        return _core.CodedWeight(
            kind, pages.take(_BYTE, n, k), n, k, pages.take(_FLOAT, n, 1), block=(1, k), zeros=points
        )

    return make


def _packed(pages: Pages, n: int, k: int) -> _core.CodedWeight:
    codes, scales = pages.take(_BYTE, n, k // 2), pages.take(_HALF, n, k // _GROUP)
    return _core.CodedWeight("u4", codes, n, k, scales, block=(1, _GROUP), zero=8)


def _levels(pages: Pages, n: int, k: int) -> _core.CodedWeight:
    codes, scales = pages.take(_BYTE, n, k // 2), pages.take(_FLOAT, n, k // _BNB_BLOCK)
    levels = np.zeros(16, np.float32)
    return _core.CodedWeight("lut4", codes, n, k, scales, block=(1, _BNB_BLOCK), levels=levels)


def _gptq(kind: str, bits: int) -> Make:
    def make(pages: Pages, n: int, k: int) -> _core.CodedWeight:
        groups = k // _GROUP
        codes, zeros = pages.take(_WORD, k * bits // 32, n), pages.take(_WORD, groups, n * bits // 32)
        scales = pages.take(_HALF, groups, n)
        return _core.CodedWeight(kind, codes, n, k, scales, block=(1, _GROUP), zeros=zeros, zero=1)

    return make


def _awq(pages: Pages, n: int, k: int) -> _core.CodedWeight:
    codes, zeros = pages.take(_WORD, k, n // 8), pages.take(_WORD, k // _GROUP, n // 8)
    return _core.CodedWeight("awq4", codes, n, k, pages.take(_HALF, k // _GROUP, n), block=(1, _GROUP), zeros=zeros)


# Rate name (hardware/rates.py) -> a matrix of n rows of k, on pages; n a multiple of 8, k one of _GROUP.
CODED: dict[str, Make] = {
    "I8xI8": _channels("i8"),
    "U8xI8": _channels("u8", zeros=True),
    "I8": _channels("i8"),
    "U8": _channels("u8", zeros=True),
    "U4": _packed,
    "LUT4": _levels,
    "E4M3": _channels("e4m3"),
    "GPTQ4": _gptq("gptq4", 4),
    "GPTQ8": _gptq("gptq8", 8),
    "AWQ4": _awq,
}
