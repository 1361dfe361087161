"""Inverse frequencies against transformers' own (stored), and against the formulas in float64."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from inferno.config import LlamaConfig, RopeConfig
from inferno.errors import ConfigError, UsageError
from inferno.rope import rope_frequencies
from rope_cases import ROPE_CASES
from tiny_cases import CASES

REFERENCES = Path(__file__).parent / "data" / "references"
EPS = float(np.finfo(np.float32).eps)
THETAS = [10000.0, 12345.678, 500000.0]
HEAD_DIMS = [2, 6, 16, 64, 96, 128]


def exact_default(theta: float, head_dim: int) -> np.ndarray:
    return theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)


def rope_tolerance(theta: float, steps: int) -> float:
    """Relative: the rounding of the exponent e moves theta^e by ln(theta) * eps / 2; then `steps` roundings follow."""
    return (math.log(theta) + steps) * EPS / 2 + 1e-12


@pytest.mark.parametrize("name", ROPE_CASES)
def test_published_models_have_the_bits_of_transformers(name: str) -> None:
    rope, head_dim, max_positions, length = ROPE_CASES[name]
    stored = np.load(REFERENCES / "rope.npz")
    fields = {key: value for key, value in rope.items() if key != "rope_type"}
    table = rope_frequencies(RopeConfig(rope["rope_type"], **fields), head_dim, max_positions, length)
    np.testing.assert_array_equal(table.inv_freq, stored[f"{name}.inv_freq"])
    assert table.inv_freq.dtype == np.float32
    assert table.attention_factor == stored[f"{name}.attention_factor"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tiny_checkpoints_have_the_bits_of_transformers(case) -> None:
    config = LlamaConfig.from_dict(case.config)
    table = rope_frequencies(config.rope, config.head_dim, config.max_position_embeddings, case.ctx_size)
    stored = np.load(REFERENCES / f"{case.name}.npz")
    np.testing.assert_array_equal(table.inv_freq, stored["inv_freq"])
    assert table.attention_factor == stored["attention_factor"]


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("theta", THETAS)
def test_default(theta: float, head_dim: int) -> None:
    table = rope_frequencies(RopeConfig(rope_theta=theta), head_dim, 2048, 100)
    np.testing.assert_allclose(table.inv_freq, exact_default(theta, head_dim), rtol=rope_tolerance(theta, 2))
    assert table.attention_factor == 1.0


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("theta", THETAS)
def test_linear(theta: float, head_dim: int) -> None:
    table = rope_frequencies(RopeConfig("linear", theta, factor=3.7), head_dim, 2048, 100)
    np.testing.assert_allclose(table.inv_freq, exact_default(theta, head_dim) / 3.7, rtol=rope_tolerance(theta, 4))


@pytest.mark.parametrize("ctx_size", [1, 2048, 2049, 10000])
@pytest.mark.parametrize("head_dim", [4, 6, 64, 128])
@pytest.mark.parametrize("theta", THETAS)
def test_dynamic(theta: float, head_dim: int, ctx_size: int) -> None:
    length = max(ctx_size, 2048)
    stretched = theta * (2.5 * length / 2048 - 1.5) ** (head_dim / (head_dim - 2))
    table = rope_frequencies(RopeConfig("dynamic", theta, factor=2.5), head_dim, 2048, ctx_size)
    # Five roundings in the base (two of them raised to a power of at most 2), seven in the rest.
    expected = exact_default(stretched, head_dim)
    np.testing.assert_allclose(table.inv_freq, expected, rtol=rope_tolerance(stretched, 14))


def test_dynamic_is_default_up_to_the_models_length_and_fixed_by_ctx_size_beyond_it() -> None:
    rope = RopeConfig("dynamic", factor=2.0)
    within, at, beyond = (rope_frequencies(rope, 64, 2048, ctx_size).inv_freq for ctx_size in (5, 2048, 2049))
    np.testing.assert_array_equal(within, rope_frequencies(RopeConfig(), 64, 2048, 1).inv_freq)
    np.testing.assert_array_equal(within, at)
    assert not np.array_equal(at, beyond)


def test_dynamic_within_the_models_length_is_computed_in_float64() -> None:
    # In float32 this factor equals the one below it, and the stretch would be 0 instead of 1.
    table = rope_frequencies(RopeConfig("dynamic", factor=16777217.0), 64, 2048, 2048)
    np.testing.assert_array_equal(table.inv_freq, rope_frequencies(RopeConfig(), 64, 2048, 1).inv_freq)


@pytest.mark.parametrize("factor", [8.0, 32.0])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("theta", THETAS)
def test_llama3(theta: float, head_dim: int, factor: float) -> None:
    rope = RopeConfig(
        "llama3",
        theta,
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    expected = []
    for frequency in exact_default(theta, head_dim):
        turns = 8192 * frequency / (2 * math.pi)  # in the length of pretraining
        kept = min(1.0, max(0.0, (turns - 1.0) / (4.0 - 1.0)))
        expected.append(kept * frequency + (1 - kept) * frequency / factor)
    # `kept` lies in [0, 1] and errs by a few eps; the sum, kept + (1 - kept) / factor, is at least 1 / factor, so that
    # its relative error is at most `factor` times as large.
    table = rope_frequencies(rope, head_dim, 131072, 100)
    np.testing.assert_allclose(table.inv_freq, expected, rtol=rope_tolerance(theta, 4) * (1 + factor))
    assert table.attention_factor == 1.0


def yarn_ramp(rope: RopeConfig, head_dim: int) -> tuple[float, float]:
    """The pair indices at which interpolation begins and is complete."""
    original, theta = rope.original_max_position_embeddings, rope.rope_theta
    low, high = (
        head_dim * math.log(original / (2 * math.pi * turns)) / (2 * math.log(theta))
        for turns in (rope.beta_fast, rope.beta_slow)
    )
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    return low, high + (0.001 if low == high else 0)


def exact_yarn(rope: RopeConfig, head_dim: int) -> np.ndarray:
    low, high = yarn_ramp(rope, head_dim)
    interpolated = np.clip((np.arange(head_dim // 2) - low) / (high - low), 0, 1)
    frequency = exact_default(rope.rope_theta, head_dim)
    return frequency * (1 - interpolated) + frequency / rope.factor * interpolated


@pytest.mark.parametrize("more", [{}, {"truncate": False}, {"beta_fast": 16.0, "beta_slow": 2.0}])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("theta", THETAS)
def test_yarn(theta: float, head_dim: int, more: dict) -> None:
    rope = RopeConfig("yarn", theta, factor=4.0, original_max_position_embeddings=4096, **more)
    table = rope_frequencies(rope, head_dim, 16384, 100)
    # The ramp errs by a few eps of `index / width`, index at most head_dim; a quarter is the least that is left.
    tolerance = rope_tolerance(theta, 8) * 4 + 4 * EPS * head_dim
    np.testing.assert_allclose(table.inv_freq, exact_yarn(rope, head_dim), rtol=tolerance)


@pytest.mark.parametrize(
    ("theta", "head_dim", "more"),
    [
        (10.0, 16, {"beta_fast": 300.0}),  # the ramp ends beyond the last pair
        (10000.0, 128, {"beta_fast": 5.0, "beta_slow": 6.0}),  # it has no width
        (10000.0, 16, {"beta_fast": 3000.0}),  # it begins before the first pair
    ],
)
def test_yarn_at_the_edges_of_its_ramp(theta: float, head_dim: int, more: dict) -> None:
    rope = RopeConfig("yarn", theta, factor=4.0, original_max_position_embeddings=4096, **more)
    low, high = yarn_ramp(rope, head_dim)
    assert low == 0 or high in (head_dim - 1, low + 0.001)
    table = rope_frequencies(rope, head_dim, 16384, 100)
    tolerance = rope_tolerance(theta, 8) * 4 + 4 * EPS * head_dim
    np.testing.assert_allclose(table.inv_freq, exact_yarn(rope, head_dim), rtol=tolerance)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"factor": 4.0}, 0.1 * math.log(4.0) + 1),
        ({"factor": 1.0}, 1.0),
        ({"factor": 0.5}, 1.0),
        ({"factor": 4.0, "attention_factor": 0.75}, 0.75),
        ({"factor": 4.0, "mscale": 0.7}, 0.1 * math.log(4.0) + 1),
        ({"factor": 4.0, "mscale": 0.0, "mscale_all_dim": 1.0}, 0.1 * math.log(4.0) + 1),
        (
            {"factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.5},
            (0.07 * math.log(4.0) + 1) / (0.15 * math.log(4.0) + 1),
        ),
    ],
)
def test_yarn_attention_factor(fields: dict, expected: float) -> None:
    rope = RopeConfig("yarn", original_max_position_embeddings=4096, **fields)
    assert rope_frequencies(rope, 64, 16384, 100).attention_factor == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("ctx_size", "is_long"), [(1, False), (4096, False), (4097, True), (16384, True)])
def test_longrope_uses_the_long_factors_beyond_the_length_of_pretraining(ctx_size: int, is_long: bool) -> None:
    short = tuple(1.0 + i / 7 for i in range(48))
    long = tuple(1.5 + i * i / 11 for i in range(48))
    rope = RopeConfig(
        "longrope", 10000.0, factor=4.0, original_max_position_embeddings=4096, short_factor=short, long_factor=long
    )
    table = rope_frequencies(rope, 96, 16384, ctx_size)
    expected = exact_default(10000.0, 96) / np.array(long if is_long else short)
    np.testing.assert_allclose(table.inv_freq, expected, rtol=rope_tolerance(10000.0, 5))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"factor": 4.0}, math.sqrt(1 + math.log(4.0) / math.log(4096))),
        ({"factor": 1.0}, 1.0),
        ({"factor": 4.0, "attention_factor": 1.25}, 1.25),
    ],
)
def test_longrope_attention_factor(fields: dict, expected: float) -> None:
    ones = (1.0,) * 8
    rope = RopeConfig("longrope", original_max_position_embeddings=4096, short_factor=ones, long_factor=ones, **fields)
    assert rope_frequencies(rope, 16, 16384, 100).attention_factor == pytest.approx(expected, rel=1e-15)


def test_the_table_is_read_only() -> None:
    assert not rope_frequencies(RopeConfig(), 64, 2048, 1).inv_freq.flags.writeable


def test_a_context_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^ctx_size must be at least 1; got 0$"):
        rope_frequencies(RopeConfig(), 64, 2048, 0)


@pytest.mark.parametrize(
    "rope",
    [
        RopeConfig(rope_theta=3.3e38),
        RopeConfig("linear", factor=1e38),
        RopeConfig("linear", factor=1e-38),
    ],
)
def test_extreme_values_that_float32_holds_are_computed(rope: RopeConfig) -> None:
    assert np.isfinite(rope_frequencies(rope, 8, 2048, 100).inv_freq).all()


@pytest.mark.parametrize(
    "rope",
    [
        RopeConfig("linear", factor=1e300),
        RopeConfig("linear", factor=1e-300),
        RopeConfig("dynamic", factor=1e300),
        RopeConfig("dynamic", 3e38, factor=1e30),
        RopeConfig("yarn", factor=1e308, original_max_position_embeddings=4096),
    ],
)
def test_frequencies_that_no_float32_holds_are_refused(rope: RopeConfig) -> None:
    with pytest.raises(ConfigError, match=rf"RoPE of type {rope.rope_type} must give positive finite frequencies"):
        rope_frequencies(rope, 64, 2048, 100000)
