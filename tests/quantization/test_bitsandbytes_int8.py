"""bitsandbytes' LLM.int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, ConfigError, UnsupportedError
from inferno.quantization.activation import Activation
from kernel_arrays import U
from quantized_parts import Layer, claimed, made, opened, widened_weight, with_value

N, K = 9, 33


def layer() -> tuple[Layer, np.ndarray]:
    """A layer, and its weight. The last row is zeros, of which bitsandbytes makes absmax 0."""
    rng = np.random.default_rng(8)
    codes = rng.integers(-128, 128, (N, K)).astype(np.int8)
    absmax = rng.uniform(0.1, 2, N).astype(np.float32)
    codes[-1], absmax[-1] = 0, 0
    weight = codes * absmax.astype(np.float64)[:, None] / 127
    return {"weight": ("I8", codes), "SCB": ("F32", absmax), "weight_format": ("U8", np.array(0, np.uint8))}, weight


def config(**settings: Any) -> dict[str, Any]:
    return {"quant_method": "bitsandbytes", "load_in_8bit": True, **settings}


def scheme_of(folder: Path, stored: Layer, settings: dict[str, Any]) -> Any:
    parts = opened(folder, stored)
    return made("bitsandbytes-int8", claimed(settings), parts, N, K), parts


@pytest.mark.parametrize("tag", ["scalar", "one", "absent"])
def test_weight(tmp_path: Path, tag: str) -> None:
    stored, weight = layer()
    stored = {name: part for name, part in stored.items() if name != "weight_format" or tag != "absent"}
    if tag == "one":
        stored["weight_format"] = ("U8", np.zeros(1, np.uint8))
    scheme, parts = scheme_of(tmp_path, stored, config())
    assert (scheme.operation, scheme.weight_type) == ("matmul_int8", "I8")
    # three roundings: of 1 / 127, of the scale, of the product
    np.testing.assert_allclose(widened_weight(scheme, parts, N, K), weight, rtol=3 * U, atol=0)


@pytest.mark.parametrize(
    ("settings", "threshold"),
    [
        ({}, 6.0),
        ({"llm_int8_threshold": 3}, 3.0),
        ({"llm_int8_threshold": 0.0}, 0.0),
        ({"llm_int8_threshold": None}, 6.0),
    ],
)
def test_threshold(tmp_path: Path, settings: dict[str, Any], threshold: float) -> None:
    scheme, parts = scheme_of(tmp_path, layer()[0], config(**settings))
    assert scheme.activation == scheme.bind(parts, N, K)[1] == Activation("int8", threshold=threshold, one_rule=True)


@pytest.mark.parametrize("threshold", [-1, "6", True, float("inf"), float("nan")])
def test_thresholds_that_make_no_sense(tmp_path: Path, threshold: Any) -> None:
    claim = claimed(config())
    claim = replace(claim, settings={**claim.settings, "llm_int8_threshold": threshold})
    parts = opened(tmp_path, layer()[0])
    with pytest.raises(ConfigError, match=r"llm_int8_threshold must be a finite number 0 or above 0; got"):
        made("bitsandbytes-int8", claim, parts, N, K)


@pytest.mark.parametrize(
    ("tag", "form"),
    [(1, "col32"), (2, "col_turing"), (3, "col_ampere"), (4, "no known format"), (255, "no known format")],
)
def test_other_orders_of_the_codes(tmp_path: Path, tag: int, form: str) -> None:
    stored = {**layer()[0], "weight_format": ("U8", np.array(tag, np.uint8))}
    scheme, parts = scheme_of(tmp_path, stored, config())
    with pytest.raises(
        UnsupportedError, match=rf"weight_format must be 0 \(rows\); got {tag} \({form}\); save the model"
    ):
        scheme.check(parts, N, K)


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_scales_that_make_no_sense(tmp_path: Path, value: float) -> None:
    scheme, parts = scheme_of(tmp_path, with_value(layer()[0], "SCB", 2, value), config())
    with pytest.raises(CheckpointError, match=rf"SCB must hold finite numbers of at least 0; got {value:g} at 2;"):
        scheme.check(parts, N, K)


def test_sums_that_would_leave_int32(tmp_path: Path) -> None:
    parts, claim = opened(tmp_path, layer()[0]), claimed(config())
    made("bitsandbytes-int8", claim, parts, N, 65793)
    with pytest.raises(UnsupportedError, match=r"at most 65793 columns may share a scale, .*; got 65794"):
        made("bitsandbytes-int8", claim, parts, N, 65794)


@pytest.mark.parametrize("threshold", [1e-50, 1e39, 70000])
def test_thresholds_beyond_half_precision(tmp_path: Path, threshold: float) -> None:
    parts = opened(tmp_path, layer()[0])
    with pytest.raises(ConfigError, match=r"llm_int8_threshold must be 0, or from 1.17549e-38 to 65504; got "):
        made("bitsandbytes-int8", claimed(config(llm_int8_threshold=threshold)), parts, N, K)


def test_a_config_of_four_bits(tmp_path: Path) -> None:
    parts = opened(tmp_path, layer()[0])
    with pytest.raises(UnsupportedError, match=r"load_in_8bit must be true where I8 weights with SCB are stored$"):
        made("bitsandbytes-int8", claimed({"quant_method": "bitsandbytes", "load_in_4bit": True}), parts, N, K)
