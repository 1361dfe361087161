"""AutoAWQ's gemm version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.args import QuantArgs
from numpy_codes import AWQ_ORDER
from quantized_parts import Layer, claimed, made, opened, scales, widened_weight, with_value
from quantized_writers import pack

N, K, GROUP = 24, 40, 16


def words(codes: np.ndarray) -> np.ndarray:
    """(rows, n) -> (rows, n / 8), eight columns to a word in AutoAWQ's order."""
    return pack(codes.reshape(len(codes), -1, 8)[:, :, AWQ_ORDER].reshape(codes.shape), 4)


def layer(group_size: int = GROUP, dtype: str = "F16", zero_point: bool = True) -> tuple[Layer, np.ndarray]:
    """A layer, and its weight."""
    rng = np.random.default_rng(7)
    blocks = np.arange(K) // group_size
    codes = rng.integers(0, 16, (K, N))
    zeros = rng.integers(0, 16, (int(blocks.max()) + 1, N)) if zero_point else np.full((blocks.max() + 1, N), 8)
    stored, scale = scales(rng, zeros.shape, dtype)
    parts = {"qweight": ("I32", words(codes)), "qzeros": ("I32", words(zeros)), "scales": stored}
    return parts, ((codes - zeros[blocks]) * scale[blocks]).T


def config(**settings: Any) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True, **settings}


def scheme_of(folder: Path, stored: Layer, settings: dict[str, Any]) -> Any:
    parts = opened(folder, stored)
    return made("awq", claimed(settings), parts, N, K), parts


@pytest.mark.parametrize("zero_point", [True, False])
@pytest.mark.parametrize("dtype", ["F16", "F32", "BF16"])
def test_weight(tmp_path: Path, dtype: str, zero_point: bool) -> None:
    stored, weight = layer(dtype=dtype, zero_point=zero_point)
    scheme, parts = scheme_of(tmp_path, stored, config(zero_point=zero_point))
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", "AWQ4", None)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("group_size", [-1, 8, 40])
def test_groups(tmp_path: Path, group_size: int) -> None:
    stored, weight = layer(K if group_size == -1 else group_size)
    scheme, parts = scheme_of(tmp_path, stored, config(group_size=group_size))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_negative_scales(tmp_path: Path) -> None:
    stored, weight = layer()
    scheme, parts = scheme_of(tmp_path, {**stored, "scales": ("F16", -stored["scales"][1])}, config())
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), -weight.astype(np.float32))


@pytest.mark.parametrize("value", [0, np.nan, np.inf, -np.inf])
def test_scales_that_make_no_sense(tmp_path: Path, value: float) -> None:
    scheme, parts = scheme_of(tmp_path, with_value(layer()[0], "scales", 6, value), config())
    with pytest.raises(CheckpointError, match=rf"scales must hold finite scales other than 0; got {value:g} at 6;"):
        scheme.check(parts, N, K)


def test_another_version(tmp_path: Path) -> None:
    parts, claim = opened(tmp_path, layer()[0]), replace(claimed(config()), format="gemv")
    with pytest.raises(UnsupportedError, match=r'version must be gemm where quant_method is awq; got "gemv"$'):
        made("awq", claim, parts, N, K)


def test_bits_that_are_not_implemented(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"bits must be 4 where quant_method is awq; got 8$"):
        scheme_of(tmp_path, layer()[0], config(bits=8))


def test_blocks(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    claim = replace(claimed(config()), weights=QuantArgs(4, "int", strategy="tensor"))
    with pytest.raises(UnsupportedError, match=r"scales must stand for groups or channels; got tensor$"):
        made("awq", claim, parts, N, K)


def test_output_features_that_words_do_not_hold(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    must = "out_features must be a multiple of 8, which an int32 holds of 4 bits; got 20$"
    with pytest.raises(UnsupportedError, match=must):
        made("awq", claimed(config()), parts, 20, K)


def test_gptq_packs_along_the_other_axis(tmp_path: Path) -> None:
    """What the config calls AWQ and is packed as GPTQ has other shapes, unless every dimension is equal."""
    gptq = {**layer()[0], "qweight": ("I32", np.zeros((K // 8, N), np.int32))}
    scheme, parts = scheme_of(tmp_path, gptq, config())
    assert not scheme.tensors(N, K)["qweight"].fits(parts["qweight"])
