"""Inverse frequencies of the rotary embedding, computed in the steps that transformers takes.

Formulas: transformers 5.5, `modeling_rope_utils.py`. It computes in float32 tensors, which start from Python numbers:
each step below has the type that it has there. One step cannot be followed: torch's vectorised float32 power is within
one unit in the last place of the true value, depending on the build. Here a power is taken in float64 and rounded once.
The two agree in more than 99 % of values, and in all of them for the thetas and head sizes of Llama 2, 3.x and SmolLM2.

A number divided by a tensor is in torch the tensor's reciprocal times the number: two roundings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from inferno.config.rope import RopeConfig
from inferno.errors import ConfigError, UsageError

Float32 = np.ndarray[Any, np.dtype[np.float32]]
_ONE = np.float32(1)
T = TypeVar("T")


@dataclass(frozen=True)
class RopeTable:
    """`inv_freq`: float32 (head_dim / 2,), radians per position, read-only; `attention_factor` multiplies cos, sin."""

    inv_freq: Float32
    attention_factor: float


def rope_frequencies(
    rope: RopeConfig, head_dim: int, max_position_embeddings: int, ctx_size: int, where: str = "config.json"
) -> RopeTable:
    """The frequencies for a context of `ctx_size` tokens; `where` names the config in errors.

    They are fixed once, also where transformers lets them follow the length of the sequence: `dynamic` is computed for
    a sequence of ctx_size tokens, and `longrope` uses its long factors if ctx_size exceeds the length of pretraining.

    `head_dim` must be even. Raises UsageError if `ctx_size` is below 1, ConfigError if a frequency is not a positive
    finite float32.
    """
    if ctx_size < 1:
        raise UsageError(f"ctx_size must be at least 1; got {ctx_size}")
    with np.errstate(all="ignore"):  # what overflows is refused below
        inv_freq, attention_factor = _compute(rope, head_dim, max_position_embeddings, ctx_size)
    if not (np.isfinite(inv_freq).all() and (inv_freq > 0).all() and math.isfinite(attention_factor)):
        raise ConfigError(
            f"{where}: RoPE of type {rope.rope_type} must give positive finite frequencies; got {inv_freq.min()} "
            f"to {inv_freq.max()}, attention factor {attention_factor}; restore the fields of the original config.json"
        )
    inv_freq.setflags(write=False)
    return RopeTable(inv_freq, attention_factor)


def _compute(rope: RopeConfig, head_dim: int, max_positions: int, ctx_size: int) -> tuple[Float32, float]:
    if rope.rope_type == "linear":
        return _default(rope.rope_theta, head_dim) / np.float32(_given(rope.factor)), 1.0
    if rope.rope_type == "dynamic":
        return _default(_dynamic_theta(rope, head_dim, max_positions, ctx_size), head_dim), 1.0
    if rope.rope_type == "llama3":
        return _llama3(rope, head_dim), 1.0
    if rope.rope_type == "yarn":
        return _yarn(rope, head_dim), _yarn_attention_factor(rope)
    if rope.rope_type == "longrope":
        return _longrope(rope, head_dim, ctx_size), _longrope_attention_factor(rope)
    return _default(rope.rope_theta, head_dim), 1.0


def _given(value: T | None) -> T:
    assert value is not None  # parse_rope sets what the type needs
    return value


def _power(base: float, exponent: Float32) -> Float32:
    """base ^ exponent, each a float32, correctly rounded but for float64's own last bit."""
    power: Float32 = (np.float64(np.float32(base)) ** exponent.astype(np.float64)).astype(np.float32)
    return power


def _reciprocal(x: Float32) -> Float32:
    result: Float32 = _ONE / x
    return result


def _periods(theta: float, head_dim: int) -> Float32:
    """theta^(2i / head_dim), i < head_dim / 2."""
    return _power(theta, np.arange(0, head_dim, 2).astype(np.float32) / np.float32(head_dim))


def _default(theta: float, head_dim: int) -> Float32:
    return _reciprocal(_periods(theta, head_dim))


def _dynamic_theta(rope: RopeConfig, head_dim: int, max_positions: int, ctx_size: int) -> float:
    factor = _given(rope.factor)
    exponent = head_dim / (head_dim - 2)
    if ctx_size <= max_positions:
        # transformers computes this at load, in Python numbers
        return float(rope.rope_theta * ((factor * max_positions / max_positions) - (factor - 1)) ** exponent)
    # ... and this when a sequence has grown, from its length as a tensor: in float32, but for the exponent
    stretch = np.float32(factor) * np.float32(ctx_size) / np.float32(max_positions) - np.float32(factor - 1)
    return float(np.float32(rope.rope_theta) * np.float32(float(stretch) ** exponent))


def _llama3(rope: RopeConfig, head_dim: int) -> Float32:
    low, high = _given(rope.low_freq_factor), _given(rope.high_freq_factor)
    original = _given(rope.original_max_position_embeddings)
    factor = np.float32(_given(rope.factor))
    inv_freq = _default(rope.rope_theta, head_dim)
    wavelength = _reciprocal(inv_freq) * np.float32(2 * math.pi)
    is_long, is_short = wavelength > np.float32(original / low), wavelength < np.float32(original / high)
    scaled = np.where(is_long, inv_freq / factor, inv_freq)
    smooth = (_reciprocal(wavelength) * np.float32(original) - np.float32(low)) / np.float32(high - low)
    smoothed = (_ONE - smooth) * scaled / factor + smooth * scaled
    return np.where(is_long | is_short, scaled, smoothed)


def _yarn(rope: RopeConfig, head_dim: int) -> Float32:
    periods = _periods(rope.rope_theta, head_dim)
    extrapolated = _reciprocal(periods)
    interpolated = _reciprocal(np.float32(_given(rope.factor)) * periods)
    low, high = _yarn_range(rope, head_dim)
    ramp = (np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    keep = _ONE - np.clip(ramp, np.float32(0), _ONE)
    mixed: Float32 = interpolated * (_ONE - keep) + extrapolated * keep
    return mixed


def _yarn_range(rope: RopeConfig, head_dim: int) -> tuple[float, float]:
    """The pair indices between which YaRN passes from extrapolation (few tokens per turn) to interpolation."""
    original = _given(rope.original_max_position_embeddings)

    def pair_of(turns: float) -> float:
        """The index, not rounded, of the pair that turns so often in the length of pretraining."""
        return (head_dim * math.log(original / (turns * 2 * math.pi))) / (2 * math.log(rope.rope_theta))

    low, high = pair_of(rope.beta_fast), pair_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    return low, high + 0.001 if low == high else high


def _yarn_attention_factor(rope: RopeConfig) -> float:
    def mscale(weight: float) -> float:
        factor = _given(rope.factor)
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return mscale(rope.mscale) / mscale(rope.mscale_all_dim)
    return mscale(1.0)


def _longrope(rope: RopeConfig, head_dim: int, ctx_size: int) -> Float32:
    is_long = ctx_size > _given(rope.original_max_position_embeddings)
    factors = _given(rope.long_factor if is_long else rope.short_factor)
    return _reciprocal(np.array(factors, np.float32) * _periods(rope.rope_theta, head_dim))


def _longrope_attention_factor(rope: RopeConfig) -> float:
    if rope.attention_factor is not None:
        return rope.attention_factor
    factor = _given(rope.factor)
    if factor <= 1.0:
        return 1.0
    return math.sqrt(1 + math.log(factor) / math.log(_given(rope.original_max_position_embeddings)))
