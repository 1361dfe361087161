"""Causal grouped-query attention over a paged cache, against float64.

The cache is filled by NumPy, and every slot that no position uses is a NaN: to read one too many is to fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

import paged_cache
from inferno import _core
from kernel_arrays import STORED, Fenced, U, activations, bits, stored, widened

HEAD_DIMS = [1, 2, 7, 8, 9, 20, 64, 72, 80, 128, 512]
LENGTHS = [1, 2, 7, 8, 9, 31, 32, 33, 65, 130]


@dataclass
class Case:
    """`length` positions in the cache; queries are made for the last ones."""

    keys: np.ndarray
    values: np.ndarray
    table: list[int]
    k: np.ndarray  # (length, kv_heads, head_dim) float64, as stored
    v: np.ndarray
    q: np.ndarray  # (length, heads, head_dim) float32
    scale: float

    def run(self, first: int, tokens: int, isa: str) -> np.ndarray:
        out = Fenced((tokens, *self.q.shape[1:]))
        q = activations(self.q[first : first + tokens])
        table = np.array(self.table, np.int32)
        _core.attention(out.array, q, self.keys, self.values, table, first, self.scale, isa=isa)
        return out.check()


def make(
    k: np.ndarray, v: np.ndarray, q: np.ndarray, kind: str, scale: float | None = None, seed: int | None = 0
) -> Case:
    """Stores k and v in blocks that lie in a random order among unused ones; in order if seed is None."""
    length, kv_heads, head_dim = k.shape
    blocks = -(-length // 32)
    order = np.arange(blocks) if seed is None else np.random.default_rng(seed).permutation(blocks + 2)[:blocks]
    cache = paged_cache.empty(blocks + 2, kv_heads, head_dim, kind)
    codes = stored(k, kind, 0), stored(v, kind, 0)
    paged_cache.put(cache, order.tolist(), 0, *codes)
    scale = head_dim**-0.5 if scale is None else scale
    return Case(*cache, order.tolist(), widened(codes[0]), widened(codes[1]), np.asarray(q, np.float32), scale)


def random_case(length: int, heads: int, kv_heads: int, head_dim: int, kind: str, spread: float = 1.0) -> Case:
    rng = np.random.default_rng(length * head_dim + heads)
    k, v = (rng.standard_normal((length, kv_heads, head_dim)) for _ in range(2))
    return make(k, v, rng.standard_normal((length, heads, head_dim)) * spread, kind)


def reference(case: Case, row: int) -> tuple[np.ndarray, np.ndarray]:
    """(heads, head_dim) of the query at position `row`, and the bound on a kernel's difference from it."""
    heads, head_dim = case.q.shape[1:]
    group = heads // case.k.shape[1]
    k, v = (np.repeat(a[: row + 1], group, axis=1) for a in (case.k, case.v))
    q, scale = case.q[row].astype(np.float64), float(np.float32(case.scale))
    scores = np.einsum("hd,phd->hp", q, k) * scale
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    # A score is a sum of head_dim products, times scale, minus the peak: so far off may an exponent be.
    score_error = (head_dim + 2) * U * (np.einsum("hd,phd->hp", np.abs(q), np.abs(k)) * scale).max(axis=1)
    spread = scores.max(axis=1) - scores.min(axis=1)
    blocks = -(-(row + 1) // 32)
    # A weight: its own score's error and its peak's; the difference to the peak rounded here and in each fade; then,
    # for the weight and for each block's fade, exp to 2 units in the last place (4 U) and a product.
    weight_error = 2 * score_error + (blocks + 1) * (spread + 5) * U
    # The values' sum and the weights' total share the weights' errors; each adds a rounding for each position and block
    # (two where a product is not fused), and the quotient one. 1.01: terms of second order.
    error = 2 * weight_error + (3 * (row + 1) + 2 * blocks + 1) * U
    # Weights below the smallest normal number may be taken as 0.
    bound = 1.01 * error[:, None] * np.einsum("hp,phd->hd", weights, np.abs(v)) + (row + 1) * 2.4e-38 * np.abs(v).max()
    return np.einsum("hp,phd->hd", weights, v), bound


def assert_close(case: Case, first: int, got: np.ndarray) -> None:
    for t, row in enumerate(got):
        expected, bound = reference(case, first + t)
        assert (np.abs(row - expected) <= bound).all(), f"position {first + t}"


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("length", [1, 33, 130])
def test_matches_reference_at_head_dims(isa: str, kind: str, head_dim: int, length: int) -> None:
    case = random_case(length, 6, 2, head_dim, kind)
    assert_close(case, 0, case.run(0, length, isa))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("length", LENGTHS)
def test_matches_reference_at_lengths(isa: str, kind: str, length: int) -> None:
    case = random_case(length, 4, 4, 16, kind)
    assert_close(case, 0, case.run(0, length, isa))


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (9, 3), (7, 1), (5, 5), (40, 1), (71, 1), (16, 2)])
def test_matches_reference_for_groups(isa: str, heads: int, kv_heads: int) -> None:
    case = random_case(50, heads, kv_heads, 24, "f16")
    assert_close(case, 0, case.run(0, 50, isa))


