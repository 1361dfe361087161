"""The write into the cache: a placement and a rounding, so every comparison is by bits."""

from __future__ import annotations

import numpy as np
import pytest

import paged_cache
from inferno import _core
from kernel_arrays import STORED, activations, bits

LARGEST = {"f16": 0x7BFF, "bf16": 0x7F7F}
INFINITY = {"f16": 0x7C00, "bf16": 0x7F80}


def write(
    cache: tuple[np.ndarray, np.ndarray], table: list[int], first: int, k: np.ndarray, v: np.ndarray, isa: str
) -> None:
    _core.kv_write(*cache, np.array(table, np.int32), first, k, v, isa=isa)


def value_of(codes: np.ndarray, kind: str) -> np.ndarray:
    """A positive code's value in float64; infinity's is where the next number would lie: rounding goes by that."""
    if kind == "f16":
        exponent, fraction = codes >> 10, codes & 0x3FF
        return np.where(
            exponent == 0, fraction * 2.0**-24, (1024.0 + fraction) * 2.0 ** (np.maximum(exponent, 1) - 25.0)
        )
    exponent, fraction = codes >> 7, codes & 0x7F
    return np.where(exponent == 0, fraction * 2.0**-133, (128.0 + fraction) * 2.0 ** (np.maximum(exponent, 1) - 134.0))


def rounded(values: np.ndarray, kind: str) -> np.ndarray:
    """The code nearest to each float32, an even one on a tie: found by search among all codes, in float64."""
    codes = np.arange(INFINITY[kind] + 1, dtype=np.int64)
    grid = value_of(codes, kind)
    size = np.minimum(np.abs(values.astype(np.float64)), grid[-1])
    high = np.searchsorted(grid, size)
    low = np.maximum(high - 1, 0)
    below, above = size - grid[low], grid[high] - size
    nearest = np.where((above < below) | ((above == below) & (high % 2 == 0)), high, low)
    return (nearest + (np.signbit(values) * 0x8000)).astype(np.uint16)


def interesting(kind: str) -> np.ndarray:
    """Every positive code's value, the midpoint to the next, and the float32 numbers beside both; both signs."""
    grid = value_of(np.arange(INFINITY[kind] + 1, dtype=np.int64), kind)
    points = np.concatenate([grid[:-1], (grid[:-1] + grid[1:]) / 2])
    points = points[points <= np.finfo(np.float32).max].astype(np.float32)
    beside = [np.nextafter(points, np.float32(0)), np.nextafter(points, np.float32(3.4e38))]
    extremes = np.array([65519.996, 65520, 65536, 1e9, 3.4e38, np.inf, 1e-45, 2.0**-25, 2.0**-26], np.float32)
    positive = np.concatenate([points, *beside, extremes])
    return np.concatenate([positive, -positive])


def written(values: np.ndarray, kind: str, isa: str) -> tuple[np.ndarray, np.ndarray]:
    """The codes of `values` after a trip through the keys and through the values."""
    head_dim = 500  # not a multiple of a vector: the tail is rounded too
    tokens = -(-len(values) // head_dim)
    padded = np.zeros(tokens * head_dim, np.float32)
    padded[: len(values)] = values
    k = activations(padded.reshape(tokens, 1, head_dim))
    blocks = -(-tokens // 32)
    cache = paged_cache.empty(blocks, 1, head_dim, kind)
    write(cache, list(range(blocks)), 0, k, k, isa)
    by_position = cache[0].transpose(0, 3, 1, 2), cache[1].transpose(0, 2, 1, 3)
    keys, stored_values = (part.reshape(-1)[: len(values)] for part in by_position)
    return bits(keys), bits(stored_values)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_rounds_to_nearest_even(isa: str, kind: str) -> None:
    values = interesting(kind)
    assert len(values) > 6 * LARGEST[kind]
    expected = rounded(values, kind)
    for codes in written(values, kind, isa):
        np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_nan_stays_nan(isa: str, kind: str) -> None:
    """Also those whose set bits all lie where rounding cuts, and those that rounding up would turn into zero."""
    patterns = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x7F801FFF, 0x7F80FFFF, 0x7FFFF000], np.uint32)
    values = np.concatenate([patterns, patterns | 0x80000000]).view(np.float32)
    for codes in written(values, kind, isa):
        assert ((codes & 0x7FFF) > INFINITY[kind]).all()


def test_f32_keeps_every_bit(isa: str) -> None:
    upper = np.arange(65536, dtype=np.uint32) << 16
    values = np.concatenate([upper, upper | 1, upper | 0xFFFF]).view(np.float32)
    for codes in written(values, "f32", isa):
        np.testing.assert_array_equal(codes, bits(values))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("head_dim", [1, 2, 7, 8, 9, 20, 64, 80, 128, 512])
@pytest.mark.parametrize(("first", "tokens"), [(0, 1), (5, 1), (30, 5), (32, 33), (63, 40)])
def test_places_tokens_and_touches_nothing_else(isa: str, kind: str, head_dim: int, first: int, tokens: int) -> None:
    kv_heads, table = 3, [4, 1, 6, 2]
    rng = np.random.default_rng(head_dim)
    # Whole numbers below 256 are exact in every type.
    k, v = (activations(rng.integers(-255, 256, (tokens, kv_heads, head_dim))) for _ in range(2))
    cache = paged_cache.empty(7, kv_heads, head_dim, kind)
    expected = paged_cache.empty(7, kv_heads, head_dim, kind)
    codes = [(bits(a) >> 16).astype(np.uint16) if kind == "bf16" else a.astype(expected[0].dtype) for a in (k, v)]
    paged_cache.put(expected, table, first, *codes)
    write(cache, table, first, k, v, isa)
    for got, want in zip(cache, expected, strict=True):
        np.testing.assert_array_equal(bits(got), bits(want))


def test_no_tokens_write_nothing(isa: str) -> None:
    cache, untouched = (paged_cache.empty(1, 1, 8, "f16") for _ in range(2))
    none = np.empty((0, 1, 8), np.float32)
    write(cache, [0], 0, none, none, isa)
    np.testing.assert_array_equal(bits(cache[0]), bits(untouched[0]))
