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


@pytest.mark.parametrize("threads", [1, 3])
def test_multiply_adds_take_time(isa: str, threads: int) -> None:
    """Between a multiply-add in 10 microseconds and 10^14 a second: the rounds were run, not optimised away."""
    assert 1e5 < _core.fma_peak(threads=threads, rounds=200_000, isa=isa) < 1e14
