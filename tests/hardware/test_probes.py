"""The single probes. No speed is asserted: only that bytes and multiply-adds are counted for what they are."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core, hardware


def test_measured_limits_are_plausible(isa):
    data = np.ones(1 << 22, np.uint8)
    assert 1e7 < hardware.read_bandwidth([data, data], 2, isa) < 1e13
    assert 1e7 < hardware.fma_peak(1, isa, rounds=10_000) < 1e12
    assert 1e7 < hardware.madd_peak(1, isa, rounds=10_000) < 1e12
    assert hardware.read_bandwidth([], 1, isa) == 0


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_measuring_refuses_bad_threads(threads):
    with pytest.raises(ValueError, match=r"threads must be in \[1, 1024\]"):
        _core.read_bandwidth(np.ones(8, np.uint8), threads=threads)
