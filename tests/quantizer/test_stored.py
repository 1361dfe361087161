"""Stored numbers widened and narrowed: exact one way, nearest even the other."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.quantizer.stored import narrow, next_above, widen
from safetensors_writer import to_stored
from safetensors_writer import widen as widen_by_hand

DTYPES = ["F32", "F16", "BF16"]


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_all_numbers_survive(dtype):
    stored = np.arange(65536, dtype=np.uint16)
    if dtype == "F16":
        stored = stored.view(np.float16)
    values = widen(stored, dtype)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(values[finite], widen_by_hand(stored[finite], dtype))
    back = narrow(values[finite], dtype)
    np.testing.assert_array_equal(back.view(np.uint16), stored[finite].view(np.uint16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounds_to_nearest_even(dtype):
    values = np.random.default_rng(1).standard_normal(10_000) * np.exp(np.linspace(-8, 8, 10_000))
    np.testing.assert_array_equal(narrow(values, dtype), to_stored(values, dtype))
    steps = {"F32": 24, "F16": 11, "BF16": 8}[dtype]
    ties = np.array([1 + 2.0**-steps, 1 + 3 * 2.0**-steps])
    np.testing.assert_array_equal(widen(narrow(ties, dtype), dtype), [1, 1 + 4 * 2.0**-steps])


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_the_range_is_infinite(dtype):
    found = widen(narrow(np.array([1e39, -1e39]), dtype), dtype)
    np.testing.assert_array_equal(found, [np.inf, -np.inf])


@pytest.mark.parametrize("dtype", DTYPES)
def test_next_above(dtype):
    ones = narrow(np.array([1.0, 0.75, 0.0]), dtype)
    digits = {"F32": 23, "F16": 10, "BF16": 7}[dtype]
    least = {"F32": 2.0**-149, "F16": 2.0**-24, "BF16": 2.0**-133}[dtype]
    np.testing.assert_array_equal(
        widen(next_above(ones), dtype), [1 + 2.0**-digits, 0.75 + 2.0 ** -(digits + 1), least]
    )
