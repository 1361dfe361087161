"""The kernels behind a token's choice, argmax and the generator, each tier against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numpy_sampler as reference
from inferno import _core

GROUP = _core.LOGIT_GROUP
# One; around a vector; around a group; the demo model's and Llama 3's vocabularies.
SIZES = [1, 7, 8, 9, 63, 64, 65, 131, 49152, 128256]


def logits(n: int, seed: int = 0, spread: float = 4.0) -> np.ndarray:
    """Random float32 logits that begin 4 bytes past a vector's alignment."""
    room = np.empty(n + 17, np.float32)
    start = (-room.ctypes.data // 4) % 16 + 1
    x = room[start : start + n]
    assert x.ctypes.data % 64 == 4
    x[:] = np.random.default_rng(seed).standard_normal(n) * spread
    return x


def groups(x: np.ndarray) -> list[np.ndarray]:
    return [x[begin : begin + GROUP] for begin in range(0, len(x), GROUP)]


def group_max(x: np.ndarray, isa: str) -> tuple[np.ndarray, float, bool]:
    maxima = np.full(len(groups(x)), np.nan, np.float32)
    peak, nan = _core.group_max(maxima, x, isa=isa)
    return maxima, peak, nan


@pytest.mark.parametrize("n", SIZES)
def test_group_max_is_each_groups_maximum(isa: str, n: int) -> None:
    x = logits(n)
    maxima, peak, nan = group_max(x, isa)
    np.testing.assert_array_equal(maxima, [g.max() for g in groups(x)])
    assert peak == x.max()
    assert not nan


@pytest.mark.parametrize("n", [9, 64, 131])
def test_group_max_finds_a_nan_anywhere_and_passes_it_over(isa: str, n: int) -> None:
    """Whatever lies between them: a NaN must not take the maximum with it."""
    for top in range(n):
        for at in set(range(n)) - {top}:
            x = np.zeros(n, np.float32)
            x[top], x[at] = 1, np.nan
            maxima, peak, nan = group_max(x, isa)
            assert (peak, nan) == (1, True)
            np.testing.assert_array_equal(np.flatnonzero(maxima == 1), [top // GROUP])


def test_group_max_of_nan_alone(isa: str) -> None:
    maxima, peak, nan = group_max(np.full(65, np.nan, np.float32), isa)
    assert (peak, nan) == (-math.inf, True)
    np.testing.assert_array_equal(maxima, [-math.inf] * 2)


@pytest.mark.parametrize("value", [-math.inf, math.inf, -3.0e38])
@pytest.mark.parametrize("n", [1, 7, 131])
def test_group_max_of_extremes(isa: str, n: int, value: float) -> None:
    maxima, peak, nan = group_max(np.full(n, value, np.float32), isa)
    assert (peak, nan) == (np.float32(value), False)
    np.testing.assert_array_equal(maxima, np.float32(value))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.999, 1.0])
def test_collect_lists_all_that_reach_the_threshold(isa: str, n: int, quantile: float) -> None:
    x = logits(n)
    maxima, _, _ = group_max(x, isa)
    # An element itself, so that >= and > differ.
    threshold = float(np.sort(x)[int(quantile * (n - 1))])
    ids = np.full(n, -1, np.int32)
    count = _core.collect(ids, x, maxima, threshold, isa=isa)
    np.testing.assert_array_equal(ids[:count], np.flatnonzero(x >= threshold))
    assert (ids[count:] == -1).all()


def test_collect_takes_minus_infinity_and_never_nan(isa: str) -> None:
    x = np.array([np.nan, -np.inf, 3.0, np.nan] * 33, np.float32)
    maxima, _, _ = group_max(x, isa)
    ids = np.empty(len(x), np.int32)
    count = _core.collect(ids, x, maxima, -math.inf, isa=isa)
    np.testing.assert_array_equal(ids[:count], np.flatnonzero(~np.isnan(x)))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 0.01, 3.0])
def test_exp_weights_match_numpy_and_sums_are_exact(isa: str, n: int, scale: float) -> None:
    x = logits(n)
    peak = x.max()
    weights, sums = np.empty(n, np.float32), np.empty(len(groups(x)), np.uint64)
    _core.exp_weights(weights, sums, x, peak, scale, isa=isa)
    # The exponent is float32 by contract: the difference, then the product.
    exponent = (x - peak) * np.float32(scale)
    expected = np.where(exponent < np.float32(-87.33654), 0, np.exp(exponent.astype(np.float64)))
    np.testing.assert_allclose(weights, expected, rtol=4 * 2.0**-23, atol=0)
    masses = np.rint(weights.astype(np.float64) * 2.0**40).astype(np.uint64)
    np.testing.assert_array_equal(sums, [g.sum() for g in groups(masses)])


