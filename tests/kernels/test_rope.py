"""Rotary position embedding: angles to the last place, rotations against float64."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import Fenced, U, activations, bits

HALVES = [1, 3, 4, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 64, 128]


def angles_of(positions: list[int] | np.ndarray, inv_freq: np.ndarray, factor: float, isa: str) -> np.ndarray:
    out = Fenced((len(positions), 2 * len(inv_freq)))
    _core.rope_angles(out.array, np.asarray(positions, np.int32), inv_freq, factor, isa=isa)
    return out.check()


def rope(x: np.ndarray, angles: np.ndarray, isa: str, interleaved: bool = False) -> np.ndarray:
    out = Fenced(x.shape)
    _core.rope(out.array, x, angles, interleaved=interleaved, isa=isa)
    return out.check()


def case(half: int, tokens: int = 5, heads: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(half)
    turns = rng.uniform(-np.pi, np.pi, (tokens, half))
    x = activations(rng.standard_normal((tokens, heads, 2 * half)))
    return x, activations(np.concatenate([np.cos(turns), np.sin(turns)], axis=1))


def interleaved_from(x: np.ndarray) -> np.ndarray:
    """The same heads in Meta's order: element i of each half side by side."""
    half = x.shape[2] // 2
    return activations(np.stack([x[..., :half], x[..., half:]], axis=-1).reshape(x.shape))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("factor", [1.0, 1.1386])
def test_angles_are_rounded_once(isa: str, half: int, factor: float) -> None:
    positions = [0, 1, 2, 31, 32, 4095, 131071, 2**24 + 1, 2**31 - 1]
    inv_freq = (10000.0 ** -(np.arange(half) / half)).astype(np.float32)
    turns = (np.asarray(positions).astype(np.float32)[:, None] * inv_freq).astype(np.float64)
    true = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    got = angles_of(positions, inv_freq, factor, isa)
    # float64's cosine, rounded once to float32, and the product with the factor rounded once more where it is not 1.
    roundings = 1 if factor == 1 else 2
    np.testing.assert_allclose(got, true * np.float32(factor), rtol=roundings * U * (1 + 1e-6), atol=0)


def test_angles_are_the_nearest_float32(isa: str) -> None:
    """Half a unit in the last place, which no float32 cosine keeps everywhere; 1e-6 for float64's own error."""
    positions, inv_freq = np.arange(3000), np.array([1, 0.3, 0.0123], np.float32)
    turns = (positions.astype(np.float32)[:, None] * inv_freq).astype(np.float64)
    true = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    half_unit = np.spacing(np.abs(true.astype(np.float32))).astype(np.float64) / 2
    assert (np.abs(angles_of(positions, inv_freq, 1.0, isa) - true) <= half_unit * (1 + 1e-6)).all()


@pytest.mark.parametrize("half", HALVES)
def test_matches_reference(isa: str, half: int) -> None:
    x, angles = case(half)
    a, b = (part.astype(np.float64) for part in (x[..., :half], x[..., half:]))
    cos, sin = (part.astype(np.float64)[:, None] for part in (angles[:, :half], angles[:, half:]))
    expected = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    size = np.concatenate([np.abs(a * cos) + np.abs(b * sin), np.abs(b * cos) + np.abs(a * sin)], axis=-1)
    # Each product is rounded once and their sum once: two roundings of what was added. One per cent for second order.
    assert (np.abs(rope(x, angles, isa) - expected) <= 2.02 * U * size).all()


def test_quarter_turns_are_exact(isa: str) -> None:
    """A cosine of 0 and a sine of 1 swap the halves, with one sign."""
    half = 21
    x, _ = case(half)
    angles = activations(np.concatenate([np.zeros((5, half)), np.ones((5, half))], axis=1))
    expected = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    np.testing.assert_array_equal(rope(x, angles, isa), expected)


@pytest.mark.parametrize("half", HALVES)
def test_interleaved_order_gives_half_split_bits(isa: str, half: int) -> None:
    x, angles = case(half)
    meta = interleaved_from(x)
    np.testing.assert_array_equal(bits(rope(meta, angles, isa, interleaved=True)), bits(rope(x, angles, isa)))


@pytest.mark.parametrize("half", HALVES)
def test_in_place_and_token_by_token_give_equal_bits(isa: str, half: int) -> None:
    x, angles = case(half)
    whole = rope(x, angles, isa)
    alone = [rope(activations(x[t : t + 1]), activations(angles[t : t + 1]), isa) for t in range(len(x))]
    np.testing.assert_array_equal(bits(np.concatenate(alone)), bits(whole))
    _core.rope(x, x, angles, isa=isa)
    np.testing.assert_array_equal(bits(x), bits(whole))
