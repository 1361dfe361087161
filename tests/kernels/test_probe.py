"""The probes of the machine take any array and any number of threads. What they measure is bench/'s business."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import at_offset


@pytest.mark.parametrize("size", [1, 63, 64, 65, 127, 128, 129, 3 * 2**20 + 17])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_reads_any_size(isa: str, size: int, threads: int) -> None:
    speed = _core.read_bandwidth(at_offset(np.ones(size, np.uint8), 3), threads=threads, isa=isa)
    assert 0 < speed < math.inf


def exclusive_or(data: np.ndarray) -> int:
    """Of all 64-bit words, the last one padded by zeros."""
    padded = np.concatenate([data, np.zeros(-data.size % 8, np.uint8)])
    return int(np.bitwise_xor.reduce(padded.view(np.uint64), initial=np.uint64(0)))


@pytest.mark.parametrize("pattern", _core.READ_PATTERNS)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 5000])
def test_reads_every_byte_once(isa: str, pattern: str, size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    for offset in (0, 1, 8):
        moved = at_offset(data, offset)
        assert _core.read_all(moved, pattern=pattern, isa=isa) == exclusive_or(data)


@pytest.mark.parametrize("pattern", _core.READ_PATTERNS)
def test_times_every_pattern(isa: str, pattern: str) -> None:
    speed = _core.read_bandwidth(np.ones(3 * 2**20 + 17, np.uint8), threads=2, pattern=pattern, isa=isa)
    assert 0 < speed < math.inf


def test_patterns_have_names_of_their_own() -> None:
    assert len(set(_core.READ_PATTERNS)) == len(_core.READ_PATTERNS) == 6


@pytest.mark.parametrize("threads", [1, 3])
def test_multiply_adds_take_time(isa: str, threads: int) -> None:
    """Between a multiply-add in 10 microseconds and 10^14 a second: the rounds were run, not optimised away."""
    for peak in (_core.fma_peak, _core.madd_peak):
        assert 1e5 < peak(threads=threads, rounds=200_000, isa=isa) < 1e14
