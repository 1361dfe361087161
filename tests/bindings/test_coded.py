"""A matrix of codes is checked when it is made: what is taken, and every refusal by its words."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inferno._core import CodedWeight

LEVELS = np.arange(16, dtype=np.float32)


def scales(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def words(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int32)


def octets(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def nested() -> dict[str, Any]:
    return {
        "scales": octets(4, 3),
        "nested_levels": scales(256),
        "nested_scales": scales(3),
        "nested_block": 5,
        "nested_offset": 0.5,
    }


# For each kind, arguments that it takes: n = 8, k = 24, groups of 10.
GOOD: dict[str, Callable[[], dict[str, Any]]] = {
    **{
        kind: lambda kind=kind: {"codes": octets(8, 24), "scales": scales(8, 3), "block": (1, 10)}
        for kind in ("i8", "u8", "e4m3")
    },
    "u4": lambda: {"codes": octets(8, 12), "scales": scales(8, 3), "block": (1, 10)},
    "lut4": lambda: {"codes": octets(8, 12), "scales": scales(4, 3), "block": (2, 10), "levels": LEVELS},
    "gptq4": lambda: {"codes": words(3, 8), "scales": scales(3, 8), "block": (1, 10)},
    "gptq8": lambda: {"codes": words(6, 8), "scales": scales(3, 8), "block": (1, 10)},
    "awq4": lambda: {"codes": words(24, 1), "scales": scales(3, 8), "block": (1, 10)},
}


def make(kind: str, change: dict[str, Any]) -> CodedWeight:
    arguments = {"n": 8, "k": 24, **GOOD.get(kind, GOOD["i8"])(), **change}
    return CodedWeight(kind, arguments.pop("codes"), arguments.pop("n"), arguments.pop("k"), **arguments)


@pytest.mark.parametrize("kind", GOOD)
def test_attributes(kind: str) -> None:
    weight = make(kind, {})
    assert (weight.kind, weight.n, weight.k) == (kind, 8, 24)
    good = GOOD[kind]()
    assert weight.nbytes == good["codes"].nbytes + good["scales"].nbytes


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("i8", {"codes": np.zeros(8 * 24, np.int8)}),
        ("i8", {"codes": words(48)}),
        ("i8", {"scales": scales(24)}),
        ("i8", {"scales": scales(8), "block": (1, 24)}),
        ("i8", {"scales": scales(8, 1), "block": (1, 100)}),
        ("i8", {"scales": scales(1, 8), "block": (1, 24)}),
        ("i8", {"scales": scales(1), "block": (8, 24)}),
        ("i8", {"scales": np.array(1, np.float16), "block": (8, 24)}),
        ("i8", {"scales": np.ones((3, 2), np.uint16), "block": (3, 16)}),
        ("i8", {"zero": -128}),
        ("i8", {"zeros": np.zeros((8, 3), np.int8)}),
        ("u8", {"zero": 255}),
        ("u8", {"zeros": octets(8, 3)}),
        ("u8", {"zeros": np.zeros(24, np.int8)}),
        ("u8", {"zeros": words(2, 3)}),
        ("u8", {"k": 21, "codes": octets(8, 24)}),  # rows of whole words
        ("u8", {"k": 21, "codes": octets(8, 21)}),
        ("u4", {"k": 21, "codes": octets(8, 12)}),
        ("u4", {"k": 21, "codes": octets(8, 11)}),
        ("u4", {"n": 9, "codes": octets(9, 12), "scales": scales(9, 3), "zeros": words(2, 3)}),
        ("u4", {"block_of": np.repeat([2, 0, 1], 8).astype(np.int32)}),
        ("gptq4", {"zeros": words(3, 1), "zero": 1}),
        ("gptq4", {"zeros": octets(3, 8)}),
        ("gptq4", {"n": 7, "codes": words(3, 7), "scales": scales(3, 7)}),
        ("gptq8", {"zeros": words(3, 2)}),
        ("awq4", {"zeros": words(3, 1)}),
        ("awq4", {"k": 23, "codes": words(23, 1)}),
        ("i8", {"factor": 1 / 127}),
        ("lut4", {**nested(), "block": (2, 10)}),
    ],
)
def test_taken(kind: str, change: dict[str, Any]) -> None:
    assert make(kind, change).kind == kind


def test_bytes_of_zeros_and_nested_scales_count() -> None:
    assert make("u8", {"zeros": octets(8, 3)}).nbytes == 8 * 24 + 8 * 3 * 4 + 8 * 3
    assert make("lut4", nested()).nbytes == 8 * 12 + 12 + 3 * 4


INTEGERS = "codes must be a contiguous array of int8, uint8 or int32; got"
BLOCK = "must be a contiguous (8, 3) to match n, k and block; got"
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("i4", {}, "kind must be one of i8, u8, u4, lut4, e4m3, gptq4, gptq8, awq4; got i4"),
    ("i8", {"n": 0}, "n must be in [1, 2147483647]; got 0"),
    ("i8", {"n": -1}, "n must be in [1, 2147483647]; got -1"),
    ("i8", {"k": 0}, "k must be in [1, 2147483647]; got 0"),
    ("i8", {"k": 2**31}, "k must be in [1, 2147483647]; got 2147483648"),
    (
        "i8",
        {"n": 2**31 - 1, "k": 2**31 - 1, "block": (1, 8)},
        "codes must have 4611686014132420609 bytes to match n and k; got (8, 24)",
    ),
    ("lut4", {"k": 23}, "k must be a multiple of 2 for kind lut4; got 23"),
    ("gptq4", {"k": 20}, "k must be a multiple of 8 for kind gptq4; got 20"),
    ("gptq8", {"k": 22}, "k must be a multiple of 4 for kind gptq8; got 22"),
    ("awq4", {"n": 12}, "n must be a multiple of 8 for kind awq4; got 12"),
    ("i8", {"block": (0, 10)}, "block's rows must be in [1, 2147483647]; got 0"),
    ("i8", {"block": (1, -10)}, "block's columns must be in [1, 2147483647]; got -10"),
    ("gptq4", {"block": (2, 10)}, "block must have one row for kind gptq4; got 2"),
    ("i8", {"codes": np.zeros((8, 24), np.float32)}, f"{INTEGERS} (8, 24) float32"),
    ("i8", {"codes": np.zeros((8, 24), bool)}, f"{INTEGERS} (8, 24) bool"),
    ("i8", {"codes": np.zeros((8, 6), ">i4")}, f"{INTEGERS} (8, 6) >i4"),
    ("i8", {"codes": np.zeros((8, 6), np.uint32)}, f"{INTEGERS} (8, 6) uint32"),
    ("i8", {"codes": octets(8, 48)[:, ::2]}, f"{INTEGERS} (8, 24) uint8, strided"),
    ("i8", {"codes": octets(8, 23)}, "codes must have 192 bytes to match n and k; got (8, 23) uint8"),
    ("i8", {"k": 23}, "codes must have 184 bytes to match n and k; got (8, 24) uint8"),
    ("u8", {"k": 23, "codes": octets(8, 22)}, "codes must have 184 or 192 bytes to match n and k; got (8, 22) uint8"),
    ("u4", {"codes": octets(8, 24)}, "codes must have 96 bytes to match n and k; got (8, 24) uint8"),
    ("gptq4", {"codes": words(4, 8)}, "codes must have 96 bytes to match n and k; got (4, 8) int32"),
    ("awq4", {"codes": words(24, 8)}, "codes must have 96 bytes to match n and k; got (24, 8) int32"),
    ("i8", {"scales": np.ones((8, 3))}, "scales must be float32, float16 or uint16 (BF16); got (8, 3) float64"),
    ("i8", {"scales": octets(8, 3)}, "scales must be float32, float16 or uint16 (BF16); got (8, 3) uint8"),
    ("i8", {"scales": scales(8, 6)[:, ::2]}, "scales must be contiguous; got (8, 3) float32, strided"),
    ("i8", {"scales": scales(3, 8)}, f"scales {BLOCK} (3, 8) float32"),
    ("i8", {"scales": scales(8)}, f"scales {BLOCK} (8,) float32"),
    ("i8", {"scales": scales(8, 4)}, f"scales {BLOCK} (8, 4) float32"),
    ("gptq4", {"scales": scales(8, 3)}, "scales must be a contiguous (3, 8) to match n, k and block; got (8, 3)"),
    ("i8", {"factor": float("nan")}, "factor must be finite; got nan"),
    ("i8", {"factor": 1e39}, "factor must be finite; got 1e+39"),
    ("i8", {"zero": 256}, "zero must be in [-128, 255]; got 256"),
    ("i8", {"zero": -129}, "zero must be in [-128, 255]; got -129"),
    ("i8", {"zeros": scales(8, 3)}, "zeros must be int8, uint8, or int32 (packed); got (8, 3) float32"),
    ("i8", {"zeros": words(1, 3)}, "zeros must be int8 or uint8 to match kind i8; got (1, 3) int32"),
    ("i8", {"zeros": octets(3, 8)}, f"zeros {BLOCK} (3, 8) uint8"),
    ("i8", {"zeros": octets(8, 6)[:, ::2]}, f"zeros {BLOCK} (8, 3) uint8, strided"),
    ("i8", {"zeros": octets(8, 3), "zero": 1}, "zero must be 0 with zeros that are not packed; got 1"),
    ("u4", {"zeros": words(2, 3)}, "zeros must be a contiguous (1, 3) to match n, k and block; got (2, 3) int32"),
    ("u8", {"zeros": words(1, 3)}, "zeros must be a contiguous (2, 3) to match n, k and block; got (1, 3) int32"),
    (
        "u4",
        {"zeros": words(1, 3), "block": (2, 10), "scales": scales(4, 3)},
        "block must have one row with packed zeros; got 2",
    ),
    ("gptq8", {"zeros": words(3, 1)}, "zeros must be a contiguous (3, 2) to match n, k and block; got (3, 1) int32"),
    (
        "gptq4",
        {"n": 7, "codes": words(3, 7), "scales": scales(3, 7), "zeros": words(3, 1)},
        "n must be a multiple of 8 with packed zeros of kind gptq4; got 7",
    ),
    ("e4m3", {"zero": 1}, "kind e4m3 must have no zeros; got 1"),
    ("lut4", {"zeros": octets(4, 3)}, "kind lut4 must have no zeros; got (4, 3) uint8"),
    ("i8", {"block_of": np.zeros(24, np.int64)}, "block_of must be a contiguous (24,) int32; got (24,) int64"),
    ("i8", {"block_of": words(23)}, "block_of must be a contiguous (24,) int32; got (23,) int32"),
    ("i8", {"block_of": words(48)[::2]}, "block_of must be a contiguous (24,) int32; got (24,) int32, strided"),
    ("i8", {"block_of": words(24) + 3}, "block_of must be in [0, 3); got 3 for column 0"),
    ("gptq4", {"block_of": -np.eye(24, dtype=np.int32)[7]}, "block_of must be in [0, 3); got -1 for column 7"),
    (
        "i8",
        {"n": 1, "k": 2049, "codes": octets(2049), "block": (1, 1), "scales": scales(2049)},
        "block must leave at most 2048 blocks of columns with block_of, or with columns that are no multiple of 8; "
        "got 2049",
    ),
    (
        "i8",
        {
            "n": 1,
            "k": 8 * 2049,
            "codes": octets(8 * 2049),
            "block": (1, 8),
            "scales": scales(2049),
            "block_of": words(8 * 2049),
        },
        "block must leave at most 2048 blocks of columns with block_of, or with columns that are no multiple of 8; "
        "got 2049",
    ),
    ("lut4", {"levels": None}, "levels must be given for kind lut4 and no other; got kind lut4 without"),
    ("u4", {"levels": LEVELS}, "levels must be given for kind lut4 and no other; got kind u4 with them"),
    ("lut4", {"levels": scales(15)}, "levels must be a contiguous (16,) float32; got (15,) float32"),
    ("lut4", {"levels": np.ones(16)}, "levels must be a contiguous (16,) float32; got (16,) float64"),
    ("lut4", {"levels": scales(32)[::2]}, "levels must be a contiguous (16,) float32; got (16,) float32, strided"),
    ("lut4", {"nested_block": 1}, "nested_block and nested_offset must be 0 without nested_levels; got 1 and 0.0"),
    ("lut4", {"nested_offset": 1}, "nested_block and nested_offset must be 0 without nested_levels; got 0 and 1.0"),
    ("lut4", {"nested_scales": scales(1)}, "nested_levels and nested_scales must be given together; got one of them"),
    ("lut4", {**nested(), "nested_scales": None}, "nested_levels and nested_scales must be given together"),
    ("lut4", {**nested(), "scales": scales(4, 3)}, "scales must be uint8 to match nested_levels; got (4, 3) float32"),
    (
        "lut4",
        {**nested(), "nested_levels": scales(255)},
        "nested_levels must be a contiguous (256,) float32; got (255,)",
    ),
    ("lut4", {**nested(), "nested_block": 0}, "nested_block must be in [1, 2147483647]; got 0"),
    ("lut4", {**nested(), "nested_block": 6}, "nested_scales must be 2 contiguous float32 to match scales and nested"),
    ("lut4", {**nested(), "nested_scales": np.ones(3)}, "nested_scales must be 3 contiguous float32 to match scales"),
    ("lut4", {**nested(), "nested_offset": float("inf")}, "nested_offset must be finite; got inf"),
]


@pytest.mark.parametrize(("kind", "change", "text"), BAD)
def test_refused(kind: str, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"CodedWeight: {text}")):
        make(kind, change)


@pytest.mark.parametrize("name", ["codes", "scales"])
def test_arrays_alone(name: str) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        make("i8", {name: [1]})


def test_arrays_are_kept_as_long_as_the_weight() -> None:
    codes = octets(8, 24)
    before = sys.getrefcount(codes)
    weight = make("i8", {"codes": codes})
    assert sys.getrefcount(codes) == before + 1
    del weight
    assert sys.getrefcount(codes) == before
