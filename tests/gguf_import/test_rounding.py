"""Rounding to the stored dtypes: nearest, ties to even, and nothing that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.errors import CheckpointError, UsageError
from inferno.gguf_import.rounding import check_dtype, round_to


def nearest_bfloat16(values: np.ndarray) -> np.ndarray:
    """By search instead of bit arithmetic: the nearer of the two neighbours, the even one in a tie. In float64."""
    below = values.view(np.uint32) & np.uint32(0xFFFF0000)
    above = below + np.uint32(0x10000)
    low, high = below.view(np.float32).astype(np.float64), above.view(np.float32).astype(np.float64)
    exact = values.astype(np.float64)
    to_low, to_high = np.abs(exact - low), np.abs(high - exact)
    even_low = (below >> np.uint32(16)) % 2 == 0
    take_low = (to_low < to_high) | ((to_low == to_high) & even_low)
    return (np.where(take_low, below, above) >> np.uint32(16)).astype(np.uint16)


def test_bfloat16_is_nearest_even() -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 0x7F000000, 200_000, dtype=np.uint32) | (rng.integers(0, 2, 200_000, dtype=np.uint32) << 31)
    bits[:50_000] = (bits[:50_000] & np.uint32(0xFFFF0000)) | np.uint32(0x8000)  # ties
    values = bits.view(np.float32)
    np.testing.assert_array_equal(round_to(values, "BF16", "x"), nearest_bfloat16(values))


def test_float16_is_nearest_even() -> None:
    ties = np.array([2049.0, 2051.0, 65504.0, 1 + 2**-11, 1 + 3 * 2**-11, 2**-25], np.float32)
    expected = np.array([2048.0, 2052.0, 65504.0, 1.0, 1 + 2**-9, 0.0], np.float16)
    np.testing.assert_array_equal(round_to(ties, "F16", "x"), expected)


def test_float32_is_kept() -> None:
    values = np.array([1e-45, -0.0, 3.4e38], np.float32)
    assert round_to(values, "F32", "x").tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("F16", 65520.0, "t: holds 65520, which does not fit F16; import it as BF16 or F32"),
        ("F16", -1e6, "t: holds -1e\\+06, which does not fit F16; import it as BF16 or F32"),
        ("BF16", 3.4e38, "t: holds 3.4e\\+38, which does not fit BF16; import it as F32"),
        ("F32", np.inf, "t: weights must be finite; got NaN or infinity"),
        ("BF16", np.nan, "t: weights must be finite; got NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_an_error(dtype: str, value: float, message: str) -> None:
    values = np.array([[1.0, value], [2.0, 3.0]], np.float32)
    with pytest.raises(CheckpointError, match=message):
        round_to(values, check_dtype(dtype), "t")


def test_unknown_dtype() -> None:
    with pytest.raises(UsageError, match="dtype must be one of BF16, F16, F32; got 'Q8_0'"):
        check_dtype("Q8_0")
