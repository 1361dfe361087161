"""Products with weights of codes, one thread, each tier: to be set beside BF16 of the same shape in one run.

One token streams weights from memory, so there are as many matrices as no cache holds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pytest

from inferno import _core

RNG = np.random.default_rng(0)
STREAMED = 600 << 20
BITS = {"i8": 8, "u8": 8, "u4": 4, "lut4": 4, "e4m3": 8, "gptq4": 4, "gptq8": 8, "awq4": 4}


def bf16(n: int, k: int) -> np.ndarray:
    return (RNG.standard_normal((n, k)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def coded(kind: str, n: int, k: int, group: int) -> _core.CodedWeight:
    codes = RNG.integers(0, 127, n * k * BITS[kind] // 8, np.uint8)
    blocks = k // group
    scales = RNG.uniform(0.01, 0.1, (blocks, n) if kind in ("gptq4", "gptq8", "awq4") else (n, blocks))
    levels = np.linspace(-1, 1, 16).astype(np.float32) if kind == "lut4" else None
    zero = 0 if kind in ("i8", "lut4", "e4m3") else 1 << (BITS[kind] - 1)
    scales = scales.astype(np.float16)
    return _core.CodedWeight(kind, codes, n, k, scales, block=(1, group), zero=zero, levels=levels)


def measure(benchmark: Any, multiply: Callable[..., None], weights: list[Any], tokens: int, n: int, isa: str) -> None:
    k = weights[0].shape[1] if isinstance(weights[0], np.ndarray) else weights[0].k
    x, out = RNG.standard_normal((tokens, k)).astype(np.float32), np.empty((tokens, n), np.float32)
    several = cycle(weights)
    rounds = 3 if isa == "scalar" else max(10, len(weights))
    benchmark.pedantic(lambda: multiply(out, x, next(several), isa=isa), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["multiply_adds_per_second"] = tokens * n * k / benchmark.stats.stats.median


@pytest.mark.parametrize("tokens", [1, 4, 256])
@pytest.mark.parametrize(("n", "k"), [(2048, 5632)])
@pytest.mark.parametrize("kind", ["bf16", *BITS])
def test_matmul_coded(benchmark, isa, kind, n, k, tokens):
    copies = 1 if tokens > 1 or isa == "scalar" else max(1, STREAMED * 8 // (n * k * BITS.get(kind, 16)))
    if kind == "bf16":
        measure(benchmark, _core.matmul, [bf16(n, k) for _ in range(copies)], tokens, n, isa)
    else:
        measure(benchmark, _core.matmul_coded, [coded(kind, n, k, 128) for _ in range(copies)], tokens, n, isa)


@pytest.mark.parametrize("group", [0, 128])
def test_round_e4m3(benchmark, isa, group):
    x = RNG.standard_normal((256, 2048)).astype(np.float32)
    benchmark(_core.round_e4m3, np.empty_like(x), x, group=group, isa=isa)
