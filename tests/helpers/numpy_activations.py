"""How inputs of quantized layers are rounded: the tests' own definition, row by row, in the dtype of the input.

In float64 a rule is what the formulas say; in float32 it takes the roundings of a program that computes in float32
(each quotient and product to nearest), so that codes can be compared one by one. Sums over codes are exact in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

E4M3_MAX = 448.0


@dataclass(frozen=True)
class Rounded:
    """`values`: float64, what the codes stand for. `slack`: the least distance of an input from where its code would
    change, in steps of 1/127 of its row's largest; inf if no input is near one."""

    values: np.ndarray
    slack: float


Rule = Callable[[np.ndarray], Rounded]


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """The nearest float8 e4m3fn, ties to even, saturating; float64."""
    clamped = np.clip(np.asarray(values, dtype=np.float64), -E4M3_MAX, E4M3_MAX)
    step = _e4m3_step(clamped)
    return np.rint(clamped / step) * step


def _e4m3_step(values: np.ndarray) -> np.ndarray:
    exponent = np.frexp(np.maximum(np.abs(values), 2.0**-6))[1] - 1
    return np.ldexp(1.0, exponent - 3)


def _to_tie(scaled: np.ndarray) -> float:
    """The least distance of what would be rounded to an integer from where that integer changes; clamped ones aside."""
    inside = scaled[(scaled > -128.5) & (scaled < 127.5)].astype(np.float64)
    return float(np.abs(inside - np.floor(inside) - 0.5).min(initial=np.inf))


