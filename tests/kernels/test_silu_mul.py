"""SiLU(gate) * up against float64."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import SIZES, Fenced, U, activations, bits

# exp to 2 units in the last place (4 U), then 1 + e, the quotient and the product; one more for second order.
RELATIVE = 8 * U
# Where exp(-gate) leaves float32, at 88.37 at the earliest, the kernel may answer 0: 88.73 exp(-88.37) is lost at most.
LOST = 88.73 * np.exp(-88.37)


def reference(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    wide = gate.astype(np.float64)
    with np.errstate(over="ignore"):  # exp(-gate) of a large negative gate: the quotient is 0, as it should be
        return wide / (1 + np.exp(-wide)) * up


def silu_mul(gate: np.ndarray, up: np.ndarray, isa: str) -> np.ndarray:
    out = Fenced(gate.shape)
    _core.silu_mul(out.array, gate, up, isa=isa)
    return out.check()


def assert_close(got: np.ndarray, gate: np.ndarray, up: np.ndarray) -> None:
    # + 2^-149: where up makes the product subnormal, half its last place.
    bound = RELATIVE * np.abs(reference(gate, up)) + LOST * np.abs(up.astype(np.float64)) + 2.0**-149
    assert (np.abs(got.astype(np.float64) - reference(gate, up)) <= bound).all()


@pytest.mark.parametrize("n", SIZES)
def test_matches_reference(isa: str, n: int) -> None:
    rng = np.random.default_rng(n)
    gate, up = activations(rng.standard_normal(n) * 5), activations(rng.standard_normal(n))
    assert_close(silu_mul(gate, up, isa), gate, up)


def test_whole_range(isa: str) -> None:
    gate = activations(np.linspace(-110, 110, 20001))
    assert_close(silu_mul(gate, activations(np.full(20001, 3)), isa), gate, np.full(20001, 3, np.float32))


@pytest.mark.parametrize("gate", [-3e38, -1e30, -1e6, -1000, -100, -89, -88, 0, 88, 89, 100, 1000, 1e30, 3e38])
def test_extremes(isa: str, gate: float) -> None:
    g = activations(np.full(9, gate))
    assert_close(silu_mul(g, activations(np.ones(9)), isa), g, np.ones(9, np.float32))


def test_overflows_only_where_the_true_product_does(isa: str) -> None:
    gate, up = activations([100, 100, 100, -5]), activations([3.4e36, 3.5e36, -3.5e36, 3e38])
    got = silu_mul(gate, up, isa)
    assert np.isfinite(got[[0, 3]]).all()
    np.testing.assert_array_equal(got[[1, 2]], [np.inf, -np.inf])


def test_nan_is_kept(isa: str) -> None:
    n = 11
    for gate, up in [(np.nan, 1), (1, np.nan)]:
        assert np.isnan(silu_mul(activations(np.full(n, gate)), activations(np.full(n, up)), isa)).all()


@pytest.mark.parametrize("n", [1, 9, 100])
def test_in_place_and_anywhere_give_equal_bits(isa: str, n: int) -> None:
    rng = np.random.default_rng(n)
    gate, up = activations(rng.standard_normal(n) * 30), activations(rng.standard_normal(n))
    whole = silu_mul(gate, up, isa)
    alone = [silu_mul(gate[i : i + 1], up[i : i + 1], isa)[0] for i in range(n)]
    np.testing.assert_array_equal(bits(np.array(alone)), bits(whole))
    for target in (0, 1):
        operands = [gate.copy(), up.copy()]
        _core.silu_mul(operands[target], *operands, isa=isa)
        np.testing.assert_array_equal(bits(operands[target]), bits(whole))
