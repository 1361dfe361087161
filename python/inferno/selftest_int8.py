"""Self-test cases of int8 activations: rounding, behind a norm or not, and products of codes with codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from inferno import _core
from inferno.selftest_case import NO_TYPE, Array, Case, Float32, U, nans, single, stored

_RULES: tuple[dict[str, Any], ...] = (
    {"rule": "absmax127"},
    {"rule": "absmax127.5"},
    {"rule": "range-as-served"},
    {"rule": "range"},
    {"rule": "static-as-served", "scale": 0.0173, "zero": -11},
    {"rule": "static", "scale": 0.0173, "zero": -11},
)
_CODES_AT = 64  # bytes before a row's first code


def int8_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every rule, every type of a norm's weight, both types of codes."""
    for rule in _RULES:
        yield _quantize(single(rng.standard_normal((3, 77)) * 2), rule)
    for weight_type in ("F32", "F16", "BF16"):
        yield _rmsnorm_quantize(rng, weight_type)
    for code_type in ("I8", "U8"):
        for m, n, k in ((1, 32, 576), (5, 23, 121), (17, 40, 1033)):
            yield _matmul(rng, code_type, m, n, k)


def _quantize(x: Float32, rule: dict[str, Any]) -> Case:
    def run(tier: str) -> Array:
        rows = _core.quantized_rows(*x.shape)
        _core.quantize(rows, x, isa=tier, **rule)
        return _read(rows, x.shape[1])

    return Case("quantize", NO_TYPE, run, np.hstack(_rounded(x, **rule)))


def _rmsnorm_quantize(rng: np.random.Generator, weight_type: str) -> Case:
    """Whole numbers of one size, whose mean square is 4, and a step of 1/8: every result is exact."""
    x = single(rng.choice([-2, 2], (3, 64)))
    weight = stored(rng.integers(1, 9, 64), weight_type)

    def run(tier: str) -> Array:
        rows = _core.quantized_rows(*x.shape)
        _core.rmsnorm_quantize(rows, x, weight, 0.0, rule="static", scale=0.125, isa=tier)
        return _read(rows, 64)

    wide = weight.astype(np.uint32) << 16 if weight_type == "BF16" else weight
    normed = np.sign(x) * (wide.view(np.float32) if weight_type == "BF16" else wide)
    return Case("rmsnorm_quantize", weight_type, run, np.hstack(_rounded(single(normed), "static", 0.125)))


def _matmul(rng: np.random.Generator, code_type: str, m: int, n: int, k: int) -> Case:
    """Groups along k with a zero point each, every code there is."""
    group = 50
    groups = -(-k // group)
    low = -128 if code_type == "I8" else 0
    dtype = np.int8 if code_type == "I8" else np.uint8
    codes, zeros = (rng.integers(low, low + 256, shape).astype(dtype) for shape in ((n, k), (n, groups)))
    scales = rng.uniform(0.01, 0.1, (n, groups)).astype(np.float16)
    weight = _core.CodedWeight(code_type.lower(), codes, n, k, scales, block=(1, group), zeros=zeros)
    x = single(rng.standard_normal((m, k)))
    rows = _core.quantized_rows(m, k)
    _core.quantize(rows, x, rule="range", isa="scalar")
    parts = _read(rows, k)

    def run(tier: str) -> Array:
        out = nans(m, n)
        _core.matmul_int8(out, rows, weight, isa=tier)
        return out

    def spread(values: Array) -> Array:
        return np.repeat(values.astype(np.float64), group, axis=1)[:, :k]

    w = (codes.astype(np.float64) - spread(zeros)) * spread(scales)
    scale, x_codes = parts[:, :1], parts[:, 1:]
    # Each group's sum becomes a float32 and is added once; then the row's scale. One for terms of second order.
    size = (groups + 3) * (np.abs(x_codes) @ np.abs(w).T) * scale
    return Case("matmul_int8", code_type, run, x_codes @ w.T * scale, U * size)


def _read(rows: Array, k: int) -> Array:
    """A row's scale and codes, side by side."""
    scale = rows[:, :4].copy().view(np.float32)
    codes = rows[:, _CODES_AT : _CODES_AT + 2 * k].copy().view(np.int16)
    return np.hstack([scale.astype(np.float64), codes.astype(np.float64)])


def _rounded(x: Float32, rule: str, scale: float = 0, zero: int = 0) -> tuple[Float32, Float32]:
    """Scales and codes, each step in float32."""
    f = np.float32
    absmax = np.abs(x).max(axis=1, keepdims=True)
    low, high = np.minimum(x.min(axis=1, keepdims=True), f(0)), np.maximum(x.max(axis=1, keepdims=True), f(0))
    if rule.startswith("absmax"):
        step = absmax / f(float(rule.removeprefix("absmax")))
        offset = np.zeros_like(step)
    elif rule.startswith("range"):
        step = (high - low) / f(255)
        offset = np.rint(f(-128) - low / step)
    else:
        step, offset = np.full_like(absmax, scale), np.full_like(absmax, zero)
    factors: dict[str, Callable[[], Float32]] = {
        "absmax127": lambda: f(127) / absmax,
        "range-as-served": lambda: f(1) / step,
        "static-as-served": lambda: f(1) / step,
    }
    q = np.rint(x * factors[rule]()) + offset if rule in factors else x / step + offset
    return step, np.rint(np.clip(q, f(-128), f(127))) - offset
