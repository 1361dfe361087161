"""What the self-test tries: every operation with every stored type, the truth from NumPy in float64, and a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from inferno import _core
from inferno._core import KV_BLOCK, LOGIT_GROUP
from inferno.selftest_case import NO_TYPE, Array, Case, Float32, Float64, U, nans, single, stored, widened
from inferno.selftest_coded import coded_cases
from inferno.selftest_int8 import int8_cases

_SEED = 20260101
# Cases of other files.
_MORE: tuple[Callable[[np.random.Generator], Iterator[Case]], ...] = (coded_cases, int8_cases)


def cases() -> Iterator[Case]:
    """Every operation with every stored type."""
    rng = np.random.default_rng(_SEED)
    for weight_type in ("F32", "F16", "BF16"):
        yield _embedding(rng, weight_type)
        yield _rmsnorm(rng, weight_type)
        yield from _matmul(rng, weight_type)
        yield _kv_write(rng, weight_type)
        yield _attention(rng, weight_type)
    yield _rope_angles()
    yield _rope(rng, interleaved=False)
    yield _rope(rng, interleaved=True)
    yield _silu_mul(rng)
    yield from _sampling(rng)
    for more in _MORE:
        yield from more(rng)


def _embedding(rng: np.random.Generator, weight_type: str) -> Case:
    table = stored(rng.standard_normal((11, 67)), weight_type)
    ids = np.array([10, 0, 3, 3, 7], np.int32)

    def run(tier: str) -> Array:
        out = nans(len(ids), 67)
        _core.embedding(out, ids, table, isa=tier)
        return out

    return Case("embedding", weight_type, run, widened(table)[ids])


def _rmsnorm(rng: np.random.Generator, weight_type: str) -> Case:
    dim = 577
    x, weight = single(rng.standard_normal((3, dim))), stored(rng.standard_normal(dim), weight_type)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + np.float32(1e-5)) * widened(weight)

    def run(tier: str) -> Array:
        out = nans(*x.shape)
        _core.rmsnorm(out, x, weight, 1e-5, isa=tier)
        return out

    # A sum of dim squares, the mean and + eps, halved by the root; the root, the reciprocal, two products; one spare.
    return Case("rmsnorm", weight_type, run, expected, ((dim + 2) / 2 + 5) * U * np.abs(expected))


def _matmul(rng: np.random.Generator, weight_type: str) -> Iterator[Case]:
    """Whole numbers, whose sums are exact in any order, with bias and residual; then random ones with the gate."""
    for m, n, k in ((1, 49, 577), (5, 25, 130), (17, 31, 515)):
        x, w = single(rng.integers(-8, 9, (m, k))), stored(rng.integers(-8, 9, (n, k)), weight_type)
        bias, residual = stored(rng.integers(-99, 99, n), weight_type), single(rng.integers(-99, 99, (m, n)))
        expected = x.astype(np.float64) @ widened(w).T + widened(bias) + residual
        yield Case("matmul", weight_type, _matmul_run(x, w, bias=bias, residual=residual), expected)

        x, w = single(rng.standard_normal((m, k))), stored(rng.standard_normal((n, k)), weight_type)
        gate = single(rng.standard_normal((m, n)) * 3)
        silu = gate.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64)))
        expected = silu * (x.astype(np.float64) @ widened(w).T)
        # Eight partial sums of k / 8 products, three additions to join them, a product's own rounding; then SiLU's.
        size = (k / 8 + 6) * np.abs(silu) * (np.abs(x.astype(np.float64)) @ np.abs(widened(w)).T) + 8 * np.abs(expected)
        yield Case("matmul", weight_type, _matmul_run(x, w, gate=gate), expected, 1.001 * U * size)


def _matmul_run(x: Float32, w: Array, **epilogue: Any) -> Callable[[str], Array]:
    def run(tier: str) -> Array:
        out = nans(len(x), len(w))
        _core.matmul(out, x, w, isa=tier, **epilogue)
        return out

    return run


def _kv_write(rng: np.random.Generator, cache_type: str) -> Case:
    """Writing rounds to the cache's type, to nearest with ties to even; what is not written stays."""
    kv_heads, head_dim, tokens, first = 3, 20, 40, 27
    k, v = (single(rng.standard_normal((tokens, kv_heads, head_dim))) for _ in range(2))
    keys, values = _cache(cache_type, 4, kv_heads, head_dim)
    table = np.array([2, 0, 3], np.int32)
    expected_keys, expected_values = keys.copy(), values.copy()
    for t in range(tokens):
        block, slot = table[(first + t) // KV_BLOCK], (first + t) % KV_BLOCK
        expected_keys[block, :, :, slot] = stored(k[t], cache_type)
        expected_values[block, :, slot] = stored(v[t], cache_type)

    def run(tier: str) -> Array:
        written = keys.copy(), values.copy()
        _core.kv_write(*written, table, first, k, v, isa=tier)
        return np.concatenate([widened(part).ravel() for part in written])

    expected = np.concatenate([widened(part).ravel() for part in (expected_keys, expected_values)])
    return Case("kv_write", cache_type, run, expected)


def _attention(rng: np.random.Generator, cache_type: str) -> Case:
    length, heads, kv_heads, head_dim, first = 70, 6, 2, 24, 33
    keys, values = _cache(cache_type, 3, kv_heads, head_dim)
    table = np.array([2, 0, 1], np.int32)
    k, v = (stored(rng.standard_normal((length, kv_heads, head_dim)), cache_type) for _ in range(2))
    for t in range(length):
        keys[table[t // KV_BLOCK], :, :, t % KV_BLOCK] = k[t]
        values[table[t // KV_BLOCK], :, t % KV_BLOCK] = v[t]
    q = single(rng.standard_normal((length - first, heads, head_dim)))
    scale = head_dim**-0.5

    def run(tier: str) -> Array:
        out = nans(*q.shape)
        _core.attention(out, q, keys, values, table, first, scale, isa=tier)
        return out

    rows = [_attended(q[t], widened(k)[: first + t + 1], widened(v)[: first + t + 1], scale) for t in range(len(q))]
    return Case("attention", cache_type, run, np.array([row for row, _ in rows]), np.array([off for _, off in rows]))


def _attended(q: Float32, k: Float64, v: Float64, scale: float) -> tuple[Float64, Float64]:
    """Attention of one token, (heads, head_dim), and what float32 may be off by."""
    heads, head_dim = q.shape
    positions = len(k)
    k, v = (np.repeat(part, heads // part.shape[1], axis=1) for part in (k, v))
    scores = np.einsum("hd,phd->hp", q.astype(np.float64), k) * float(np.float32(scale))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    blocks = -(-positions // KV_BLOCK)
    score_error = (head_dim + 2) * U * (np.einsum("hd,phd->hp", np.abs(q), np.abs(k)) * scale).max(axis=1)
    # Two scores; their difference, rounded here and in each block's fade; exp to 4 U and a product, each time.
    weight_error = 2 * score_error + (blocks + 1) * (np.ptp(scores, axis=1) + 5) * U
    # The values' sum and the weights' total share these; each adds a rounding or two for a position and a block.
    error = 1.01 * (2 * weight_error + (3 * positions + 2 * blocks + 1) * U)
    return np.einsum("hp,phd->hd", weights, v), error[:, None] * np.einsum("hp,phd->hd", weights, np.abs(v))


def _rope_angles() -> Case:
    positions = np.array([0, 1, 31, 4095, 131071], np.int32)
    inv_freq = (10000.0 ** -(np.arange(12) / 12)).astype(np.float32)
    turns = (positions.astype(np.float32)[:, None] * inv_freq).astype(np.float64)
    expected = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)

    def run(tier: str) -> Array:
        out = nans(len(positions), 24)
        _core.rope_angles(out, positions, inv_freq, 1.0, isa=tier)
        return out

    # Rounded once.
    return Case("rope_angles", NO_TYPE, run, expected, 1.001 * U * np.abs(expected))


def _rope(rng: np.random.Generator, interleaved: bool) -> Case:
    half, tokens, heads = 21, 5, 3
    x, turns = single(rng.standard_normal((tokens, heads, 2 * half))), rng.uniform(-np.pi, np.pi, (tokens, half))
    angles = single(np.concatenate([np.cos(turns), np.sin(turns)], axis=1))
    wide = x.astype(np.float64)
    a, b = (wide[..., 0::2], wide[..., 1::2]) if interleaved else (wide[..., :half], wide[..., half:])
    cos, sin = (part.astype(np.float64)[:, None] for part in (angles[:, :half], angles[:, half:]))
    expected = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    size = np.concatenate([np.abs(a * cos) + np.abs(b * sin), np.abs(b * cos) + np.abs(a * sin)], axis=-1)

    def run(tier: str) -> Array:
        out = nans(*x.shape)
        _core.rope(out, x, angles, interleaved=interleaved, isa=tier)
        return out

    # A product and a sum, each rounded once.
    return Case("rope_interleaved" if interleaved else "rope_half_split", NO_TYPE, run, expected, 2.02 * U * size)


def _silu_mul(rng: np.random.Generator) -> Case:
    gate, up = single(rng.standard_normal(577) * 5), single(rng.standard_normal(577))
    wide = gate.astype(np.float64)
    expected = wide / (1 + np.exp(-wide)) * up

    def run(tier: str) -> Array:
        out = nans(577)
        _core.silu_mul(out, gate, up, isa=tier)
        return out

    # exp to 2 units in the last place (4 U), 1 + e, the quotient, the product; one for second order.
    return Case("silu_mul", NO_TYPE, run, expected, 8 * U * np.abs(expected))


def _sampling(rng: np.random.Generator) -> Iterator[Case]:
    """The passes over the vocabulary, which compare and so are exact, but for exp; then whole choices."""
    logits = single(rng.standard_normal(1003) * 4)
    groups = -(-logits.size // LOGIT_GROUP)
    expected_maxima = np.array([logits[g * LOGIT_GROUP : (g + 1) * LOGIT_GROUP].max() for g in range(groups)])
    peak, scale, threshold = float(logits.max()), 1 / 0.7, 3.0

    def group_max(tier: str) -> Array:
        maxima = nans(groups)
        largest, nan = _core.group_max(maxima, logits, isa=tier)
        return np.array([*maxima, largest, nan], np.float64)

    def collect(tier: str) -> Array:
        ids = np.full(logits.size, -1, np.int32)
        _core.collect(ids, logits, single(expected_maxima), threshold, isa=tier)
        return ids

    def exp_weights(tier: str) -> Array:
        weights, sums = nans(logits.size), np.zeros(groups, np.uint64)
        _core.exp_weights(weights, sums, logits, peak, scale, isa=tier)
        return weights

    def choose(tier: str) -> Array:
        greedy = _core.Sampler(logits.size, temperature=0.0, isa=tier)
        drawn = _core.Sampler(logits.size, temperature=0.7, top_k=1, seed=7, isa=tier)
        return np.array([_core.argmax(logits, isa=tier), greedy.sample(logits, 3), drawn.sample(logits, 3)])

    exponents = (logits.astype(np.float64) - peak) * float(np.float32(scale))
    weights = np.exp(exponents)
    found = np.flatnonzero(logits >= threshold)
    ids = np.concatenate([found, np.full(logits.size - found.size, -1)]).astype(np.float64)
    yield Case("group_max", NO_TYPE, group_max, np.array([*expected_maxima, peak, False], np.float64))
    yield Case("collect", NO_TYPE, collect, ids)
    # exp to 4 units in the last place (8 U) of an exponent that was rounded twice, with its scale's own rounding.
    yield Case("exp_weights", NO_TYPE, exp_weights, weights, (8 + 3 * np.abs(exponents)) * 1.001 * U * weights)
    yield Case("sampling", NO_TYPE, choose, np.full(3, float(logits.argmax())))


def _cache(cache_type: str, blocks: int, kv_heads: int, head_dim: int) -> tuple[Array, Array]:
    """Pages of one layer, full of a number that no position has."""
    filler = stored(np.full((blocks, kv_heads, head_dim, KV_BLOCK), 77.0), cache_type)
    return filler, np.ascontiguousarray(filler.transpose(0, 1, 3, 2))
