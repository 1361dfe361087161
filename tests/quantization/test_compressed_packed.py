"""compressed-tensors' weights in int32 words: W8A16 and W4A16."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.activation import Activation
from inferno.quantization.args import QuantArgs
from quantized_parts import Layer, claimed, compressed, made, opened, scales, widened_weight, with_value
from quantized_writers import pack

N, K, GROUP = 11, 40, 16
GROUPS = 3  # the last one is half a group


def block_of(strategy: str) -> tuple[int, np.ndarray]:
    """Blocks along a row, and that of each column."""
    count = GROUPS if strategy == "group" else 1
    return count, np.arange(K) // GROUP if count > 1 else np.zeros(K, int)


def layer(
    bits: int = 4,
    strategy: str = "group",
    symmetric: bool = True,
    dtype: str = "F32",
    order: np.ndarray | None = None,
    k: int = K,
) -> tuple[Layer, np.ndarray]:
    """A layer, and its weight."""
    rng = np.random.default_rng(bits)
    half = 1 << (bits - 1)
    codes = rng.integers(-half, half, (N, K))[:, :k]
    count, blocks = block_of(strategy)
    blocks = (blocks if order is None else order)[:k]
    shape = (1,) if strategy == "tensor" else (N, count)
    stored, scale = scales(rng, shape, dtype)
    zero = np.zeros(shape, int) if symmetric else rng.integers(-half, half, shape)
    parts = {
        "weight_packed": ("I32", pack(codes + half, bits)),
        "weight_scale": stored,
        "weight_shape": ("I64", np.array([N, k], np.int64)),
    }
    if not symmetric and strategy == "tensor":
        parts["weight_zero_point"] = ("I8", zero.astype(np.int8))
    elif not symmetric:
        parts["weight_zero_point"] = ("I32", np.ascontiguousarray(pack(zero.T + half, bits).T))
    if order is not None:
        parts["weight_g_idx"] = ("I32", order.astype(np.int32))
    scale, zero = (np.broadcast_to(each, (N, count))[:, blocks] for each in (scale, zero))
    return parts, (codes - zero) * scale


def config(bits: int = 4, strategy: str = "group", symmetric: bool = True, **weights: Any) -> dict[str, Any]:
    args = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy, **weights}
    return compressed({**args, "group_size": GROUP} if strategy == "group" else args, None, "pack-quantized")


def scheme_of(folder: Path, stored: Layer, settings: dict[str, Any], k: int = K) -> Any:
    parts = opened(folder, stored)
    return made("pack-quantized", claimed(settings), parts, N, k), parts


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("strategy", ["group", "channel", "tensor"])
@pytest.mark.parametrize("bits", [4, 8])
def test_weight(tmp_path: Path, bits: int, strategy: str, symmetric: bool, dtype: str) -> None:
    stored, weight = layer(bits, strategy, symmetric, dtype)
    scheme, parts = scheme_of(tmp_path, stored, config(bits, strategy, symmetric))
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", f"U{bits}", None)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("zero_shape", [(1,), (), (1, 1)])
@pytest.mark.parametrize("scale_shape", [(1,), (), (1, 1)])
@pytest.mark.parametrize("bits", [4, 8])
def test_one_scale_however_it_is_wrapped(tmp_path: Path, bits: int, scale_shape: Any, zero_shape: Any) -> None:
    stored, weight = layer(bits, "tensor", False)
    for name, shape in (("weight_scale", scale_shape), ("weight_zero_point", zero_shape)):
        dtype, array = stored[name]
        stored = {**stored, name: (dtype, array.reshape(shape))}
    scheme, parts = scheme_of(tmp_path, stored, config(bits, "tensor", False))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("k", [1, 7, 9, 33, 39])
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_that_end_within_a_word(tmp_path: Path, bits: int, k: int, symmetric: bool) -> None:
    stored, weight = layer(bits, "channel", symmetric, k=k)
    scheme, parts = scheme_of(tmp_path, stored, config(bits, "channel", symmetric), k)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, k), weight.astype(np.float32))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_columns_of_a_group_apart(tmp_path: Path, bits: int, symmetric: bool) -> None:
    order = np.random.default_rng(3).permutation(np.arange(K) // GROUP)
    stored, weight = layer(bits, "group", symmetric, order=order)
    scheme, parts = scheme_of(tmp_path, stored, config(bits, "group", symmetric, actorder="group"))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("actorder", [None, "weight", "static", "group"])
@pytest.mark.parametrize("order", [np.arange(K) // GROUP, np.full(K, -1)], ids=["in order", "none"])
def test_an_order_that_changes_nothing(tmp_path: Path, order: np.ndarray, actorder: str | None) -> None:
    stored, weight = layer(order=np.arange(K) // GROUP)
    stored = {**stored, "weight_g_idx": ("I32", order.astype(np.int32))}
    scheme, parts = scheme_of(tmp_path, stored, config(actorder=actorder))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_an_order_that_is_missing(tmp_path: Path) -> None:
    must = r"weight_g_idx must be there where actorder is group; it is missing, .* with actorder static$"
    with pytest.raises(CheckpointError, match=must):
        scheme_of(tmp_path, layer()[0], config(actorder="group"))


@pytest.mark.parametrize("actorder", [None, "weight"])
def test_an_order_that_the_config_does_not_know(tmp_path: Path, actorder: str | None) -> None:
    order = np.arange(K)[::-1] // GROUP
    scheme, parts = scheme_of(tmp_path, layer(order=order)[0], config(actorder=actorder))
    with pytest.raises(CheckpointError, match=r"weight_g_idx must be in order where the config has no actorder of gro"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize("value", [GROUPS, -1, 2**31 - 1])
def test_groups_that_do_not_exist(tmp_path: Path, value: int) -> None:
    stored = with_value(layer(order=np.arange(K) // GROUP)[0], "weight_g_idx", 5, value)
    scheme, parts = scheme_of(tmp_path, stored, config(actorder="group"))
    with pytest.raises(CheckpointError, match=rf"weight_g_idx must hold groups in \[0, 3\); got {value} at 5;"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize("dtype", ["I64", "I32"])
def test_the_shape_of_another_weight(tmp_path: Path, dtype: str) -> None:
    shape = np.array([K, N], np.int64 if dtype == "I64" else np.int32)
    scheme, parts = scheme_of(tmp_path, {**layer()[0], "weight_shape": (dtype, shape)}, config())
    with pytest.raises(CheckpointError, match=r"weight_shape must be \[11, 40\], .*; got \[40, 11\];"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize(
    ("bits", "width", "held"),
    [
        (4, 10, "as for 7 or 8 bits"),  # 7 bits, whole codes to a word
        (8, 5, "as for 4 bits"),
        (4, 7, "as for 5 bits"),  # dense; whole codes to a word are 40 / 6 = 7, too
        (4, 8, "as for 6 bits"),
        (8, 9, "as for 7 bits"),
        (8, 4, "as for 3 bits"),
        (8, 3, "as for 2 bits"),
        (4, 11, "which fits no packing"),
    ],
)
def test_a_packed_width_of_other_bits(tmp_path: Path, bits: int, width: int, held: str) -> None:
    stored = {**layer(bits)[0], "weight_packed": ("I32", np.zeros((N, width), np.int32))}
    words = K * bits // 32
    must = (
        rf"11 x 40 codes of {bits} bits take a weight_packed of \[11, {words}\]; got \[11, {width}\], {held}; correct"
    )
    with pytest.raises(CheckpointError, match=must):
        scheme_of(tmp_path, stored, config(bits))


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 6, 7])
def test_bits_that_are_not_implemented(tmp_path: Path, bits: int) -> None:
    parts, claim = opened(tmp_path, layer()[0]), claimed(config())
    assert claim.weights is not None
    claim = replace(claim, weights=replace(claim.weights, num_bits=bits))
    with pytest.raises(
        UnsupportedError, match=f"must be 4-bit or 8-bit int where they are packed; got {bits}-bit int$"
    ):
        made("pack-quantized", claim, parts, N, K)


def test_int8_inputs(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    claim = replace(claimed(config()), inputs=QuantArgs(8, "int", strategy="token", dynamic=True))
    with pytest.raises(
        UnsupportedError, match=r"input_activations must be null or 8-bit float beside packed weights; "
    ):
        made("pack-quantized", claim, parts, N, K)


def test_float8_inputs(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    claim = replace(claimed(config()), inputs=QuantArgs(8, "float", strategy="token", dynamic=True))
    scheme = made("pack-quantized", claim, parts, N, K)
    assert (scheme.activation, scheme.bind(parts, N, K)[1]) == (Activation("e4m3"), Activation("e4m3"))


def test_zero_points_of_blocks(tmp_path: Path) -> None:
    parts, claim = opened(tmp_path, layer()[0]), claimed(config())
    args = QuantArgs(4, "int", symmetric=False, strategy="block", block_structure=(4, 16))
    with pytest.raises(UnsupportedError, match=r"packed zero points must stand for groups or channels; got blocks$"):
        made("pack-quantized", replace(claim, weights=args), parts, N, K)


@pytest.mark.parametrize(("bits", "zero", "bounds"), [(4, 8, r"\[-8, 7\]"), (4, -9, r"\[-8, 7\]")])
def test_a_zero_point_out_of_range(tmp_path: Path, bits: int, zero: int, bounds: str) -> None:
    stored = with_value(layer(bits, "tensor", False)[0], "weight_zero_point", 0, zero)
    scheme, parts = scheme_of(tmp_path, stored, config(bits, "tensor", False))
    with pytest.raises(CheckpointError, match=rf"weight_zero_point must be in {bounds} for {bits} bits; got {zero};"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize("zero", [-8, 7])
def test_a_zero_point_at_the_end_of_the_range(tmp_path: Path, zero: int) -> None:
    stored = with_value(layer(4, "tensor", False)[0], "weight_zero_point", 0, zero)
    scheme, parts = scheme_of(tmp_path, stored, config(4, "tensor", False))
    scheme.check(parts, N, K)


def test_a_shape_in_32_bits(tmp_path: Path) -> None:
    stored, weight = layer()
    stored = {**stored, "weight_shape": ("I32", np.array([N, K], np.int32))}
    scheme, parts = scheme_of(tmp_path, stored, config())
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_zero_points_of_symmetric_weights(tmp_path: Path) -> None:
    zeros = np.zeros((N, GROUPS), np.int8)
    scheme, parts = scheme_of(tmp_path, {**layer()[0], "weight_zero_point": ("I8", zeros)}, config())
    scheme.check(parts, N, K)
    zeros[2, 1] = 1
    scheme, parts = scheme_of(tmp_path, {**layer()[0], "weight_zero_point": ("I8", zeros)}, config())
    with pytest.raises(
        CheckpointError, match=r"weight_zero_point must be zero where .* weights are symmetric; got 1 at 7;"
    ):
        scheme.check(parts, N, K)


@pytest.mark.parametrize("value", [0, -0.5, np.nan, np.inf])
def test_scales_that_make_no_sense(tmp_path: Path, value: float) -> None:
    scheme, parts = scheme_of(tmp_path, with_value(layer()[0], "weight_scale", 4, value), config())
    with pytest.raises(CheckpointError, match=rf"weight_scale must hold positive, finite scales; got {value:g} at 4;"):
        scheme.check(parts, N, K)


def test_zero_points_are_needed_where_the_config_claims_them(tmp_path: Path) -> None:
    for strategy, dtype in (("group", "I32"), ("channel", "I32"), ("tensor", "I8")):
        scheme, _ = scheme_of(tmp_path, layer(4, strategy, False)[0], config(4, strategy, False))
        spec = scheme.tensors(N, K)["weight_zero_point"]
        assert (spec.optional, spec.dtypes) == (False, (dtype,))
