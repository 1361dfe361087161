"""Self-test cases of weights of codes: each way in which codes are packed, and float8 activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from inferno import _core
from inferno.selftest_case import NO_TYPE, Array, Case, Float32, Float64, U, nans, single

_GROUP = 24
# Nibble i of a word of AutoAWQ holds this one of eight columns.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
# What float8 e4m3fn holds from 0 up: subnormals, then eight numbers for each power of two; the last code is NaN.
_E4M3 = np.array([i * 2.0**-9 for i in range(8)] + [(1 + i % 8 / 8) * 2.0 ** (i // 8 - 7) for i in range(8, 127)])
_LEVELS = np.linspace(-1, 1, 16).astype(np.float32)


def coded_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every type of code, and rounding to float8."""
    for code_type in ("I8", "U8", "U4", "LUT4", "E4M3", "GPTQ4", "GPTQ8", "AWQ4"):
        for m, n, k in ((1, 32, 576), (5, 24, 120), (17, 40, 520)):
            yield _matmul(rng, code_type, m, n, k)
    yield from _round_e4m3(rng)


def _matmul(rng: np.random.Generator, code_type: str, m: int, n: int, k: int) -> Case:
    """Groups along k with float16 scales; a zero that is not 0 where the type has one."""
    bits = 4 if code_type.endswith("4") else 8
    codes = rng.integers(0, 127 if code_type == "E4M3" else 2**bits, (n, k))
    zero = 0 if code_type in ("I8", "LUT4", "E4M3") else 2 ** (bits - 1)
    scales = rng.uniform(0.01, 0.1, (n, -(-k // _GROUP))).astype(np.float16)
    w = (_values(code_type, codes) - zero) * np.repeat(scales.astype(np.float64), _GROUP, axis=1)[:, :k]
    words = code_type in ("GPTQ4", "GPTQ8", "AWQ4")
    weight = _core.CodedWeight(
        code_type.lower(),
        _packed(code_type, codes),
        n,
        k,
        np.ascontiguousarray(scales.T) if words else scales,
        block=(1, _GROUP),
        zero=zero,
        levels=_LEVELS if code_type == "LUT4" else None,
    )
    x = single(rng.standard_normal((m, k)))

    def run(tier: str) -> Array:
        out = nans(m, n)
        _core.matmul_coded(out, x, weight, isa=tier)
        return out

    # As of the float product, and each weight's own rounding.
    size = (k / 8 + 7) * (np.abs(x.astype(np.float64)) @ np.abs(w).T)
    return Case("matmul_coded", code_type, run, x.astype(np.float64) @ w.T, 1.001 * U * size)


def _values(code_type: str, codes: Array) -> Float64:
    """What codes stand for, before zero and scale."""
    if code_type == "I8":
        return codes.astype(np.uint8).view(np.int8).astype(np.float64)
    if code_type == "LUT4":
        return _LEVELS[codes].astype(np.float64)
    if code_type == "E4M3":
        return _E4M3[codes]
    return codes.astype(np.float64)


def _packed(code_type: str, codes: Array) -> Array:
    """Codes (n, k) as they lie in storage, in bytes."""
    n, k = codes.shape
    codes = codes.astype(np.uint8)
    if code_type == "U4":
        return _nibbles(codes)
    if code_type == "LUT4":
        return _nibbles(codes[:, np.arange(k) ^ 1])
    if code_type == "GPTQ4":
        return _nibbles(np.ascontiguousarray(codes.T.reshape(k // 8, 8, n).transpose(0, 2, 1)))
    if code_type == "GPTQ8":
        return np.ascontiguousarray(codes.T.reshape(k // 4, 4, n).transpose(0, 2, 1))
    if code_type == "AWQ4":
        return _nibbles(codes.T.reshape(k, n // 8, 8)[..., _AWQ_ORDER])
    return codes


def _nibbles(codes: Array) -> Array:
    """Two in a byte, the first in the low half."""
    return np.ascontiguousarray(codes[..., ::2] | codes[..., 1::2] << 4)


def _round_e4m3(rng: np.random.Generator) -> Iterator[Case]:
    """Each step in float32, so that results are exact."""
    x = single(rng.standard_normal((3, 77)) * np.exp(rng.standard_normal((3, 77))))
    absmax = np.abs(x).max(axis=1, keepdims=True)
    yield Case("round_e4m3", NO_TYPE, _rounding(x), _rounded(x, absmax / np.float32(448)))
    yield Case("round_e4m3", NO_TYPE, _rounding(x, scale=0.005), _rounded(x, np.full_like(absmax, 0.005)))


def _rounding(x: Float32, **rule: Any) -> Callable[[str], Array]:
    def run(tier: str) -> Array:
        out = nans(*x.shape)
        _core.round_e4m3(out, x, isa=tier, **rule)
        return out

    return run


def _rounded(x: Float32, scale: Float32) -> Float64:
    """The held number nearest to x / scale, of two the one with the even code, times scale."""
    scaled = (x * (np.float32(1) / scale)).astype(np.float64)
    # Of equals the first counts: odd codes stand behind even ones.
    order = np.argsort(np.arange(len(_E4M3)) % 2, kind="stable")
    code = order[np.abs(np.minimum(np.abs(scaled), 448)[..., None] - _E4M3[order]).argmin(axis=-1)]
    rounded: Float32 = np.copysign(_E4M3[code], scaled).astype(np.float32) * scale
    return rounded.astype(np.float64)
