"""RMSNorm against float64."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import SIZES, STORED, Fenced, U, activations, bits, stored, widened

DIMS = [*SIZES, 8192]


def reference(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    wide = x.astype(np.float64)
    return wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + np.float32(eps)) * widened(weight)


def after_sum(sum_error: float) -> float:
    """Relative bound: the sum's error and the roundings of the mean and of + eps, halved by the root; then the root,
    the reciprocal and two products. One more for terms of second order."""
    return ((sum_error + 2) / 2 + 5) * U


def norm(x: np.ndarray, weight: np.ndarray, eps: float, isa: str) -> np.ndarray:
    out = Fenced(x.shape)
    _core.rmsnorm(out.array, x, weight, eps, isa=isa)
    return out.check()


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("dim", DIMS)
def test_matches_reference(isa: str, kind: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    x, weight = activations(rng.standard_normal((3, dim))), stored(rng.standard_normal(dim), kind)
    # A sum of dim squares, added one by one at worst: dim roundings.
    np.testing.assert_allclose(norm(x, weight, 1e-5, isa), reference(x, weight, 1e-5), rtol=after_sum(dim), atol=0)


@pytest.mark.parametrize("dim", DIMS)
def test_misses_no_element(isa: str, dim: int) -> None:
    """Squares of small whole numbers add up without rounding, in any order: the bound does not grow with dim."""
    x = activations(np.random.default_rng(dim).integers(-8, 9, (2, dim)))
    x[:, -1] = 8
    weight = stored(np.full(dim, 1.5), "f32")
    np.testing.assert_allclose(norm(x, weight, 1e-6, isa), reference(x, weight, 1e-6), rtol=after_sum(0), atol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-3, 1e3, 1e12, 1e16])
def test_magnitudes(isa: str, scale: float) -> None:
    """Up to where float32 holds the sum of squares; below, squares vanish beside eps, in float64 too."""
    x = activations(np.random.default_rng(1).standard_normal((1, 576)) * scale)
    weight = stored(np.ones(576), "f32")
    np.testing.assert_allclose(norm(x, weight, 1e-5, isa), reference(x, weight, 1e-5), rtol=after_sum(576), atol=0)


def test_zeros_stay_zero(isa: str) -> None:
    np.testing.assert_array_equal(norm(activations(np.zeros((2, 33))), stored(np.ones(33), "f16"), 1e-5, isa), 0)


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("dim", [1, 9, 33, 576])
def test_in_place_and_row_by_row_give_equal_bits(isa: str, kind: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    x, weight = activations(rng.standard_normal((5, dim))), stored(rng.standard_normal(dim), kind)
    whole = norm(x, weight, 1e-5, isa)
    alone = np.concatenate([norm(activations(row[None]), weight, 1e-5, isa) for row in x])
    np.testing.assert_array_equal(bits(alone), bits(whole))
    _core.rmsnorm(x, x, weight, 1e-5, isa=isa)
    np.testing.assert_array_equal(bits(x), bits(whole))
