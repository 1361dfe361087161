"""What the host program has set for its own floating point changes no bit."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np
import pytest

from inferno.models import load_model
from tiny import write_tiny

_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # FE_UPWARD of the C library


@pytest.mark.parametrize("threads", [1, 2])
def test_rounding_mode_of_the_caller_does_not_matter(tmp_path, isa, threads):
    import platform

    name = ctypes.util.find_library("m")
    if name is None or platform.machine() not in _UPWARD:
        pytest.skip("no C library here whose rounding mode this test knows to set")
    libm = ctypes.CDLL(name)
    folder = write_tiny(tmp_path / "tiny")
    model = load_model(folder, ctx_size=64, threads=threads, isa=isa)
    sequence = model.new_sequence()
    expected = model.forward(sequence, list(range(1, 41)), "all")
    sequence.release()
    nearest = libm.fegetround()
    assert libm.fesetround(_UPWARD[platform.machine()]) == 0
    try:
        found = model.forward(sequence, list(range(1, 41)), "all")
        assert libm.fegetround() == _UPWARD[platform.machine()]  # and it stays the caller's
    finally:
        libm.fesetround(nearest)
    np.testing.assert_array_equal(found, expected)
