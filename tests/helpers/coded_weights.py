"""Weights of codes, packed here from the rules of their formats, with the matrix that each stands for in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferno._core import CodedWeight
from kernel_arrays import at_offset, stored, widened

KINDS = ["i8", "u8", "u4", "lut4", "e4m3", "gptq4", "gptq8", "awq4"]
WORDS = ["gptq4", "gptq8", "awq4"]
BITS = {"i8": 8, "u8": 8, "u4": 4, "lut4": 4, "e4m3": 8, "gptq4": 4, "gptq8": 8, "awq4": 4}
# What packing asks of n and k.
MULTIPLES = {"lut4": (1, 2), "gptq4": (1, 8), "gptq8": (1, 4), "awq4": (8, 1)}
# Nibble i of a word of AutoAWQ holds column AWQ_ORDER[i] of eight.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def e4m3_values() -> np.ndarray:
    """What each of the 256 codes of float8 e4m3fn stands for."""
    code = np.arange(256)
    exponent, fraction = code >> 3 & 15, code & 7
    normal = (1 + fraction / 8) * 2.0 ** (exponent - 7)
    value = np.where(exponent == 0, fraction * 2.0**-9, normal)
    value[(code & 127) == 127] = np.nan
    return np.where(code < 128, value, -value)


E4M3 = e4m3_values()


def words(codes: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """Unsigned codes along `axis` in int32 words, the first in the lowest bits, zeros after the last."""
    each = 32 // bits
    moved = np.moveaxis(codes.astype(np.uint32), axis, -1)
    moved = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, -moved.shape[-1] % each)])
    parts = moved.reshape(*moved.shape[:-1], -1, each) << (np.arange(each, dtype=np.uint32) * bits)
    packed = np.bitwise_or.reduce(parts, axis=-1).astype(np.uint32).view(np.int32)
    return np.ascontiguousarray(np.moveaxis(packed, -1, axis))


def awq_words(codes: np.ndarray) -> np.ndarray:
    """Unsigned codes along the last axis in AutoAWQ's words."""
    eights = codes.reshape(*codes.shape[:-1], -1, 8)[..., AWQ_ORDER]
    return words(eights.reshape(codes.shape), 4, codes.ndim - 1)


def pack(kind: str, codes: np.ndarray) -> np.ndarray:
    """Codes (n, k), as unsigned numbers, as the kind stores them."""
    if kind in ("i8", "u8", "e4m3"):
        return codes.astype(np.uint8)
    if kind == "u4":
        return words(codes, 4, 1)
    if kind == "lut4":
        return (codes[:, ::2] << 4 | codes[:, 1::2]).astype(np.uint8)
    if kind == "awq4":
        return awq_words(codes.T)
    return words(np.ascontiguousarray(codes.T), BITS[kind], 0)


