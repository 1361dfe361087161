"""Rounding of activations to float8 e4m3fn: against every code of the type, and bit for bit in every tier."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from coded_weights import E4M3
from inferno import _core
from kernel_arrays import SIZES, Fenced, activations, bits

# What the type holds, ascending: 0 to 448.
HELD = np.sort(E4M3[:0x7F])


def round_e4m3(x: np.ndarray, isa: str, **rule: Any) -> np.ndarray:
    out = Fenced(x.shape)
    _core.round_e4m3(out.array, x, isa=isa, **rule)
    return out.check()


def nearest(v: np.ndarray) -> np.ndarray:
    """The nearest held number, of two the one with the even code; NaN for NaN. v is clamped."""
    size = np.minimum(np.abs(v.astype(np.float64)), 448)
    above = np.minimum(np.searchsorted(HELD, size), len(HELD) - 1)
    below = np.maximum(above - 1, 0)
    to_above, to_below = HELD[above] - size, size - HELD[below]
    up = (to_above < to_below) | ((to_above == to_below) & (above % 2 == 0))
    return np.where(np.isnan(size), np.nan, np.copysign(np.where(up, HELD[above], HELD[below]), v))


def expected(x: np.ndarray, scale: np.ndarray, reciprocal: bool) -> np.ndarray:
    """The rule of the contract, each step rounded to float32; scale: for each element."""
    with np.errstate(all="ignore"):
        v = x * (np.float32(1) / scale) if reciprocal else x / scale
        assert v.dtype == np.float32
        return nearest(v).astype(np.float32) * scale


def absmax_scale(x: np.ndarray, group: int) -> np.ndarray:
    scale = np.empty_like(x)
    for i in range(0, x.shape[1], group):
        part = x[:, i : i + group]
        scale[:, i : i + group] = np.abs(part).max(axis=1, keepdims=True) / np.float32(448)
    return scale


def test_every_held_number_stays(isa: str) -> None:
    x = activations(np.concatenate([HELD, -HELD])[None])
    got = round_e4m3(x, isa, scale=1.0)
    np.testing.assert_array_equal(bits(got), bits(x))


def test_ties_go_to_the_even_code(isa: str) -> None:
    middles = (HELD[1:] + HELD[:-1]) / 2
    up, down = np.nextafter(np.float32(middles), np.float32(999)), np.nextafter(np.float32(middles), np.float32(-999))
    for sign in (1, -1):
        for values in (middles, up, down):
            x = activations(sign * values[None])
            np.testing.assert_array_equal(bits(round_e4m3(x, isa, scale=1.0)), bits(nearest(x).astype(np.float32)))


def test_clamped_outside(isa: str) -> None:
    x = activations(np.array([[449, 464, 480, 1e9, 3e38, np.inf, -449, -1e30, -np.inf]]))
    np.testing.assert_array_equal(round_e4m3(x, isa, scale=1.0), [[448] * 6 + [-448] * 3])


def test_nan_stays_in_its_place(isa: str) -> None:
    x = activations(np.array([[1, np.nan, -3, 0] * 5]))
    np.testing.assert_array_equal(round_e4m3(x, isa, scale=1.0), x)


def test_zeros_keep_their_sign(isa: str) -> None:
    x = activations(np.array([[0.0, -0.0, 1e-30, -1e-30, 448]]))
    np.testing.assert_array_equal(bits(round_e4m3(x, isa)), bits(np.array([[0.0, -0.0, 0.0, -0.0, 448]], np.float32)))


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize("dim", SIZES)
def test_rows(isa: str, dim: int, reciprocal: bool) -> None:
    rng = np.random.default_rng(dim)
    x = activations(rng.standard_normal((5, dim)) * 10.0 ** rng.integers(-6, 6, (5, 1)))
    got = round_e4m3(x, isa, reciprocal=reciprocal)
    np.testing.assert_array_equal(bits(got), bits(expected(x, absmax_scale(x, dim), reciprocal)))


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize(("dim", "group"), [(256, 128), (300, 128), (64, 1), (33, 7), (40, 100)])
def test_groups(isa: str, dim: int, group: int, reciprocal: bool) -> None:
    rng = np.random.default_rng(dim)
    x = activations(rng.standard_normal((3, dim)) * np.exp(rng.standard_normal((3, dim)) * 3))
    got = round_e4m3(x, isa, group=group, reciprocal=reciprocal)
    np.testing.assert_array_equal(bits(got), bits(expected(x, absmax_scale(x, group), reciprocal)))


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.0123, 77.7, 1e-30, 1e30])
def test_fixed_scale(isa: str, scale: float, reciprocal: bool) -> None:
    x = activations(np.random.default_rng(0).standard_normal((3, 77)) * 200 * scale)
    got = round_e4m3(x, isa, scale=scale, reciprocal=reciprocal)
    np.testing.assert_array_equal(bits(got), bits(expected(x, np.full_like(x, scale), reciprocal)))


def test_the_two_rules_differ(isa: str) -> None:
    """At a tie: x / 41 may be one where x * (1 / 41) is not."""
    x = activations(41 * (HELD[1:] + HELD[:-1])[None] / 2)
    assert (round_e4m3(x, isa, scale=41.0, reciprocal=True) != round_e4m3(x, isa, scale=41.0, reciprocal=False)).any()


@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-39])
def test_rows_of_nothing_are_zeros(isa: str, tiny: float) -> None:
    """So small that 448 / absmax is no float32."""
    x = activations(np.array([[tiny, -tiny, 0, tiny] * 5, [448, 1, 2, 3] * 5]))
    for reciprocal in (True, False):
        got = round_e4m3(x, isa, reciprocal=reciprocal)
        assert (got[0] == 0).all()
        np.testing.assert_array_equal(got[1], x[1])


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 8, 12])
def test_a_group_that_is_not_finite_is_nan(isa: str, bad: float, place: int) -> None:
    x = activations(np.ones((3, 26)))
    x[1, place] = bad
    got = round_e4m3(x, isa, group=13)
    assert np.isnan(got[1, :13]).all()
    assert (got[1, 13:] == 1).all()
    assert (got[[0, 2]] == 1).all()


def test_in_place(isa: str) -> None:
    x = activations(np.random.default_rng(0).standard_normal((3, 77)))
    got = round_e4m3(x, isa)
    _core.round_e4m3(x, x, isa=isa)
    np.testing.assert_array_equal(x, got)


def test_in_a_program(isa: str) -> None:
    x = activations(np.random.default_rng(0).standard_normal((6, 77)))
    program = _core.Program(isa)
    program.buffer("x", 77)
    program.buffer("y", 77)
    program.embedding("x", x)
    program.round_e4m3("y", "x", group=32, reciprocal=False)
    tables = np.zeros((1, 1), np.int32)
    ids = [np.array(v, np.int32) for v in (range(6), [6], [0])]
    for threads in (1, 2):
        program.run(*ids, tables, np.zeros(0, np.int32), threads=threads)
        np.testing.assert_array_equal(bits(program.read("y")), bits(round_e4m3(x, isa, group=32, reciprocal=False)))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"scale": 0.0}, "scale must be positive, finite and at least 3e-39; got 0.0"),
    ({"scale": -1.0}, "scale must be positive, finite and at least 3e-39; got -1.0"),
    ({"scale": float("nan")}, "scale must be positive, finite and at least 3e-39; got nan"),
    ({"scale": 1e39}, "scale must be positive, finite and at least 3e-39; got 1e+39"),
    ({"scale": 1e-40}, "scale must be positive, finite and at least 3e-39; got 1e-40"),
    ({"group": -1}, "group must be >= 0; got -1"),
    ({"group": 8, "scale": 1.0}, "group must be 0 under a fixed scale; got 8"),
    ({"x": np.zeros((2, 0), np.float32)}, "x must have at least one column; got (2, 0) float32"),
    ({"x": np.zeros(8, np.float32)}, "x must be a contiguous, aligned 2-d array of float32; got (8,) float32"),
    ({"out": np.zeros((2, 9), np.float32)}, "out must be (2, 8) to match x; got (2, 9) float32"),
]


@pytest.mark.parametrize(("change", "text"), BAD)
def test_refused(change: dict[str, Any], text: str, isa: str) -> None:
    arguments = {name: np.zeros((2, 8), np.float32) for name in ("out", "x")} | change
    with pytest.raises(ValueError, match=re.escape(f"round_e4m3: {text}")):
        _core.round_e4m3(isa=isa, **arguments)