def _divided(numerator: np.ndarray | float, denominator: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0: a row of zeros has scale 0 and codes 0."""
    denominator = np.asarray(denominator)
    safe = np.where(denominator == 0, denominator.dtype.type(1), denominator)
    return np.where(denominator == 0, denominator.dtype.type(0), np.asarray(numerator, dtype=safe.dtype) / safe)


def _values(codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return codes.astype(np.float64) * scale.astype(np.float64)


def absmax_as_served(x: np.ndarray, threshold: float = 0.0) -> Rounded:
    """scale = absmax / 127, code = round(x * (127 / absmax)).

    With a threshold, LLM.int8 on one row at a time: columns of a row with |x| of at least that count for nothing in its
    scale and stay as they are.
    """
    outlier = np.abs(x) >= threshold if threshold else np.zeros(x.shape, dtype=bool)
    inner = np.where(outlier, x.dtype.type(0), x)
    absmax = np.abs(inner).max(axis=-1, keepdims=True)
    scaled = inner * _divided(127, absmax)
    values = np.where(outlier, x.astype(np.float64), _values(np.rint(scaled), absmax / x.dtype.type(127)))
    slack = _to_tie(scaled)
    if threshold:
        slack = min(slack, float((np.abs(np.abs(x) - threshold) * _divided(127, absmax)).min()))
    return Rounded(values, slack)


def absmax_as_written(x: np.ndarray) -> Rounded:
    """scale = absmax / 127.5, code = round(clamp(x / scale)). x = -absmax is a tie (-127.5) but for the rounding of the
    quotient, so that its code is -128 or -127 by chance: `slack` does not count it."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / x.dtype.type(127.5)
    scaled = np.clip(_divided(x, scale + np.zeros_like(x)), x.dtype.type(-128), x.dtype.type(127))
    return Rounded(_values(np.rint(scaled), scale), _to_tie(scaled[scaled > -127.49]))


def _range(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scale = (high - low) / 255, and -128 - low / scale, which rounds to the zero point; low <= 0 <= high."""
    low, high = (np.asarray(end, dtype=x.dtype) for end in (np.minimum(x, 0), np.maximum(x, 0)))
    low, high = low.min(axis=-1, keepdims=True), high.max(axis=-1, keepdims=True)
    scale = (high - low) / x.dtype.type(255)
    return scale, x.dtype.type(-128) - _divided(low, scale)


def range_as_served(x: np.ndarray) -> Rounded:
    """code = clamp(round(x * (1 / scale)) + zero).

    Rows of one sign are rounded with a range that holds 0, here as below. vLLM itself takes their range as it is, which
    puts the zero point outside int8; no row behind a norm is such a one.
    """
    scale, start = _range(x)
    zero = np.rint(start)
    scaled = x * _divided(1, scale)
    codes = np.clip(np.rint(scaled) + zero, -128, 127)
    away = np.abs(scaled - np.floor(scaled) - 0.5).min()
    return Rounded(_values(codes - zero, scale), min(float(away), _to_tie(start)) * 0.5)


def range_as_written(x: np.ndarray) -> Rounded:
    """zero clamped; code = round(clamp(x / scale + zero))."""
    scale, start = _range(x)
    start = np.clip(start, -128, 127)
    zero = np.rint(start)
    scaled = _divided(x, scale + np.zeros_like(x)) + zero
    codes = np.rint(np.clip(scaled, -128, 127))
    return Rounded(_values(codes - zero, scale), min(_to_tie(scaled), _to_tie(start)) * 0.5)


def static_as_served(x: np.ndarray, scale: float, zero: int) -> Rounded:
    """code = clamp(round(x * (1 / scale)) + zero), scale and zero as stored."""
    step = x.dtype.type(scale)
    scaled = x * (x.dtype.type(1) / step)
    codes = np.clip(np.rint(scaled) + zero, -128, 127)
    return Rounded(_values(codes - zero, step), _to_tie(scaled.astype(np.float64) + zero))


def static_as_written(x: np.ndarray, scale: float, zero: int) -> Rounded:
    """code = round(clamp(x / scale + zero)), scale and zero as stored."""
    step = x.dtype.type(scale)
    scaled = x / step + x.dtype.type(zero)
    codes = np.rint(np.clip(scaled, -128, 127))
    return Rounded(_values(codes - zero, step), _to_tie(scaled))


def e4m3_rows(x: np.ndarray, served: bool, scale: float | None = None, group: int = 0) -> Rounded:
    """e4m3(clamp(x / scale)) * scale; scale as stored, or absmax / 448 of the row or of each `group` of its columns. As
    served, x * (1 / scale) stands for the quotient."""
    columns = x.shape[-1]
    rows = x.reshape(*x.shape[:-1], columns // (group or columns), group or columns)
    if scale is None:
        step = np.abs(rows).max(axis=-1, keepdims=True) / x.dtype.type(E4M3_MAX)
    else:
        step = np.full((*rows.shape[:-1], 1), scale, dtype=x.dtype)
    scaled = rows * _divided(1, step) if served else _divided(rows, step + np.zeros_like(rows))
    codes = to_e4m3(scaled)
    spacing = _e4m3_step(scaled)
    # below 2^-6 the steps are less than float32's own error of the row's largest, and as harmless
    counted = (np.abs(scaled) >= 2.0**-6) & (np.abs(scaled) <= E4M3_MAX)
    ties = np.abs(scaled / spacing - np.floor(scaled / spacing) - 0.5) * spacing
    slack = float(ties[counted].min(initial=np.inf)) * 127 / E4M3_MAX
    return Rounded(_values(codes, step).reshape(x.shape), slack)


def int8_rule(
    numerics: str,
    *,
    symmetric: bool = True,
    dynamic: bool = True,
    scale: float = 0.0,
    zero: int = 0,
    threshold: float = 0.0,
) -> Rule:
    """The rule of int8 inputs under "vllm" or "compressed-tensors"."""
    served = numerics == "vllm"
    if threshold:
        return partial(absmax_as_served, threshold=threshold)
    if not dynamic:
        return partial(static_as_served if served else static_as_written, scale=scale, zero=zero)
    if symmetric:
        return absmax_as_served if served else absmax_as_written
    return range_as_served if served else range_as_written
