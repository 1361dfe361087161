"""A tensor in a file, or in several: what the headers say of it, and views on its bytes."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferno.checkpoint.dtypes import DTYPES
from inferno.joined import Joined


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
    def matrix(self) -> np.ndarray[Any, Any]:
        """`array`, under the name that a tensor in pieces has too."""
        return self.array

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The pieces that it lies in: itself."""
        return (self,)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it lies in: one."""
        return (self.file,)

    @property
    def offset(self) -> int:
        """Where its first byte lies in the file, in bytes."""
        return self._offset

    @property
    def file_bytes(self) -> np.ndarray[Any, Any]:
        """The whole mapped file that the tensor lies in, as read-only bytes."""
        return np.frombuffer(self._map, np.uint8)


@dataclass(frozen=True)
class JoinedTensor:
    """One tensor that lies in several files: blocks of its rows (axis 0) or of its columns (axis 1), in order.

    `dtype` is that of every part, `shape` and `nbytes` are of the whole; parts have the names that their files give
    them. Nothing of the data is read before someone reads `matrix`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    parts: tuple[Tensor, ...]
    axis: int

    @classmethod
    def of(cls, name: str, parts: tuple[Tensor, ...], axis: int) -> JoinedTensor:
        """The tensor of these parts, which agree in dtype and in their other dimensions."""
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return cls(name, parts[0].dtype, tuple(shape), sum(part.nbytes for part in parts), parts, axis)

    @property
    def matrix(self) -> Joined:
        """Read-only views on the parts, each as `Tensor.array`."""
        return Joined(tuple(part.array for part in self.parts), self.axis)

    @property
    def file(self) -> Path:
        """The file of the first part."""
        return self.parts[0].file

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it lies in, in order."""
        return tuple(part.file for part in self.parts)


# A tensor as models know it: in one place, or in several.
AnyTensor = Tensor | JoinedTensor


def _view(data: mmap.mmap, shape: tuple[int, ...], dtype: np.dtype[np.generic], offset: int) -> np.ndarray[Any, Any]:
    view: np.ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=data, offset=offset)
    return view
