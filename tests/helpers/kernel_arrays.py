"""Arrays as kernels meet them: every stored type, any alignment, fenced by values that must survive."""

from __future__ import annotations

import numpy as np

STORED = ["f32", "f16", "bf16"]
# One; around each vector width and twice it; where a kernel's inner blocks begin and end; a real model.
SIZES = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 576, 4096]
# Half the distance from 1 to the next float32: the relative error of one rounding.
U = 2.0**-24

_CODES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}
_GUARD = 0x5A


def at_offset(values: np.ndarray, offset: int) -> np.ndarray:
    """A copy whose data begins `offset` bytes past a multiple of 64."""
    room = np.empty(values.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def stored(values: np.ndarray, kind: str, offset: int = 1) -> np.ndarray:
    """`values` as weights lie in a file: in the type `kind`, at an odd address. BF16 drops the low bits: any serve."""
    single = np.ascontiguousarray(values, np.float32)
    if kind == "bf16":
        return at_offset((single.view(np.uint32) >> 16).astype(np.uint16), offset)
    return at_offset(single.astype(_CODES[kind]), offset)


def widened(array: np.ndarray) -> np.ndarray:
    """The values of a stored array in float64."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


def activations(values: np.ndarray) -> np.ndarray:
    """`values` in float32, 4 bytes past a vector's alignment."""
    return at_offset(np.asarray(values, np.float32), 4)


def bits(array: np.ndarray) -> np.ndarray:
    """The array's bit patterns: equal where the bits are, unlike -0.0 and 0.0, or NaN and itself."""
    return np.ascontiguousarray(array).view({2: np.uint16, 4: np.uint32}[array.itemsize])


class Fenced:
    """An output array with guard bytes before and after it."""

    def __init__(self, shape: tuple[int, ...], dtype: type = np.float32, fill: float = np.nan) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._room = np.full(size + 512, _GUARD, np.uint8)
        start = -self._room.ctypes.data % 64 + 192 + np.dtype(dtype).itemsize
        self._before, self._after = self._room[:start], self._room[start + size :]
        self.array = self._room[start : start + size].view(dtype).reshape(shape)
        self.array[...] = fill

    def check(self) -> np.ndarray:
        """The array, if nothing was written around it."""
        assert (self._before == _GUARD).all(), "written before the output"
        assert (self._after == _GUARD).all(), "written past the output"
        return self.array
