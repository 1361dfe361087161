"""GPTQ: zero points of both formats, 4 and 8 bits, groups in any order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.args import QuantArgs
from quantized_parts import Layer, claimed, made, opened, scales, widened_weight, with_value
from quantized_writers import pack

N, K, GROUP = 16, 40, 16
ORDER = np.arange(K) // GROUP
SHUFFLED = np.random.default_rng(9).permutation(ORDER)


def layer(
    bits: int = 4, version: int = 1, order: np.ndarray | None = ORDER, dtype: str = "F16", symmetric: bool = False
) -> tuple[Layer, np.ndarray]:
    """A layer, and its weight."""
    rng = np.random.default_rng(bits)
    blocks = ORDER if order is None else order
    groups, top = int(blocks.max()) + 1, (1 << bits) - 1
    codes = rng.integers(0, top + 1, (K, N))
    added = 1 if version == 1 else 0
    zeros = rng.integers(added, top + 1 + added, (groups, N))  # 16 and 256 too, in the first format
    zeros[0, :2] = added, top + added
    if symmetric:
        zeros[...] = (top + 1) // 2
    stored, scale = scales(rng, (groups, N), dtype)
    parts = {
        "qweight": ("I32", np.ascontiguousarray(pack(codes.T, bits).T)),
        "qzeros": ("I32", pack(zeros - added, bits)),
        "scales": stored,
    }
    if order is not None:
        parts["g_idx"] = ("I32", order.astype(np.int32))
    return parts, ((codes - zeros[blocks]) * scale[blocks]).T


def config(bits: int = 4, **settings: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": False, "sym": False, **settings}


def scheme_of(folder: Path, stored: Layer, settings: dict[str, Any]) -> Any:
    parts = opened(folder, stored)
    return made("gptq", claimed(settings), parts, N, K), parts


@pytest.mark.parametrize("dtype", ["F16", "F32", "BF16"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
def test_weight(tmp_path: Path, bits: int, version: int, dtype: str) -> None:
    stored, weight = layer(bits, version, dtype=dtype)
    form = {} if version == 1 else {"checkpoint_format": "gptq_v2"}
    scheme, parts = scheme_of(tmp_path, stored, config(bits, **form))
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", f"GPTQ{bits}", None)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("desc_act", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_groups_in_order_whatever_is_said(tmp_path: Path, bits: int, desc_act: bool) -> None:
    stored, weight = layer(bits)
    scheme, parts = scheme_of(tmp_path, stored, config(bits, desc_act=desc_act))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
def test_columns_of_a_group_apart(tmp_path: Path, bits: int, version: int) -> None:
    stored, weight = layer(bits, version, SHUFFLED)
    form = "gptq" if version == 1 else "gptq_v2"
    scheme, parts = scheme_of(tmp_path, stored, config(bits, desc_act=True, checkpoint_format=form))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_no_order(tmp_path: Path, bits: int) -> None:
    stored, weight = layer(bits, order=None)
    scheme, parts = scheme_of(tmp_path, stored, config(bits))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("desc_act", [False, True])
def test_one_group_in_a_row(tmp_path: Path, desc_act: bool) -> None:
    stored, weight = layer(order=np.zeros(K, int))
    scheme, parts = scheme_of(tmp_path, stored, config(group_size=-1, desc_act=desc_act))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_one_group_in_a_row_needs_no_order(tmp_path: Path) -> None:
    stored, weight = layer(order=np.zeros(K, int))
    stored = {name: part for name, part in stored.items() if name != "g_idx"}
    scheme, parts = scheme_of(tmp_path, stored, config(group_size=-1, desc_act=True))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("version", [1, 2])
def test_symmetric_weights_have_their_zeros_stored(tmp_path: Path, version: int) -> None:
    stored, weight = layer(version=version, symmetric=True)
    form = "gptq" if version == 1 else "gptq_v2"
    scheme, parts = scheme_of(tmp_path, stored, config(sym=True, checkpoint_format=form))
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


def test_negative_scales(tmp_path: Path) -> None:
    stored, weight = layer()
    stored = {**stored, "scales": ("F16", -stored["scales"][1])}
    scheme, parts = scheme_of(tmp_path, stored, config())
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), -weight.astype(np.float32))


@pytest.mark.parametrize("value", [0, np.nan, np.inf, -np.inf])
def test_scales_that_make_no_sense(tmp_path: Path, value: float) -> None:
    scheme, parts = scheme_of(tmp_path, with_value(layer()[0], "scales", 6, value), config())
    with pytest.raises(CheckpointError, match=rf"scales must hold finite scales other than 0; got {value:g} at 6;"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize("value", [3, -1])
def test_groups_that_do_not_exist(tmp_path: Path, value: int) -> None:
    scheme, parts = scheme_of(tmp_path, with_value(layer()[0], "g_idx", 1, value), config(desc_act=True))
    with pytest.raises(CheckpointError, match=rf"g_idx must hold groups in \[0, 3\); got {value} at 1;"):
        scheme.check(parts, N, K)


def test_an_order_that_the_config_does_not_know(tmp_path: Path) -> None:
    scheme, parts = scheme_of(tmp_path, layer(order=SHUFFLED)[0], config())
    with pytest.raises(
        CheckpointError, match=r"g_idx must name one group after the other where desc_act is false; got "
    ):
        scheme.check(parts, N, K)


def test_an_order_that_is_missing(tmp_path: Path) -> None:
    must = r"g_idx must be there where desc_act is true; it is missing, and the groups of the columns"
    with pytest.raises(CheckpointError, match=must):
        scheme_of(tmp_path, layer(order=None)[0], config(desc_act=True))


@pytest.mark.parametrize("bits", [2, 3])
def test_bits_that_are_not_implemented(tmp_path: Path, bits: int) -> None:
    with pytest.raises(UnsupportedError, match=f"bits must be 4 or 8 where quant_method is gptq; got {bits}$"):
        scheme_of(tmp_path, layer()[0], config(bits))


def test_another_format(tmp_path: Path) -> None:
    parts, claim = opened(tmp_path, layer()[0]), replace(claimed(config()), format="marlin")
    with pytest.raises(UnsupportedError, match=r'checkpoint_format must be gptq or gptq_v2; got "marlin"$'):
        made("gptq", claim, parts, N, K)


def test_blocks(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    claim = replace(claimed(config()), weights=QuantArgs(4, "int", strategy="tensor"))
    with pytest.raises(UnsupportedError, match=r"scales must stand for groups or channels; got tensor$"):
        made("gptq", claim, parts, N, K)


@pytest.mark.parametrize(
    ("bits", "n", "k", "must"),
    [
        (4, 12, 40, "out_features must be a multiple of 8, which an int32 holds of 4 bits; got 12"),
        (4, 16, 44, "in_features must be a multiple of 8, which an int32 holds of 4 bits; got 44"),
        (8, 14, 40, "out_features must be a multiple of 4, which an int32 holds of 8 bits; got 14"),
        (8, 16, 42, "in_features must be a multiple of 4, which an int32 holds of 8 bits; got 42"),
    ],
)
def test_shapes_that_words_do_not_fill(tmp_path: Path, bits: int, n: int, k: int, must: str) -> None:
    parts = opened(tmp_path, layer(bits)[0])
    with pytest.raises(UnsupportedError, match=f"{must}$"):
        made("gptq", claimed(config(bits)), parts, n, k)
