"""bitsandbytes' NF4 and FP4, and the JSON that lies beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.quant_state import LEVELS, MAX_STATE_BYTES
from kernel_arrays import U
from quantized_parts import Layer, claimed, made, opened, widened_weight, with_value

# 18 * 128 / 8 > 256 blocks of absmax in two blocks of their own.
N, K, BLOCK = 18, 128, 64
OFFSET = 1.25


def layer(kind: str = "nf4", nested: bool = False, block: int = BLOCK, k: int = K, **state: Any) -> tuple[Layer, Any]:
    """A layer, and its weight; of a nested one also the sizes that enter its bound."""
    rng = np.random.default_rng(11)
    codes = rng.integers(0, 16, N * k)
    blocks = -(-N * k // block)
    levels = np.array(LEVELS[kind], np.float32)
    said: dict[str, Any] = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": [N, k]}
    parts: dict[str, Any] = {
        "weight": ("U8", (codes[::2] << 4 | codes[1::2]).astype(np.uint8).reshape(-1, 1)),
        "weight.quant_map": ("F32", levels),
    }
    if nested:
        inner = np.linspace(-1, 1, 256).astype(np.float32)
        absmax = rng.integers(0, 256, blocks).astype(np.uint8)
        outer = rng.uniform(0.5, 1, -(-blocks // 256)).astype(np.float32)
        parts["weight.absmax"] = ("U8", absmax)
        parts["weight.nested_absmax"] = ("F32", outer)
        parts["weight.nested_quant_map"] = ("F32", inner)
        said |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": OFFSET}
        scale = inner.astype(np.float64)[absmax] * np.repeat(outer, 256)[:blocks] + OFFSET
    else:
        stored = rng.uniform(0, 1, blocks).astype(np.float32)
        stored[1] = 0  # a block of zeros
        parts["weight.absmax"] = ("F32", stored)
        scale = stored.astype(np.float64)
    said |= state
    parts[f"weight.quant_state.bitsandbytes__{kind}"] = json_of(said)
    return parts, (levels.astype(np.float64)[codes] * np.repeat(scale, block)[: N * k]).reshape(N, k)


def json_of(value: Any) -> tuple[str, np.ndarray]:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return "U8", np.frombuffer(raw, np.uint8)


def config(kind: str = "nf4") -> dict[str, Any]:
    return {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}


def scheme_of(folder: Path, stored: Layer, settings: dict[str, Any] | None = None, k: int = K) -> Any:
    parts = opened(folder, stored)
    return made("bitsandbytes-4bit", claimed(settings or config()), parts, N, k), parts


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_weight(tmp_path: Path, kind: str, block: int, flat: bool) -> None:
    stored, weight = layer(kind, block=block)
    if flat:
        stored = {**stored, "weight": ("U8", stored["weight"][1].reshape(1, -1))}
    scheme, parts = scheme_of(tmp_path, stored, config(kind))
    assert (scheme.operation, scheme.weight_type, scheme.activation) == ("matmul_coded", "LUT4", None)
    np.testing.assert_array_equal(widened_weight(scheme, parts, N, K), weight.astype(np.float32))


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_quantized_absmax(tmp_path: Path, kind: str, block: int) -> None:
    k = 32 * 9 * 2  # so that 256 blocks end within a row
    stored, weight = layer(kind, nested=True, block=block, k=k)
    assert stored["weight.nested_absmax"][1].size > (block == 32)
    scheme, parts = scheme_of(tmp_path, stored, config(kind), k)
    # The scale is at least 0.25 of a sum of two numbers of at most 1.25, rounded twice: 12 U, and once by the level.
    np.testing.assert_allclose(widened_weight(scheme, parts, N, k), weight, rtol=13 * U, atol=0)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"quant_type": "fp4"}, r'quant_type must be "nf4" to match the tensors; got "fp4"'),
        ({"blocksize": 128}, r"blocksize must be 64 to match the tensors; got 128"),
        ({"shape": [K, N]}, r"shape must be \[18, 128\] to match the tensors; got \[128, 18\]"),
        ({"nested_blocksize": 256, "nested_offset": 1.0}, r"nested_blocksize must be null to match the .*; got 256"),
        ({"blocksize": True}, r"blocksize must be a positive integer; got true"),
        ({"blocksize": 0}, r"blocksize must be a positive integer; got 0"),
        ({"blocksize": None}, r"blocksize must be a positive integer; got null"),
        ({"shape": [N]}, r"shape must be a list of two sizes; got \[18\]"),
        ({"shape": [N, -1]}, r"shape must be a positive integer; got -1"),
        ({"shape": None}, r"shape must be a list of two sizes; got null"),
        ({"nested_offset": 1.0}, r"nested_blocksize must be a positive integer; got null"),
        ({"rotation": "\x1b[31m"}, r'must hold only keys that are known; got "rotation"'),
    ],
)
def test_a_state_that_does_not_fit(tmp_path: Path, state: dict[str, Any], said: str) -> None:
    scheme, parts = scheme_of(tmp_path, layer(**state)[0])
    with pytest.raises(CheckpointError, match=rf"weight\.quant_state\.bitsandbytes__nf4: {said}"):
        scheme.check(parts, N, K)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"nested_blocksize": 128}, r"nested_blocksize must be 256 to match the tensors; got 128"),
        ({"nested_offset": None}, r"nested_offset must be a finite float32; got null"),
        ({"nested_offset": True}, r"nested_offset must be a finite float32; got true"),
        ({"nested_offset": 1e39}, r"nested_offset must be a finite float32; got 1e\+39"),
        ({"nested_offset": 10**400}, r"nested_offset must be a finite float32; got 1000"),
        ({"nested_offset": float("nan")}, r"nested_offset must be a finite float32; got NaN"),
    ],
)
def test_a_nested_state_that_does_not_fit(tmp_path: Path, state: dict[str, Any], said: str) -> None:
    scheme, parts = scheme_of(tmp_path, layer(nested=True, **state)[0])
    with pytest.raises(CheckpointError, match=said):
        scheme.check(parts, N, K)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", r"must be JSON; Expecting value"),
        (b"{\x80}", r"must be JSON; it is no UTF-8"),
        (b'{"blocksize": 64, "blocksize": 32}', r"must be JSON; .*gives a key twice"),
        (b"[" * 4000, r"must be JSON; "),
        (b"[]", r"must be a JSON object; got \[\]"),
    ],
)
def test_a_state_that_is_no_json(tmp_path: Path, raw: bytes, said: str) -> None:
    stored = {**layer()[0], "weight.quant_state.bitsandbytes__nf4": json_of(raw)}
    scheme, parts = scheme_of(tmp_path, stored)
    with pytest.raises(CheckpointError, match=rf"weight\.quant_state\.bitsandbytes__nf4: {said}"):
        scheme.check(parts, N, K)


def test_a_large_state(tmp_path: Path) -> None:
    stored = {**layer()[0], "weight.quant_state.bitsandbytes__nf4": json_of(b" " * (MAX_STATE_BYTES + 1))}
    with pytest.raises(CheckpointError, match=r"bitsandbytes__nf4 must be at most 4096 bytes; got 4097"):
        scheme_of(tmp_path, stored)


def test_no_state(tmp_path: Path) -> None:
    stored = {name: part for name, part in layer()[0].items() if "state" not in name}
    with pytest.raises(CheckpointError, match=r"must have one of .*__nf4 and .*__fp4 beside it; got neither; save"):
        scheme_of(tmp_path, stored)


def test_both_states(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must have one of .*__nf4 and .*__fp4 beside it; got both; save"):
        scheme_of(tmp_path, {**layer("nf4")[0], **layer("fp4")[0]})


def test_a_config_of_the_other_type(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"bnb_4bit_quant_type must agree with .*, which say nf4; got fp4$"):
        scheme_of(tmp_path, layer()[0], config("fp4"))


def test_a_config_of_eight_bits(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"load_in_4bit must be true where U8 weights with absmax are stored$"):
        scheme_of(tmp_path, layer()[0], {"quant_method": "bitsandbytes", "load_in_8bit": True})


@pytest.mark.parametrize(("k", "block"), [(96, 64), (32, 64), (64, 128)])
def test_blocks_in_two_rows(tmp_path: Path, k: int, block: int) -> None:
    must = f"in_features must be a multiple of the block size, {block}, so that no block lies in two rows; got {k}$"
    with pytest.raises(UnsupportedError, match=must):
        scheme_of(tmp_path, layer(block=block, k=k)[0], k=k)


@pytest.mark.parametrize("shape", [(35,), (37,), (36, 1), ()])
def test_absmax_of_no_size_of_blocks(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stored = {**layer()[0], "weight.absmax": ("F32", np.ones(shape, np.float32))}
    must = r"weight\.absmax must have one element for each block of 18 x 128 codes, 36 for blocks of 64; got \["
    with pytest.raises(CheckpointError, match=must):
        scheme_of(tmp_path, stored)


@pytest.mark.parametrize(
    ("name", "must", "nested"),
    [
        ("weight.absmax", "hold finite numbers of at least 0", False),
        ("weight.nested_absmax", "hold finite numbers of at least 0", True),
        ("weight.nested_quant_map", "hold finite numbers", True),
    ],
)
def test_scales_that_make_no_sense(tmp_path: Path, name: str, must: str, nested: bool) -> None:
    for value in (np.nan, np.inf, *(() if "map" in name else (-1.0,))):
        scheme, parts = scheme_of(tmp_path, with_value(layer(nested=nested)[0], name, 0, value))
        with pytest.raises(CheckpointError, match=rf"{name} must {must}; got {value:g} at 0;"):
            scheme.check(parts, N, K)


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_a_table_of_other_values(tmp_path: Path, value: float) -> None:
    scheme, parts = scheme_of(tmp_path, with_value(layer()[0], "weight.quant_map", 7, value))
    with pytest.raises(
        CheckpointError, match=rf"quant_map must hold the values of nf4; got {value:g} at 7 instead of 0;"
    ):
        scheme.check(parts, N, K)


def test_the_table_of_the_other_type(tmp_path: Path) -> None:
    stored = {**layer()[0], "weight.quant_map": layer("fp4")[0]["weight.quant_map"]}
    scheme, parts = scheme_of(tmp_path, stored)
    with pytest.raises(
        CheckpointError, match=r"quant_map must hold the values of nf4; got 0 at 0 instead of -1 and 15 more"
    ):
        scheme.check(parts, N, K)


def test_quantized_absmax_needs_its_own_tensors(tmp_path: Path) -> None:
    scheme, _ = scheme_of(tmp_path, layer(nested=True)[0])
    specs = scheme.tensors(N, K)
    assert {"weight.nested_absmax", "weight.nested_quant_map"} <= {name for name in specs if not specs[name].optional}
    assert "weight.nested_absmax" not in scheme_of(tmp_path, layer()[0])[0].tensors(N, K)
