"""compressed-tensors' int8 weights: every shape of scale, zero points, inputs, and what makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno import _core
from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.activation import Activation
from quantized_parts import Layer, claimed, compressed, fitting, made, opened, scales, widened_weight, with_value

N, K = 13, 37
WEIGHTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
TOKENS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
STATIC = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False}
# Strategy and its arguments, the shapes that scales may have, and rows and columns of a block.
STRATEGIES: list[tuple[dict[str, Any], list[tuple[int, ...]], tuple[int, int]]] = [
    ({"strategy": "channel"}, [(N, 1), (N,)], (1, K)),
    ({"strategy": "tensor"}, [(1,), (), (1, 1)], (N, K)),
    ({"strategy": "group", "group_size": 8}, [(N, 5)], (1, 8)),
    ({"strategy": "group", "group_size": 64}, [(N, 1)], (1, K)),
    ({"strategy": "block", "block_structure": [4, 16]}, [(4, 3)], (4, 16)),
]
CASES = [
    (arguments, shape, block, dtype, symmetric)
    for arguments, shapes, block in STRATEGIES
    for shape in shapes
    for dtype in ("F32", "F16", "BF16")
    for symmetric in (True, False)
]


def layer(shape: tuple[int, ...] = (N, 1), dtype: str = "F32", symmetric: bool = True) -> tuple[Layer, np.ndarray]:
    """A layer, and its codes without their zero points; -128 is among them."""
    rng = np.random.default_rng(2)
    codes = rng.integers(-128, 128, (N, K), dtype=np.int8)
    codes[:, 0] = -128
    stored: dict[str, Any] = {"weight": ("I8", codes), "weight_scale": scales(rng, shape, dtype)[0]}
    if not symmetric:
        stored["weight_zero_point"] = ("I8", rng.integers(-128, 128, shape).astype(np.int8).reshape(shape))
    return stored, codes


def spread(values: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """A value for each weight, of one for each block."""
    rows, columns = -(-N // block[0]), -(-K // block[1])
    by_block = values.reshape(rows, columns)
    return np.repeat(np.repeat(by_block, block[0], 0)[:N], block[1], 1)[:, :K]


def config(inputs: Any = None, **weights: Any) -> dict[str, Any]:
    return compressed({**WEIGHTS, **weights}, inputs, "int-quantized")


@pytest.mark.parametrize(("arguments", "shape", "block", "dtype", "symmetric"), CASES)
def test_weight(tmp_path: Path, arguments: dict[str, Any], shape: Any, block: Any, dtype: str, symmetric: bool) -> None:
    stored, codes = layer(shape, dtype, symmetric)
    scale = scales(np.random.default_rng(2), (0,), dtype)  # the type alone
    assert scale[0][0] == dtype
    parts = opened(tmp_path, stored)
    scheme = made("int-quantized", claimed(config(**arguments, symmetric=symmetric)), parts, N, K)
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", "I8", None)
    kind, raw = stored["weight_scale"]
    wide = (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw
    zeros = 0 if symmetric else spread(stored["weight_zero_point"][1].astype(np.float64), block)
    expected = (codes - zeros) * spread(wide.astype(np.float64), block)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), expected.astype(np.float32))


def test_inputs(tmp_path: Path) -> None:
    static = {**layer()[0], "input_scale": ("BF16", np.array([0x3D00], np.uint16))}
    shifted = {**static, "input_zero_point": ("I8", np.array([-7], np.int8))}
    for inputs, stored, bound in (
        (TOKENS, layer()[0], Activation("int8")),
        ({**TOKENS, "symmetric": False}, layer()[0], Activation("int8", symmetric=False)),
        (STATIC, static, Activation("int8", dynamic=False, scale=0.03125)),
        ({**STATIC, "symmetric": False}, shifted, Activation("int8", False, False, scale=0.03125, zero=-7)),
    ):
        parts = opened(tmp_path, stored)
        scheme = made("int-quantized", claimed(config(inputs)), parts, N, K)
        fitting(scheme, parts, N, K)
        scheme.check(parts, N, K)
        assert scheme.operation == "matmul_int8"
        assert scheme.bind(parts, N, K)[1] == bound


def test_float8_inputs_do_not_meet_int8_weights(tmp_path: Path) -> None:
    inputs = {"num_bits": 8, "type": "float", "dynamic": True, "strategy": "token"}
    with pytest.raises(UnsupportedError, match=r"input_activations must be 8-bit int beside int8 .*; got 8-bit float"):
        made("int-quantized", claimed(config(inputs)), opened(tmp_path, layer()[0]), N, K)


def test_zero_points_of_symmetric_weights_must_be_zero(tmp_path: Path) -> None:
    zeros = ("I8", np.zeros((N, 1), np.int8))
    parts = opened(tmp_path, {**layer()[0], "weight_zero_point": zeros})
    scheme = made("int-quantized", claimed(config()), parts, N, K)
    fitting(scheme, parts, N, K)
    scheme.check(parts, N, K)
    parts = opened(tmp_path, with_value({**layer()[0], "weight_zero_point": zeros}, "weight_zero_point", 4, 3))
    with pytest.raises(CheckpointError, match=r"weight_zero_point must be zero where .* symmetric; got 3 at 4"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize(("value", "got"), [(0, "0 at 2"), (-1, "-1 at 2"), (np.nan, "nan at 2"), (np.inf, "inf at 2")])
def test_scales_that_make_no_sense(tmp_path: Path, value: float, got: str) -> None:
    parts = opened(tmp_path, with_value(layer()[0], "weight_scale", 2, value))
    with pytest.raises(CheckpointError, match=rf"weight_scale must hold positive, finite scales; got {got}"):
        made("int-quantized", claimed(config()), parts, N, K).check(parts, N, K)
    static = {**layer()[0], "input_scale": ("F32", np.array([value], np.float32))}
    parts = opened(tmp_path, static)
    with pytest.raises(CheckpointError, match=r"input_scale must hold positive, finite scales; got .* at 0"):
        made("int-quantized", claimed(config(STATIC)), parts, N, K).check(parts, N, K)


# The least k for which k * 255 * |code - zero| reaches 2^31.
@pytest.mark.parametrize(("symmetric", "limit"), [(True, 65794), (False, 33026)])
@pytest.mark.parametrize("inputs", [TOKENS, {**TOKENS, "symmetric": False}])
def test_sums_that_would_leave_int32(tmp_path: Path, symmetric: bool, limit: int, inputs: Any) -> None:
    claim = claimed(config(inputs, symmetric=symmetric))
    parts = opened(tmp_path, layer(symmetric=symmetric)[0])
    made("int-quantized", claim, parts, N, limit - 1)
    with pytest.raises(UnsupportedError, match=f"at most {limit - 1} columns may share a scale, .*; got {limit}"):
        made("int-quantized", claim, parts, N, limit)
    groups = claimed(config(inputs, symmetric=symmetric, strategy="group", group_size=128))
    made("int-quantized", groups, parts, N, 128 * limit)


def test_the_kernel_takes_what_the_scheme_takes(isa: str) -> None:
    """The longest row of the largest codes: -255 for inputs, -128 for weights."""
    k = 65793
    weight = _core.CodedWeight("i8", np.full((1, k), -128, np.int8), 1, k, np.ones(1, np.float32), block=(1, k))
    rows = _core.quantized_rows(1, k)
    _core.quantize(rows, np.full((1, k), -1e6, np.float32), rule="static", zero=127, isa=isa)
    out = np.empty((1, 1), np.float32)
    _core.matmul_int8(out, rows, weight, isa=isa)
    assert out[0, 0] == np.float32(255 * 128 * k)
    more = k + 1
    longer = _core.CodedWeight("i8", np.zeros((1, more), np.int8), 1, more, np.ones(1, np.float32), block=(1, more))
    with pytest.raises(ValueError, match="at most 65793 columns wide"):
        _core.matmul_int8(out, _core.quantized_rows(1, more), longer, isa=isa)


@pytest.mark.parametrize("value", [1e-39, 1e-45])
def test_an_input_scale_whose_reciprocal_is_infinite(tmp_path: Path, value: float) -> None:
    parts = opened(tmp_path, {**layer()[0], "input_scale": ("F32", np.array([value], np.float32))})
    scheme = made("int-quantized", claimed(config(STATIC)), parts, N, K)
    with pytest.raises(CheckpointError, match=r"input_scale must be at least 1.17549e-38, .*; got "):
        scheme.check(parts, N, K)