@dataclass
class Coded:
    """A weight, and what it is made of: values before zero and scale, and both for every element, in float64."""

    kind: str
    arguments: dict[str, Any]
    values: np.ndarray
    zeros: np.ndarray
    scales: np.ndarray
    weight: CodedWeight = field(init=False)

    def __post_init__(self) -> None:
        self.weight = self.placed(lambda array: array)

    def placed(self, place: Any) -> CodedWeight:
        """The weight over arrays that `place` has put somewhere."""
        moved = {k: place(v) if isinstance(v, np.ndarray) else v for k, v in self.arguments.items()}
        order = [moved.pop(name) for name in ("codes", "n", "k", "scales")]
        return CodedWeight(self.kind, *order, **moved)

    @property
    def w(self) -> np.ndarray:
        """The matrix as kernels compute with it: (value - zero) * scale, rounded once to float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            return ((self.values - self.zeros) * self.scales).astype(np.float32).astype(np.float64)


def shape_of(kind: str, n: int, k: int, zeros: str) -> tuple[int, int]:
    """The least (n, k) from these up that the kind can have with such zeros."""
    multiple_n, multiple_k = MULTIPLES.get(kind, (1, 1))
    if zeros == "packed" and kind in WORDS:
        multiple_n = 32 // BITS[kind]
    return -(-n // multiple_n) * multiple_n, -(-k // multiple_k) * multiple_k


def make_coded(
    kind: str,
    n: int,
    k: int,
    *,
    block: tuple[int, int] | None = None,
    scale: str = "f16",
    zeros: str = "constant",
    shuffled: bool = False,
    exact: bool = False,
    codes: np.ndarray | None = None,
    factor: float = 1.0,
    seed: int = 0,
) -> Coded:
    """A random weight. block: (1, k) unless given. scale: a stored type, or "nested". zeros: "constant",
    "bytes" or "packed".

    shuffled: columns belong to blocks in no order. exact: small whole numbers times powers of two, whose sums of
    products are exact in float32; scales then differ by 4 at most.
    """
    n, k = shape_of(kind, n, k, zeros)
    rng = np.random.default_rng([seed, n, k])
    rows, columns = block or (1, k)
    row_blocks, column_blocks = -(-n // rows), -(-k // columns)
    top = 2 ** BITS[kind]
    arguments: dict[str, Any] = {"n": n, "k": k, "block": (rows, columns), "factor": factor}
    if codes is None:
        codes = rng.integers(0, top, (n, k))
        if kind == "e4m3":
            codes[(codes & 127) == 127] = 1  # no NaN
        if exact and kind == "e4m3":
            codes = rng.choice([0x00, 0x38, 0x40, 0x44, 0xB8, 0xC0, 0xC8], (n, k))  # 0, 1, 2, 3, -1, -2, -4
        elif exact and BITS[kind] == 8:
            codes = rng.integers(120, 137, (n, k)) if kind != "i8" else rng.integers(-8, 9, (n, k)) & 255
    arguments["codes"] = pack(kind, codes)
    values = codes.astype(np.float64)
    if kind == "i8":
        values = codes.astype(np.uint8).view(np.int8).astype(np.float64)
    elif kind == "e4m3":
        values = E4M3[codes]
    elif kind == "lut4":
        levels = np.arange(-8.0, 8.0) if exact else rng.standard_normal(16)
        arguments["levels"] = levels.astype(np.float32)
        values = arguments["levels"].astype(np.float64)[codes]

    scale_values = 2.0 ** rng.integers(-1, 2, (row_blocks, column_blocks))
    if not exact:
        scale_values = rng.uniform(0.001, 0.1, (row_blocks, column_blocks))
    transposed = kind in WORDS
    lay = (lambda a: np.ascontiguousarray(a.T)) if transposed else (lambda a: a)
    if scale == "nested":
        wide = _nest(arguments, lay(scale_values).shape, rng, exact)
    else:
        arguments["scales"] = stored(lay(scale_values), scale, 0)
        wide = widened(arguments["scales"])
    wide = (wide.astype(np.float32) * np.float32(factor)).astype(np.float64)
    wide = lay(wide)

    zero_values = _zeros(arguments, kind, zeros, (row_blocks, column_blocks), rng, exact, lay)
    block_of = np.arange(k) // columns
    if shuffled:
        block_of = rng.permutation(block_of)
        arguments["block_of"] = block_of.astype(np.int32)
    row_of = np.arange(n) // rows
    return Coded(
        kind, arguments, values, zero_values[row_of][:, block_of].astype(np.float64), wide[row_of][:, block_of]
    )


def _nest(arguments: dict[str, Any], shape: tuple[int, ...], rng: np.random.Generator, exact: bool) -> np.ndarray:
    """Scales of scales, in blocks of 5."""
    count = int(np.prod(shape))
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    levels = np.full(256, 0.25) if exact else rng.uniform(0.1, 1, 256)
    outer = np.full(-(-count // 5), 2.0) if exact else rng.uniform(0.1, 1, -(-count // 5))
    offset = 0.5 if exact else 0.03
    arguments |= {
        "scales": codes,
        "nested_levels": levels.astype(np.float32),
        "nested_scales": outer.astype(np.float32),
        "nested_block": 5,
        "nested_offset": offset,
    }
    product = arguments["nested_levels"][codes] * arguments["nested_scales"][np.arange(count) // 5].reshape(shape)
    return (product + np.float32(offset)).astype(np.float32)


def _zeros(
    arguments: dict[str, Any],
    kind: str,
    form: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    exact: bool,
    lay: Any,
) -> np.ndarray:
    """Puts zeros into the arguments; they, for each block."""
    if kind in ("lut4", "e4m3"):
        return np.zeros(shape, np.int64)
    bits = BITS[kind]
    middle = 0 if kind == "i8" else 2 ** (bits - 1)
    if form == "constant":
        arguments["zero"] = middle
        return np.full(shape, middle)
    low, high = (0, 2**bits) if not exact else (middle - 4, middle + 5)
    if kind == "i8":
        low, high = (-4, 5) if exact else (-128, 128)
    zeros = rng.integers(low, high, shape)
    if form == "bytes" or kind == "i8":
        arguments["zeros"] = lay(zeros).astype(np.int8 if kind == "i8" else np.uint8)
        return zeros
    # Packed as the method does; some store one less than they mean.
    added = int(rng.integers(0, 2))
    packed = np.maximum(zeros - added, 0)
    arguments["zero"] = added
    if kind == "awq4":
        arguments["zeros"] = awq_words(lay(packed))
    else:
        arguments["zeros"] = words(lay(packed), bits, 1 if kind in WORDS else 0)
    return packed + added


def moved(array: np.ndarray, offset: int) -> np.ndarray:
    """A copy at an address that has no alignment."""
    return at_offset(array, offset)
