"""Weights rounded to codes: each to the nearest that its scale offers, and scales that use the range."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.quantizer.codes import round_rows
from inferno.quantizer.stored import widen

DTYPES = ["F32", "F16", "BF16"]


def weights(rows: int, k: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((rows, k)) * np.exp(generator.uniform(-6, 2, (rows, 1)))


def restored(found, dtype: str, group: int) -> np.ndarray:
    return found.codes * np.repeat(widen(found.scales, dtype), group, axis=1)


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize(("bits", "group"), [(8, 96), (4, 32), (4, 96)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_are_the_nearest_that_the_scale_offers(dtype, bits, group, search):
    given = weights(13, 96)
    found = round_rows(given, bits, group, dtype, search=search)
    half = 1 << (bits - 1)
    assert found.codes.dtype == np.int8
    assert found.codes.shape == (13, 96)
    assert found.scales.shape == (13, 96 // group)
    assert -half <= found.codes.min() < 0 < found.codes.max() < half
    scales = np.repeat(widen(found.scales, dtype), group, axis=1)
    every = np.arange(-half, half) * scales[..., None]
    nearest = np.abs(every - given[..., None]).min(axis=-1)
    np.testing.assert_allclose(np.abs(restored(found, dtype, group) - given), nearest, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("bits", "group"), [(8, 96), (4, 32)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_range_is_used_and_the_largest_weight_is_not_cut(dtype, bits, group):
    given = weights(200, 96)
    found = round_rows(given, bits, group, dtype)
    largest = np.abs(given).reshape(200, -1, group).max(axis=-1)
    steps = largest / widen(found.scales, dtype)
    half = 2.0 ** (bits - 1)
    rounding = {"F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7}[dtype]  # two halves of a step of the stored scale
    assert np.all(steps <= half - 0.25)
    assert np.all(steps >= (half - 0.5) * (1 - rounding))


def test_a_scale_among_subnormal_numbers_is_rounded_up():
    """1.1e-5 / 127.5 lies between 2^-24 and 2^-23, nearer to the lower one, which would cut the weight by a third."""
    given = np.array([[1.1e-5, -2e-6], [1e-9, 0.0]])
    found = round_rows(given, 8, 2, "F16")
    np.testing.assert_array_equal(widen(found.scales, "F16"), [[2.0**-23], [2.0**-24]])
    assert np.abs(restored(found, "F16", 2) - given).max() <= 2.0**-24


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("search", [False, True])
def test_zeros(dtype, search):
    given = np.zeros((3, 8))
    given[1, 4:] = 2.0
    found = round_rows(given, 4, 4, dtype, search=search)
    np.testing.assert_array_equal(widen(found.scales, dtype)[[0, 2]], 1)
    assert not found.codes[[0, 2]].any()
    assert widen(found.scales, dtype)[1, 0] == 1


def test_a_search_errs_less():
    """By a tenth, for four bits and bell-shaped weights, and never more in any group."""
    given = weights(64, 128)
    plain, searched = (
        ((restored(round_rows(given, 4, 64, "F32", search=search), "F32", 64) - given) ** 2).reshape(64, 2, 64).sum(-1)
        for search in (False, True)
    )
    assert np.all(searched <= plain)
    assert np.mean(searched / plain) < 0.92


def test_importance_draws_error_away():
    given = weights(64, 64)
    importance = np.where(np.arange(64) < 4, 1000.0, 1.0)
    plain = round_rows(given, 4, 64, "F32", search=True)
    drawn = round_rows(given, 4, 64, "F32", search=True, importance=importance)

    def error(found) -> float:
        return float(((restored(found, "F32", 64) - given)[:, :4] ** 2 / given.std(axis=1, keepdims=True) ** 2).sum())

    assert error(drawn) < 0.8 * error(plain)
