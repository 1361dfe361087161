"""float8 e4m3fn weights: compressed-tensors' float-quantized, and quant_method fp8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.activation import Activation
from inferno.quantization.args import QuantArgs
from numpy_codes import E4M3, spread
from quantized_parts import Layer, claimed, compressed, made, opened, scales, widened_weight, with_value

N, K = 21, 40
FLOAT8 = {"num_bits": 8, "type": "float", "symmetric": True}
BLOCKS = {
    "tensor": (N, K),
    "channel": (1, K),
    "group": (1, 16),
    "block": (8, 16),
}
CLAIMED = {
    "tensor": {"strategy": "tensor"},
    "channel": {"strategy": "channel"},
    "group": {"strategy": "group", "group_size": 16},
    "block": {"strategy": "block", "block_structure": [8, 16]},
}
SHAPES = {"tensor": [(1,), (), (1, 1)], "channel": [(N, 1), (N,)], "group": [(N, 3)], "block": [(3, 3)]}
TOKENS = {**FLOAT8, "strategy": "token", "dynamic": True}
GROUPS = {**FLOAT8, "strategy": "group", "group_size": 16, "dynamic": True}
STATIC = {**FLOAT8, "strategy": "tensor", "dynamic": False}


def layer(strategy: str, shape: Any, dtype: str = "F32", name: str = "weight_scale") -> tuple[Layer, np.ndarray]:
    """A layer, and its weight."""
    rng = np.random.default_rng(4)
    codes = rng.choice([code for code in range(256) if code & 127 != 127], (N, K)).astype(np.uint8)
    stored, scale = scales(rng, shape, dtype)
    return {"weight": ("F8_E4M3", codes), name: stored}, E4M3[codes] * spread(scale, N, K, BLOCKS[strategy])


def config(strategy: str = "channel", inputs: Any = None) -> dict[str, Any]:
    return compressed({**FLOAT8, **CLAIMED[strategy]}, inputs, "float-quantized")


def scheme_of(folder: Path, stored: Layer, settings: dict[str, Any], form: str = "float-quantized") -> Any:
    parts = opened(folder, stored)
    return made(form, claimed(settings), parts, N, K), parts


CASES = [(strategy, shape, "F32") for strategy, shapes in SHAPES.items() for shape in shapes]


@pytest.mark.parametrize(
    ("strategy", "shape", "dtype"),
    [*CASES, ("tensor", (), "BF16"), ("block", (3, 3), "BF16"), ("group", (N, 3), "F16")],
)
def test_weight(tmp_path: Path, strategy: str, shape: Any, dtype: str) -> None:
    stored, weight = layer(strategy, shape, dtype)
    scheme, parts = scheme_of(tmp_path, stored, config(strategy))
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", "E4M3", None)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_blocks_of_the_method_fp8(tmp_path: Path, dtype: str) -> None:
    stored, weight = layer("block", (3, 3), dtype, "weight_scale_inv")
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [8, 16]}
    scheme, parts = scheme_of(tmp_path, stored, settings, "fp8-block")
    assert scheme.activation == Activation("e4m3", group=16)
    # a factor, for all its name
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_the_method_fp8_without_blocks(tmp_path: Path) -> None:
    stored, weight = layer("tensor", ())
    scheme, parts = scheme_of(tmp_path, stored, {"quant_method": "fp8", "activation_scheme": "dynamic"})
    assert scheme.activation == Activation("e4m3")
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize(
    ("inputs", "activation"), [(TOKENS, Activation("e4m3")), (GROUPS, Activation("e4m3", group=16))]
)
def test_inputs(tmp_path: Path, inputs: Any, activation: Activation) -> None:
    scheme, parts = scheme_of(tmp_path, layer("channel", (N, 1))[0], config(inputs=inputs))
    assert (scheme.activation, scheme.bind(parts, N, K)[1]) == (activation, activation)
    assert "input_scale" not in scheme.tensors(N, K)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("settings", [config(inputs=STATIC), {"quant_method": "fp8", "activation_scheme": "static"}])
def test_static_inputs(tmp_path: Path, settings: dict[str, Any], shape: Any) -> None:
    strategy = "tensor" if settings["quant_method"] == "fp8" else "channel"
    stored, weight = layer(strategy, SHAPES[strategy][0])
    stored = {**stored, "input_scale": ("BF16", np.full(shape, 0x3F00, np.uint16))}
    scheme, parts = scheme_of(tmp_path, stored, settings)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))
    assert scheme.bind(parts, N, K)[1] == Activation("e4m3", dynamic=False, scale=0.5)
    assert not scheme.tensors(N, K)["input_scale"].optional


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["weight_scale", "input_scale"])
def test_scales_that_make_no_sense(tmp_path: Path, name: str, value: float) -> None:
    stored = {**layer("channel", (N, 1))[0], "input_scale": ("F32", np.ones(1, np.float32))}
    scheme, parts = scheme_of(tmp_path, with_value(stored, name, 0, value), config(inputs=STATIC))
    with pytest.raises(CheckpointError, match=rf"{name} must hold positive, finite scales; got {value:g} at 0;"):
        scheme.check(parts, N, K)


def test_inverse_scales_that_make_no_sense(tmp_path: Path) -> None:
    stored = with_value(layer("block", (3, 3), name="weight_scale_inv")[0], "weight_scale_inv", 8, 0)
    settings = {"quant_method": "fp8", "weight_block_size": [8, 16]}
    scheme, parts = scheme_of(tmp_path, stored, settings, "fp8-block")
    with pytest.raises(CheckpointError, match=r"weight_scale_inv must hold positive, finite scales; got 0 at 8;"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize(("name", "of"), [("weight_zero_point", "weights"), ("input_zero_point", "inputs")])
def test_zero_points_of_old_writers(tmp_path: Path, name: str, of: str) -> None:
    stored = {**layer("tensor", (1,))[0], "input_scale": ("F32", np.ones(1, np.float32))}
    for zero in (0x00, 0x80):  # 0 and -0
        stored[name] = ("F8_E4M3", np.array([zero], np.uint8))
        scheme, parts = scheme_of(tmp_path, stored, config("tensor", STATIC))
        widened_weight(scheme, parts, N, K)
    stored[name] = ("F8_E4M3", np.array([0x38], np.uint8))
    scheme, parts = scheme_of(tmp_path, stored, config("tensor", STATIC))
    with pytest.raises(
        CheckpointError, match=rf"{name} must be zero where .* {of} are symmetric; got the code 0x38 at 0"
    ):
        scheme.check(parts, N, K)


@pytest.mark.parametrize(
    ("args", "got"),
    [
        (QuantArgs(8, "int"), "8-bit int"),
        (QuantArgs(4, "float"), "4-bit float"),
        (QuantArgs(8, "float", symmetric=False), "8-bit float with zero points"),
    ],
)
def test_claims_of_other_weights(tmp_path: Path, args: QuantArgs, got: str) -> None:
    parts, claim = opened(tmp_path, layer("tensor", ())[0]), claimed(config("tensor"))
    with pytest.raises(
        UnsupportedError, match=rf"weights must be 8-bit float and symmetric where F8_E4M3 .*; got {got}$"
    ):
        made("float-quantized", replace(claim, weights=args), parts, N, K)


@pytest.mark.parametrize(
    ("args", "must"),
    [
        (QuantArgs(8, "int", strategy="token", dynamic=True), "must be 8-bit float, or null; got 8-bit int"),
        (QuantArgs(4, "float", strategy="token", dynamic=True), "must be 8-bit float, or null; got 4-bit float"),
        (QuantArgs(8, "float", False, "token", dynamic=True), "must be symmetric where they are float"),
        (QuantArgs(8, "float", strategy="tensor", dynamic=True), "or static per tensor; got dynamic per tensor"),
        (QuantArgs(8, "float", strategy="token"), "or static per tensor; got static per token"),
        (QuantArgs(8, "float", strategy="group", group_size=16), "or static per tensor; got static per group"),
    ],
)
def test_inputs_that_cannot_run(tmp_path: Path, args: QuantArgs, must: str) -> None:
    parts, claim = opened(tmp_path, layer("tensor", ())[0]), claimed(config("tensor"))
    with pytest.raises(UnsupportedError, match=rf"input_activations must be .*{must.removeprefix('must be ')}$"):
        made("float-quantized", replace(claim, inputs=args), parts, N, K)
