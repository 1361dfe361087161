"""The probes for speed, single: what a caller measures itself, on its own arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from inferno import _core


def read_bandwidth(arrays: Iterable[npt.NDArray[Any]], threads: int, isa: str) -> float:
    """Bytes per second at which `threads` threads stream these arrays, once each, from where they lie."""
    total = seconds = 0.0
    for array in arrays:
        if array.nbytes:
            total += array.nbytes
            seconds += array.nbytes / _core.read_bandwidth(array, threads=threads, isa=isa)
    return total / seconds if seconds else 0.0


def fma_peak(threads: int, isa: str, rounds: int = 2_000_000) -> float:
    """Float32 multiply-adds per second of `threads` threads on registers, with the tier's own instructions."""
    return _core.fma_peak(threads=threads, rounds=rounds, isa=isa)
