"""Unsigned 8-bit weights with a zero point in the codes' own domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.activation import Activation
from quantized_parts import (
    BF16_NAN,
    Layer,
    claimed,
    compressed,
    fitting,
    made,
    opened,
    scales,
    widened_weight,
    with_value,
)

N, K = 12, 37
WEIGHTS = {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "channel"}
TOKENS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
SHAPES = {
    "channel": [(N, 1), (N,)],
    "tensor": [(1,), (), (1, 1)],
}


def layer(
    scale_shape: tuple[int, ...] = (N, 1), zero_shape: tuple[int, ...] = (N, 1), dtype: str = "F32", zeros: str = "U8"
) -> tuple[Layer, np.ndarray]:
    """A layer, and its weight."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 256, (N, K), dtype=np.uint8)
    zero = rng.integers(0, 256, zero_shape).astype(np.uint8)
    if zeros == "I8":
        zero = zero.view(np.int8) if zero.ndim else np.array(-128, np.int8)
    stored, scale = scales(rng, scale_shape, dtype)
    weight = (codes - column(zero.astype(np.float64))) * column(scale)
    return {"weight": ("U8", codes), "weight_scale": stored, "weight_zero_point": (zeros, zero)}, weight


def column(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, 1)


def config(inputs: Any = None, **weights: Any) -> dict[str, Any]:
    return compressed({**WEIGHTS, **weights}, inputs, "int-quantized")


CASES = [
    (strategy, scale, zero, "F32", "U8")
    for strategy, shapes in SHAPES.items()
    for scale in shapes
    for zero in dict.fromkeys((*shapes, *SHAPES["tensor"]))
] + [
    ("channel", (N, 1), (N,), "F16", "I8"),
    ("channel", (N,), (N, 1), "BF16", "U8"),
    ("tensor", (1,), (), "BF16", "I8"),
]


@pytest.mark.parametrize(("strategy", "scale", "zero", "dtype", "zeros"), CASES)
def test_weight(tmp_path: Path, strategy: str, scale: Any, zero: Any, dtype: str, zeros: str) -> None:
    stored, weight = layer(scale, zero, dtype, zeros)
    parts = opened(tmp_path, stored)
    scheme = made("uint8", claimed(config(strategy=strategy)), parts, N, K)
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", "U8", None)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_int8_inputs(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    scheme = made("uint8", claimed(config(TOKENS)), parts, N, K)
    assert (scheme.operation, scheme.activation) == ("matmul_int8", Activation("int8"))
    assert scheme.bind(parts, N, K)[1] == Activation("int8")


@pytest.mark.parametrize(
    ("strategy", "scale", "zero"),
    [("channel", (1,), (N,)), ("channel", (N, 1), (N - 1,)), ("tensor", (N, 1), (1,)), ("tensor", (1,), (N,))],
)
def test_shapes_that_the_config_does_not_claim(tmp_path: Path, strategy: str, scale: Any, zero: Any) -> None:
    stored = {**layer()[0], "weight_scale": ("F32", np.ones(scale, np.float32))}
    stored["weight_zero_point"] = ("U8", np.ones(zero, np.uint8))
    parts = opened(tmp_path, stored)
    specs = made("uint8", claimed(config(strategy=strategy)), parts, N, K).tensors(N, K)
    assert not all(specs[name].fits(tensor) for name, tensor in parts.items())


@pytest.mark.parametrize(("value", "got"), [(0, "0 at 3"), (-1, "-1 at 3"), (np.nan, "nan at 3"), (np.inf, "inf at 3")])
def test_scales_that_make_no_sense(tmp_path: Path, value: float, got: str) -> None:
    parts = opened(tmp_path, with_value(layer()[0], "weight_scale", 3, value))
    scheme = made("uint8", claimed(config()), parts, N, K)
    with pytest.raises(CheckpointError, match=rf"down_proj\.weight_scale must hold positive, finite scales; got {got}"):
        scheme.check(parts, N, K)


def test_a_bfloat16_scale_that_makes_no_sense(tmp_path: Path) -> None:
    parts = opened(tmp_path, with_value(layer(dtype="BF16")[0], "weight_scale", 0, BF16_NAN))
    with pytest.raises(CheckpointError, match=r"weight_scale must hold positive, finite scales; got nan at 0;"):
        made("uint8", claimed(config()), parts, N, K).check(parts, N, K)


@pytest.mark.parametrize(
    ("weights", "got"),
    [
        ({"symmetric": True}, "symmetric 8-bit int"),
        ({"num_bits": 4}, "4-bit int"),
        ({"type": "float"}, "8-bit float"),
    ],
)
def test_claims_of_other_weights(tmp_path: Path, weights: dict[str, Any], got: str) -> None:
    parts = opened(tmp_path, layer()[0])
    claim = claimed(config())
    assert claim.weights is not None
    with pytest.raises(UnsupportedError, match=f"weights must be 8-bit int and not symmetric where U8 .*; got {got}$"):
        made("uint8", replace(claim, weights=replace(claim.weights, **weights)), parts, N, K)


# The least k for which k * 255 * |q - zero| reaches 2^31.
@pytest.mark.parametrize(("zeros", "limit"), [("U8", 33026), ("I8", 21989)])
def test_sums_that_would_leave_int32(tmp_path: Path, zeros: str, limit: int) -> None:
    parts = opened(tmp_path, layer(zeros=zeros)[0])
    made("uint8", claimed(config(TOKENS)), parts, N, limit - 1)
    made("uint8", claimed(config()), parts, N, limit)
    with pytest.raises(UnsupportedError, match=f"at most {limit - 1} columns may share a scale, .*; got {limit}"):
        made("uint8", claimed(config(TOKENS)), parts, N, limit)


def test_nothing_is_missing_unseen(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    scheme = made("uint8", claimed(config()), parts, N, K)
    fitting(scheme, parts, N, K)
    assert [name for name, spec in scheme.tensors(N, K).items() if spec.optional] == []
