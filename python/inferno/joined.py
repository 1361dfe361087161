"""A matrix that lies in several pieces, as Meta's shards have it: never put together in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Joined:
    """Pieces of one matrix, in order: blocks of rows (axis 0) or of columns (axis 1), all of one dtype."""

    parts: tuple[Array, ...]
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole matrix."""
        shape = list(self.parts[0].shape)
        shape[self.axis] = sum(part.shape[self.axis] for part in self.parts)
        return tuple(shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of each piece."""
        return self.parts[0].dtype


Matrix = Array | Joined


def pieces(matrix: Matrix) -> tuple[list[Array], int]:
    """The pieces and their axis; a plain array is its only piece."""
    return (list(matrix.parts), matrix.axis) if isinstance(matrix, Joined) else ([matrix], 0)
