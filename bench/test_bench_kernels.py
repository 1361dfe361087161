"""Kernels alone, one thread, each tier, shapes of real models."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def weights(dtype: str, *shape: int) -> np.ndarray:
    values = floats(*shape)
    if dtype == "bf16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype({"f32": np.float32, "f16": np.float16}[dtype])


@pytest.mark.parametrize("tokens", [1, 8, 256])
@pytest.mark.parametrize(("n", "k"), [(2048, 2048), (2048, 5632)])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_matmul(benchmark, isa, dtype, n, k, tokens):
    x, w, out = floats(tokens, k), weights(dtype, n, k), np.empty((tokens, n), np.float32)
    rounds = 3 if isa == "scalar" and tokens > 8 else 10
    benchmark.pedantic(_core.matmul, (out, x, w), {"isa": isa}, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["multiply_adds_per_second"] = tokens * n * k / benchmark.stats.stats.median


@pytest.mark.parametrize("tokens", [1, 8, 256])
@pytest.mark.parametrize("axis", [0, 1])
def test_matmul_in_pieces(benchmark, isa, axis, tokens):
    """Four shards; to be set beside test_matmul of the same shape in one piece."""
    n, k = 2048, 5632
    parts = [weights("bf16", n // 4, k) if axis == 0 else weights("bf16", n, k // 4) for _ in range(4)]
    x, out = floats(tokens, k), np.empty((tokens, n), np.float32)
    rounds = 3 if isa == "scalar" and tokens > 8 else 10
    benchmark.pedantic(_core.matmul, (out, x, parts), {"axis": axis, "isa": isa}, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["multiply_adds_per_second"] = tokens * n * k / benchmark.stats.stats.median


@pytest.mark.parametrize("tokens", [1, 256])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_attention(benchmark, isa, dtype, tokens):
    """32 heads on 4 KV heads of 64, as TinyLlama, at the end of a context of 1024."""
    heads, kv_heads, head_dim, blocks = 32, 4, 64, 32
    keys = weights(dtype, blocks, kv_heads, head_dim, _core.KV_BLOCK)
    values = weights(dtype, blocks, kv_heads, _core.KV_BLOCK, head_dim)
    q, out = floats(tokens, heads, head_dim), np.empty((tokens, heads, head_dim), np.float32)
    table = np.arange(blocks, dtype=np.int32)
    start = blocks * _core.KV_BLOCK - tokens
    arguments = (out, q, keys, values, table, start, head_dim**-0.5)
    benchmark.pedantic(_core.attention, arguments, {"isa": isa}, rounds=5, warmup_rounds=1)


def test_kv_write(benchmark, isa):
    keys, values = np.zeros((8, 4, 64, 32), np.float16), np.zeros((8, 4, 32, 64), np.float16)
    k, v, table = floats(256, 4, 64), floats(256, 4, 64), np.arange(8, dtype=np.int32)
    benchmark(_core.kv_write, keys, values, table, 0, k, v, isa=isa)


def test_rmsnorm(benchmark, isa):
    x, weight = floats(256, 2048), weights("bf16", 2048)
    benchmark(_core.rmsnorm, np.empty_like(x), x, weight, 1e-5, isa=isa)


def test_rope(benchmark, isa):
    x, angles = floats(256, 32, 64), floats(256, 64)
    benchmark(_core.rope, np.empty_like(x), x, angles, isa=isa)


def test_rope_angles(benchmark, isa):
    positions, inv_freq = np.arange(256, dtype=np.int32), floats(32)
    benchmark(_core.rope_angles, np.empty((256, 64), np.float32), positions, inv_freq, 1.0, isa=isa)


def test_silu_mul(benchmark, isa):
    gate, up = floats(1 << 16), floats(1 << 16)
    benchmark(_core.silu_mul, np.empty_like(gate), gate, up, isa=isa)


@pytest.mark.parametrize("pattern", _core.READ_PATTERNS)
def test_read(benchmark, isa, pattern):
    """Streaming memory that no cache holds."""
    data = np.ones(1 << 29, np.uint8)
    benchmark.pedantic(_core.read_all, (data,), {"pattern": pattern, "isa": isa}, rounds=5, warmup_rounds=1)
    benchmark.extra_info["bytes_per_second"] = data.nbytes / benchmark.stats.stats.median


def test_embedding(benchmark, isa):
    table, ids = weights("bf16", 32000, 2048), RNG.integers(0, 32000, 256).astype(np.int32)
    benchmark(_core.embedding, np.empty((256, 2048), np.float32), ids, table, isa=isa)