def test_exp_weights_at_the_ends(isa: str) -> None:
    x = np.array([0.0, -np.inf, -3.4e38, -28.42, -87.3, -87.4, -0.0, -1e-30, -1000.0], np.float32)
    weights, sums = np.empty(9, np.float32), np.empty(1, np.uint64)
    _core.exp_weights(weights, sums, x, 0.0, 1.0, isa=isa)
    np.testing.assert_array_equal(weights[[0, 1, 2, 5, 6, 7, 8]], [1, 0, 0, 0, 1, 1, 0])
    assert weights[4] > 0
    # e^-28.42 is 0.4995 units of 2^-40: no mass.
    assert sums[0] == 3 * 2**40


def test_exp_weights_may_overwrite_their_logits(isa: str) -> None:
    x = logits(131)
    weights, sums = np.empty(131, np.float32), np.empty(3, np.uint64)
    _core.exp_weights(weights, sums, x, x.max(), 1.0, isa=isa)
    _core.exp_weights(x, sums, x, x.max(), 1.0, isa=isa)
    np.testing.assert_array_equal(x, weights)


@pytest.mark.parametrize("n", SIZES)
def test_argmax_matches_numpy(isa: str, n: int) -> None:
    for seed in range(5):
        x = logits(n, seed)
        assert _core.argmax(x, isa=isa) == x.argmax()


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 65, 131])
def test_argmax_finds_every_place_and_ties_go_to_the_lower_id(isa: str, n: int) -> None:
    for at in range(n):
        x = np.zeros(n, np.float32)
        x[at] = 1
        assert _core.argmax(x, isa=isa) == at
        x[at:] = 1
        assert _core.argmax(x, isa=isa) == at


def test_argmax_holds_both_zeros_equal(isa: str) -> None:
    assert _core.argmax(np.array([-1, -0.0, 0.0], np.float32), isa=isa) == 1


@pytest.mark.parametrize("n", [1, 9, 64, 200])
def test_argmax_is_defined_without_finite_logits(isa: str, n: int) -> None:
    x = np.full(n, np.nan, np.float32)
    assert _core.argmax(x, isa=isa) == 0
    x[n - 1] = -np.inf
    assert _core.argmax(x, isa=isa) == n - 1
    x[n // 2] = np.inf
    assert _core.argmax(x, isa=isa) == n // 2


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # The known answers that Random123, the authors' library, publishes for philox4x32-10.
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert tuple(_core.philox(counter, key)) == expected
    assert reference.philox(counter, key) == expected


def test_errors_of_the_plain_functions() -> None:
    x, one = np.zeros(4, np.float32), np.zeros(1, np.float32)
    cases = [
        (lambda: _core.argmax(x[:0]), r"argmax: logits must hold 1 to 8388608 logits; got \(0,\) float32"),
        (
            lambda: _core.argmax(x.astype(np.float64)),
            r"argmax: logits must be a contiguous, aligned 1-d array of float32; got \(4,\) float64",
        ),
        (lambda: _core.group_max(x, x), r"group_max: maxima must be \(1,\) to match the groups of x; got \(4,\)"),
        (
            lambda: _core.collect(np.zeros(3, np.int32), x, one, 0.0),
            r"collect: ids must be \(4,\) to match x; got \(3,\) int32",
        ),
        (
            lambda: _core.collect(np.zeros(4, np.int64), x, one, 0.0),
            r"collect: ids must be a contiguous, aligned 1-d array of int32; got \(4,\) int64",
        ),
        (
            lambda: _core.collect(np.zeros(4, np.int32), x, one, math.nan),
            "collect: threshold must be a number; got nan",
        ),
        (
            lambda: _core.exp_weights(x, np.zeros(1, np.int64), x, 0.0, 1.0),
            r"exp_weights: sums must be a contiguous, aligned 1-d array of uint64; got \(1,\) int64",
        ),
        (
            lambda: _core.exp_weights(x, np.zeros(1, np.uint64), x, math.inf, 1.0),
            "exp_weights: peak must be finite; got inf",
        ),
        (
            lambda: _core.exp_weights(x, np.zeros(1, np.uint64), x, 0.0, 0.0),
            "exp_weights: scale must be positive and normal; got 0.0",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
