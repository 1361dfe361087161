"""The tensors to write, a unit for each tensor or layer of the source, made in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError
from inferno.files import show_name
from inferno.quantizer.codes import round_rows
from inferno.quantizer.packing import pack_rows, packed_width
from inferno.quantizer.shards import Entry
from inferno.quantizer.stored import Float64, is_finite, narrow, widen

Piece = tuple[str, npt.NDArray[Any]]
# Bytes of a tensor that are copied at once, and numbers of a layer that are rounded: a megabyte of float64, for caches.
_COPIED = 16 << 20
_ROUNDED = 1 << 17


class Unit(Protocol):
    """What becomes of one tensor of the source."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The tensors that it becomes."""

    @property
    def read_bytes(self) -> int:
        """Bytes of the source that `pieces` reads."""

    def pieces(self) -> Iterator[tuple[int, list[Piece]]]:
        """The tensors' next bytes by name, and how many bytes of the source they took. CheckpointError for NaN."""


@dataclass(frozen=True)
class Copied:
    """A tensor that stays as it is, or that is replaced by `values` of the same type and shape."""

    source: Tensor
    values: npt.NDArray[Any] | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (Entry(self.source.name, self.source.dtype, self.source.shape),)

    @property
    def read_bytes(self) -> int:
        return self.source.nbytes

    def pieces(self) -> Iterator[tuple[int, list[Piece]]]:
        data = np.ascontiguousarray(self.source.array if self.values is None else self.values).reshape(-1)
        step = max(1, _COPIED // data.itemsize)
        for begin in range(0, data.size, step):
            piece = data[begin : begin + step]
            if not is_finite(piece, self.source.dtype):
                raise not_finite(self.source)
            yield piece.nbytes, [(self.source.name, piece)]


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer's weight as codes of `bits` bits, a scale for each `group` columns, `packed` in words or one a byte.

    rows, columns: factors of the weight (n,), (k,) before it is rounded; None: 1. search, importance: as round_rows.
    """

    source: Tensor
    bits: int
    group: int
    packed: bool
    rows: Float64 | None = None
    columns: Float64 | None = None
    search: bool = False
    importance: Float64 | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        (n, k), name, dtype = self.source.shape, self._layer, self.source.dtype
        scale = Entry(f"{name}.weight_scale", dtype, (n, k // self.group))
        if not self.packed:
            return (Entry(f"{name}.weight", "I8", (n, k)), scale)
        words = Entry(f"{name}.weight_packed", "I32", (n, packed_width(k, self.bits)))
        return (words, scale, Entry(f"{name}.weight_shape", "I64", (2,)))

    @property
    def read_bytes(self) -> int:
        return self.source.nbytes

    @property
    def _layer(self) -> str:
        return self.source.name.removesuffix(".weight")

    def pieces(self) -> Iterator[tuple[int, list[Piece]]]:
        n, k = self.source.shape
        stored, step = self.source.array, max(1, _ROUNDED // k)
        shape: list[Piece] = [(f"{self._layer}.weight_shape", np.array([n, k], np.int64))] if self.packed else []
        for begin in range(0, n, step):
            rows = slice(begin, min(begin + step, n))
            found = round_rows(
                self._weights(stored[rows], rows),
                self.bits,
                self.group,
                self.source.dtype,
                search=self.search,
                importance=self.importance,
            )
            words = pack_rows(found.codes, self.bits) if self.packed else found.codes
            suffix = "weight_packed" if self.packed else "weight"
            yield (
                stored[rows].nbytes,
                [
                    (f"{self._layer}.{suffix}", words),
                    (f"{self._layer}.weight_scale", found.scales),
                    *(shape if begin == 0 else ()),
                ],
            )

    def _weights(self, stored: npt.NDArray[Any], rows: slice) -> Float64:
        if not is_finite(stored, self.source.dtype):
            raise not_finite(self.source)
        weights = widen(stored, self.source.dtype)
        if self.rows is not None:
            weights *= self.rows[rows, None]
        if self.columns is not None:
            weights *= self.columns
        return weights


def not_finite(tensor: Tensor) -> CheckpointError:
    """The error for a weight that no code can stand for."""
    return CheckpointError(
        f"{tensor.file}: {show_name(tensor.name)} must hold finite numbers to be quantized; got a NaN or an infinity; "
        "`inferno inspect --deep` shows where"
    )


def scaled(tensor: Tensor, factors: Float64) -> npt.NDArray[Any]:
    """A vector times `factors`, in its stored type."""
    return narrow(widen(tensor.array, tensor.dtype) * factors, tensor.dtype)
