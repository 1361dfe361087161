"""Matrix products: exactly where the arithmetic is exact, else against float64; and the epilogue."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import STORED, Fenced, U, activations, stored, widened

MS = [1, 2, 3, 4, 5, 7, 11, 12, 13, 33]  # one; around a tile of rows; around the change from streaming to panels
NS = [1, 2, 3, 7, 8, 9, 23, 24, 25, 49]  # around tiles of columns and the strips that work is cut into
KS = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 511, 512, 513, 1030]  # around vectors and steps along k
# SiLU's own relative error: exp to 2 units in the last place, 1 + e, the quotient, the product.
SILU = 8 * U


def matmul(x: np.ndarray, w: np.ndarray, isa: str, **epilogue: np.ndarray) -> np.ndarray:
    out = Fenced((len(x), len(w)))
    _core.matmul(out.array, x, w, isa=isa, **epilogue)
    return out.check()


def whole_numbers(m: int, n: int, k: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Operands whose products and sums stay below 2^24, so that float32 adds them exactly in any order."""
    rng = np.random.default_rng(m * n * k)
    return activations(rng.integers(-8, 9, (m, k))), stored(rng.integers(-8, 9, (n, k)), kind)


def normal(m: int, n: int, k: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(m + n + k)
    return activations(rng.standard_normal((m, k))), stored(rng.standard_normal((n, k)), kind)


def sum_bound(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Eight partial sums, each of k / 8 products and additions that round once, then three additions to join them; one
    more rounding for each product where it is not fused, and one for terms of second order."""
    return (x.shape[1] / 8 + 6) * U * (np.abs(x.astype(np.float64)) @ np.abs(widened(w)).T)


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("k", KS)
def test_whole_numbers_are_exact(isa: str, kind: str, k: int) -> None:
    for m in MS:
        for n in NS:
            x, w = whole_numbers(m, n, k, kind)
            expected = x.astype(np.float64) @ widened(w).T
            np.testing.assert_array_equal(matmul(x, w, isa), expected, err_msg=f"m={m} n={n}")


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize(("n", "k"), [(13, 14336), (576, 1536), (49, 8192)])
@pytest.mark.parametrize("m", [1, 5, 17])
def test_long_whole_numbers_are_exact(isa: str, kind: str, m: int, n: int, k: int) -> None:
    x, w = whole_numbers(m, n, k, kind)
    np.testing.assert_array_equal(matmul(x, w, isa), x.astype(np.float64) @ widened(w).T)


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (9, 33), (25, 576), (13, 14336)])
@pytest.mark.parametrize("m", [1, 4, 13])
def test_matches_reference(isa: str, kind: str, m: int, n: int, k: int) -> None:
    x, w = normal(m, n, k, kind)
    expected = x.astype(np.float64) @ widened(w).T
    assert (np.abs(matmul(x, w, isa) - expected) <= sum_bound(x, w)).all()


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("m", [1, 3, 13])
@pytest.mark.parametrize("n", [1, 9, 25])
def test_epilogue_without_a_gate_is_exact_for_whole_numbers(isa: str, kind: str, m: int, n: int) -> None:
    x, w = whole_numbers(m, n, 33, kind)
    rng = np.random.default_rng(7)
    residual = activations(rng.integers(-99, 99, (m, n)))
    for bias_kind in STORED:
        bias = stored(rng.integers(-99, 99, n), bias_kind)
        plain = x.astype(np.float64) @ widened(w).T
        np.testing.assert_array_equal(matmul(x, w, isa, bias=bias), plain + widened(bias))
        np.testing.assert_array_equal(matmul(x, w, isa, residual=residual), plain + residual)
        both = matmul(x, w, isa, bias=bias, residual=residual)
        np.testing.assert_array_equal(both, plain + widened(bias) + residual)


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 9, 33), (3, 25, 64), (13, 31, 130), (2, 1, 5)])
def test_gate_after_bias_before_residual(isa: str, kind: str, m: int, n: int, k: int) -> None:
    x, w = normal(m, n, k, kind)
    rng = np.random.default_rng(k)
    bias = stored(rng.standard_normal(n), kind)
    gate, residual = activations(rng.standard_normal((m, n)) * 3), activations(rng.standard_normal((m, n)))
    wide_gate = gate.astype(np.float64)
    up = x.astype(np.float64) @ widened(w).T + widened(bias)
    silu = wide_gate / (1 + np.exp(-wide_gate))
    expected = silu * up + residual
    # The sum's error and one rounding of + bias pass through the gate; SiLU adds its own, + residual one rounding.
    bound = np.abs(silu) * (sum_bound(x, w) + U * np.abs(up)) + SILU * np.abs(silu * up) + U * np.abs(expected)
    got = matmul(x, w, isa, bias=bias, gate=gate, residual=residual)
    # 1.001: the terms of second order.
    assert (np.abs(got - expected) <= 1.001 * bound).all()


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("m", [1, 5, 13])
def test_gate_is_silu_mul_of_the_plain_product(isa: str, kind: str, m: int) -> None:
    """The fused step has the bits of the two operations one after the other."""
    x, w = normal(m, 37, 65, kind)
    gate = activations(np.random.default_rng(m).standard_normal((m, 37)) * 10)
    expected = matmul(x, w, isa)
    _core.silu_mul(expected.reshape(-1), gate.reshape(-1), expected.reshape(-1), isa=isa)
    np.testing.assert_array_equal(matmul(x, w, isa, gate=gate), expected)


def test_overflows_only_where_the_true_sum_does(isa: str) -> None:
    """Every element of a row has one sign here, so a partial sum never exceeds the whole one."""
    k = 33
    w = stored(np.full((9, k), 0.5), "f32")
    fits, overflows = 2e38 / k, 8e38 / k
    got = matmul(activations(np.array([[fits] * k, [overflows] * k, [-overflows] * k])), w, isa)
    np.testing.assert_allclose(got[0], np.float32(fits) * 0.5 * k, rtol=(k / 8 + 6) * U)
    assert (got[1] == np.inf).all()
    assert (got[2] == -np.inf).all()


def test_tiny_values_are_not_flushed(isa: str) -> None:
    """Subnormal weights and sums count: 2^-149 times a whole number is exact in float32."""
    x = activations(np.arange(1, 18)[None])
    w = stored(np.full((9, 17), 2.0**-149), "f32")
    np.testing.assert_array_equal(matmul(x, w, isa), np.full((1, 9), 153 * 2.0**-149))
    halves = stored(np.full((9, 17), 2.0**-24), "f16")  # F16's smallest
    np.testing.assert_array_equal(matmul(x, halves, isa), np.full((1, 9), 153 * 2.0**-24))


def test_nan_and_infinity_stay_in_their_row_and_column(isa: str) -> None:
    for m in (3, 13):
        x, w = normal(m, 27, 41, "f32")
        plain = matmul(x, w, isa)
        x[1, 40], w[26, 3] = np.inf, np.nan
        got = matmul(x, w, isa)
        touched = np.zeros((m, 27), bool)
        touched[1], touched[:, 26] = True, True
        assert not np.isfinite(got[touched]).any()
        np.testing.assert_array_equal(got[~touched], plain[~touched])
