"""Codes of quantized weights as they lie in files, and the weights that they stand for, in NumPy float64.

A function a scheme, from its tensors to w (n, k), exactly as the scheme defines it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safetensors_writer import widen

_STORED = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32, "I8": np.int8, "U8": np.uint8, "I32": np.int32}
_STORED |= {"F8_E4M3": np.uint8, "I64": np.int64}
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # the column of each nibble of a word, from the lowest bits up


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in the file; BF16 as uint16, F8_E4M3 as uint8."""

    dtype: str
    array: np.ndarray

    @property
    def floats(self) -> np.ndarray:
        """float64, exactly."""
        return E4M3[self.array] if self.dtype == "F8_E4M3" else widen(self.array, self.dtype)


def _e4m3_table() -> np.ndarray:
    code = np.arange(256)
    sign, exponent, mantissa = 1.0 - 2.0 * (code >> 7), code >> 3 & 15, code & 7
    values = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * np.ldexp(1.0, exponent - 10))
    values[(code & 127) == 127] = np.nan
    return sign * values


E4M3 = _e4m3_table()


def read_safetensors(path: Path) -> dict[str, Stored]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: Stored(
            entry["dtype"],
            np.frombuffer(
                data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]], _STORED[entry["dtype"]]
            )
            .reshape(entry["shape"])
            .copy(),
        )
        for name, entry in header.items()
    }


def unpack(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """(rows, words) int32 -> (rows, count): each number in the next `bits` bits of its row, from the lowest up."""
    flat = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")[:, : count * bits]
    return flat.reshape(len(words), count, bits) @ (1 << np.arange(bits))


def spread(values: np.ndarray, n: int, k: int, block: tuple[int, int]) -> np.ndarray:
    """Scales or zero points of blocks -> (n, k)."""
    rows, columns = block
    values = values.reshape(-(-n // rows), -(-k // columns))
    return np.repeat(np.repeat(values, rows, axis=0)[:n], columns, axis=1)[:, :k]


def _block(args: Mapping[str, Any], n: int, k: int) -> tuple[int, int]:
    strategy = args["strategy"]
    if strategy == "block":
        rows, columns = args["block_structure"]
        return rows, columns
    return {"tensor": (n, k), "channel": (1, k), "group": (1, args.get("group_size") or k)}[strategy]


def compressed_weight(parts: Mapping[str, Stored], args: Mapping[str, Any], n: int, k: int) -> np.ndarray:
    """compressed-tensors' int-quantized, float-quantized, pack-quantized, and unsigned 8-bit weights."""
    block, bits = _block(args, n, k), args["num_bits"]
    zero: np.ndarray | float = 0.0
    if "weight_packed" in parts:
        offset = 1 << (bits - 1)
        codes = unpack(parts["weight_packed"].array, bits, k) - offset
        if "weight_zero_point" in parts:
            zero = unpack(parts["weight_zero_point"].array.T, bits, n).T - offset
    else:
        codes = parts["weight"].floats
        if "weight_zero_point" in parts:
            zero = parts["weight_zero_point"].floats
    scale = parts["weight_scale"].floats
    if "weight_g_idx" in parts:
        group = parts["weight_g_idx"].array
        return (codes - (zero[:, group] if isinstance(zero, np.ndarray) else zero)) * scale[:, group]
    if isinstance(zero, np.ndarray):
        zero = spread(zero, n, k, block)
    return (codes - zero) * spread(scale, n, k, block)


def gptq_weight(parts: Mapping[str, Stored], config: Mapping[str, Any], n: int, k: int) -> np.ndarray:
    bits = config["bits"]
    groups = len(parts["scales"].array)
    codes = unpack(parts["qweight"].array.T, bits, k)
    zeros = unpack(parts["qzeros"].array, bits, n) + (0 if config.get("checkpoint_format") == "gptq_v2" else 1)
    size = k if config["group_size"] == -1 else config["group_size"]
    group = parts["g_idx"].array if "g_idx" in parts else np.arange(k) // size
    assert group.max() < groups
    return (codes - zeros[group].T) * parts["scales"].floats[group].T


def awq_weight(parts: Mapping[str, Stored], config: Mapping[str, Any], n: int, k: int) -> np.ndarray:
    def columns(words: np.ndarray) -> np.ndarray:
        nibbles = unpack(words, 4, n).reshape(len(words), n // 8, 8)
        out = np.empty_like(nibbles)
        out[:, :, AWQ_ORDER] = nibbles
        return out.reshape(len(words), n)

    group = np.arange(k) // config["group_size"]
    codes, zeros = columns(parts["qweight"].array), columns(parts["qzeros"].array)
    return ((codes - zeros[group]) * parts["scales"].floats[group]).T


def bitsandbytes_4bit_weight(parts: Mapping[str, Stored], n: int, k: int) -> np.ndarray:
    (suffix,) = [name for name in parts if name.startswith("weight.quant_state.")]
    state = json.loads(parts[suffix].array.tobytes())
    packed = parts["weight"].array.reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[: n * k]
    absmax = parts["weight.absmax"]
    if "weight.nested_absmax" in parts:
        outer = np.repeat(parts["weight.nested_absmax"].floats, state["nested_blocksize"])[: len(absmax.array)]
        scales = parts["weight.nested_quant_map"].floats[absmax.array] * outer + state["nested_offset"]
    else:
        scales = absmax.floats
    values = parts["weight.quant_map"].floats[codes] * np.repeat(scales, state["blocksize"])[: n * k]
    return values.reshape(n, k)
