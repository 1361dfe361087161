"""The probes for speed, single: what a caller measures itself, on its own arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno import _core

# More than caches hold, and little enough that every pattern may read it.
_SAMPLE_BYTES = 512 << 20


def read_bandwidth(arrays: Iterable[npt.NDArray[Any]], threads: int, isa: str) -> float:
    """Bytes per second at which `threads` threads stream these arrays from where they lie, in the best pattern.

    Each pattern reads the first half gigabyte of them. 0 if they are empty.
    """
    sample = list(_first(arrays, _SAMPLE_BYTES))
    total = sum(part.nbytes for part in sample)

    def speed(pattern: str) -> float:
        read = (part.nbytes / _core.read_bandwidth(part, threads=threads, pattern=pattern, isa=isa) for part in sample)
        return total / sum(read)

    return max(map(speed, _core.READ_PATTERNS)) if total else 0.0


def _first(arrays: Iterable[npt.NDArray[Any]], nbytes: int) -> Iterator[npt.NDArray[Any]]:
    """The arrays as bytes, none of them empty, up to `nbytes` in all."""
    for array in arrays:
        part = array.reshape(-1).view(np.uint8)[:nbytes]
        if part.size:
            yield part
            nbytes -= part.size


def fma_peak(threads: int, isa: str, rounds: int = 2_000_000) -> float:
    """Float32 multiply-adds per second of `threads` threads on registers, with the tier's own instructions."""
    return _core.fma_peak(threads=threads, rounds=rounds, isa=isa)


def madd_peak(threads: int, isa: str, rounds: int = 2_000_000) -> float:
    """The same of multiply-adds of 16-bit integers into 32 bits, which products of int8 codes are made of."""
    return _core.madd_peak(threads=threads, rounds=rounds, isa=isa)
