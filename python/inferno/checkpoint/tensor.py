"""A tensor in a file: what the header says of it, and a view on its bytes."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferno.checkpoint.dtypes import DTYPES


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint. Nothing of its data is read before someone reads `array`.

    `dtype` is safetensors' name (F32, BF16, F8_E4M3, ...), `shape` counts elements, `nbytes` bytes on disk.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: Path
    _map: mmap.mmap = field(repr=False, compare=False)
    _offset: int = field(repr=False)

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """A read-only view on the mapped file, at whatever alignment the file has; it keeps the map alive.

        The shape is `shape` and the type is the stored one; types that NumPy lacks are seen as unsigned integers of the
        same width (BF16 as uint16, F8_* as uint8). F4 and F6_* are narrower than a byte: a flat uint8 array (nbytes,).
        """
        dtype = DTYPES[self.dtype].numpy
        if dtype is None:
            return _view(self._map, (self.nbytes,), np.dtype(np.uint8), self._offset)
        return _view(self._map, self.shape, dtype, self._offset)

    @property
    def file_bytes(self) -> np.ndarray[Any, Any]:
        """The whole mapped file that the tensor lies in, as read-only bytes."""
        return np.frombuffer(self._map, np.uint8)


def _view(data: mmap.mmap, shape: tuple[int, ...], dtype: np.dtype[np.generic], offset: int) -> np.ndarray[Any, Any]:
    view: np.ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=data, offset=offset)
    return view