def test_long_context(isa: str) -> None:
    case = random_case(5000, 2, 1, 64, "f16")
    assert_close(case, 4990, case.run(4990, 10, isa))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("length", [*LENGTHS, 1000])
def test_equal_scores_give_the_mean(isa: str, kind: str, length: int) -> None:
    """With one score for all every weight is exp(0) = 1; whole numbers add up exactly: the quotient alone rounds."""
    rng = np.random.default_rng(length)
    v = rng.integers(-100, 101, (length, 2, 24))
    for key, query in [(0.0, 1.0), (4.0, 64.0), (-4.0, 64.0)]:  # scores of 0 and +-6144 after scaling by 1
        case = make(np.full((length, 2, 24), key), v, np.full((length, 4, 24), query), kind, scale=1.0)
        got = case.run(length - 1, 1, isa)[0]
        mean = np.repeat(v.sum(axis=0), 2, axis=0).astype(np.float32) / np.float32(length)
        np.testing.assert_array_equal(got, mean)


@pytest.mark.parametrize("peak", [0, 5, 31, 32, 40, 69])
@pytest.mark.parametrize("size", [1e3, 1e4])
def test_one_large_score_takes_all(isa: str, peak: int, size: float) -> None:
    """A score 1e4 above all others leaves them no weight, wherever in the walk it comes; nothing overflows."""
    rng = np.random.default_rng(peak)
    k, v = np.full((70, 1, 8), -size / 8), rng.standard_normal((70, 1, 8))
    k[peak] = size / 8
    case = make(k, v, np.ones((70, 1, 8)), "f32", scale=1.0)
    np.testing.assert_array_equal(case.run(69, 1, isa)[0, 0], case.v[peak, 0].astype(np.float32))


@pytest.mark.parametrize("ascending", [True, False])
def test_scores_that_rise_or_fall_all_along(isa: str, ascending: bool) -> None:
    """Every block has a new peak, or none after the first; scores reach from -1e4 to 1e4."""
    ramp = np.linspace(-1e4, 1e4, 200) if ascending else np.linspace(1e4, -1e4, 200)
    k = np.repeat(ramp[:, None, None], 4, axis=2) / 4
    case = make(k, np.random.default_rng(0).standard_normal((200, 1, 4)), np.ones((200, 1, 4)), "f32", scale=1.0)
    assert_close(case, 0, case.run(0, 200, isa))


@pytest.mark.parametrize("spread", [1e-6, 10.0, 100.0])
def test_magnitudes_of_queries(isa: str, spread: float) -> None:
    case = random_case(70, 4, 2, 20, "bf16", spread)
    assert_close(case, 0, case.run(0, 70, isa))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(3, 1, 64), (4, 2, 20), (40, 1, 9)])
def test_chunks_tokens_and_blocks_change_no_bit(isa: str, kind: str, heads: int, kv_heads: int, head_dim: int) -> None:
    length = 75
    case = random_case(length, heads, kv_heads, head_dim, kind)
    whole = case.run(0, length, isa)
    for cuts in ([*range(length + 1)], [0, 75], [0, 1, 17, 33, 34, 75], [0, 32, 64, 75], [0, 31, 75]):
        parts = [case.run(a, b - a, isa) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(bits(np.concatenate(parts)), bits(whole))
    for seed in (None, 1, 2):
        codes = np.random.default_rng(length * head_dim + heads)
        k, v = (codes.standard_normal((length, kv_heads, head_dim)) for _ in range(2))
        moved = make(k, v, case.q, kind, seed=seed)
        np.testing.assert_array_equal(bits(moved.run(0, length, isa)), bits(whole))


def test_heads_do_not_meet(isa: str) -> None:
    """A head's bits are those it has alone with its own KV head."""
    case = random_case(40, 6, 3, 16, "f16")
    whole = case.run(0, 40, isa)
    for head in range(3):
        pair = slice(2 * head, 2 * head + 2)
        alone = make(case.k[:, head : head + 1], case.v[:, head : head + 1], case.q[:, pair], "f16")
        np.testing.assert_array_equal(bits(alone.run(0, 40, isa)), bits(whole[:, pair]))


def test_no_tokens_give_no_rows(isa: str) -> None:
    assert random_case(5, 2, 1, 8, "f16").run(5, 0, isa).shape == (0, 2, 8)
