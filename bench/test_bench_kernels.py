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


def quantized(tokens: int, k: int) -> np.ndarray:
    """Rows of codes."""
    rows = _core.quantized_rows(tokens, k)
    _core.quantize(rows, floats(tokens, k), rule="absmax127")
    return rows


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


@pytest.mark.parametrize("tokens", [1, 2, 8, 16, 256])
@pytest.mark.parametrize(("n", "k"), [(2048, 2048), (2048, 5632)])
@pytest.mark.parametrize("group", [0, 128])
def test_matmul_int8(benchmark, isa, n, k, group, tokens):
    """Codes with codes, a scale for each row of weights or for 128 columns of one; to be set beside test_matmul's bf16
    and test_madd_peak."""
    rows, out = quantized(tokens, k), np.empty((tokens, n), np.float32)
    block = (1, group or k)
    scales, codes = np.full((n, k // block[1]), 0.01, np.float32), RNG.integers(-128, 128, (n, k)).astype(np.int8)
    weight = _core.CodedWeight("i8", codes, n, k, scales, block=block)
    rounds = 3 if isa == "scalar" and tokens > 8 else 10
    benchmark.pedantic(_core.matmul_int8, (out, rows, weight), {"isa": isa}, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["multiply_adds_per_second"] = tokens * n * k / benchmark.stats.stats.median


def test_madd_peak(benchmark, isa):
    """What int8 products are measured against."""
    rounds = 1_000_000
    rates = [_core.madd_peak(threads=1, rounds=rounds, isa=isa) for _ in range(5)]
    benchmark.pedantic(_core.madd_peak, kwargs={"threads": 1, "rounds": rounds, "isa": isa}, rounds=5)
    benchmark.extra_info["multiply_adds_per_second"] = float(np.median(rates))


@pytest.mark.parametrize("rule", ["absmax127", "absmax127.5", "range"])
@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_quantize(benchmark, isa, rule, threshold):
    """256 rows of 2048; with the threshold one value in 22 is an outlier."""
    x, rows = floats(256, 2048), _core.quantized_rows(256, 2048, outliers=threshold > 0)
    benchmark(_core.quantize, rows, x, rule=rule, threshold=threshold, isa=isa)


def test_rmsnorm_quantize(benchmark, isa):
    """To be set beside test_rmsnorm and test_quantize."""
    x, weight, rows = floats(256, 2048), weights("bf16", 2048), _core.quantized_rows(256, 2048)
    benchmark(_core.rmsnorm_quantize, rows, x, weight, 1e-5, rule="absmax127", isa=isa)


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
