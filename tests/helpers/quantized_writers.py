"""GPTQ, AutoAWQ, FP8 with inverse scales and unsigned 8-bit checkpoints, written in NumPy from the formats' rules.

The libraries that write these need GPUs or are no longer kept; their layouts are told in a few lines each. Weights are
rounded to nearest: what is tested is how they are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpy_activations import to_e4m3
from numpy_codes import AWQ_ORDER, E4M3, Stored, spread
from safetensors_writer import widen
from tiny import random_normal

Layer = dict[str, Stored]


def write_mixed(path: Path, tensors: Mapping[str, Stored]) -> None:
    """A safetensors file of several types, in the order given."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.array.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.array.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    data = b"".join(np.ascontiguousarray(tensor.array).tobytes() for tensor in tensors.values())
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """(rows, count) -> (rows, ceil(count * bits / 32)) int32, each code in the next `bits` bits from the lowest up."""
    flat = (codes.astype(np.int64)[:, :, None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(codes), -1)
    packed = np.packbits(np.pad(flat, ((0, 0), (0, -flat.shape[1] % 32))), axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view(np.int32)


def _grid(w: np.ndarray, group: np.ndarray, bits: int, least_zero: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (n, k), scales (F16) and zero points (groups, n): each group of columns from its extremes."""
    groups, top = int(group.max()) + 1, 2**bits - 1
    low = np.stack([np.minimum(w[:, group == g].min(axis=1), 0) for g in range(groups)])
    high = np.stack([np.maximum(w[:, group == g].max(axis=1), 0) for g in range(groups)])
    scales = ((high - low) / top).astype(np.float16)
    zeros = np.clip(np.rint(-low / scales), least_zero, top).astype(np.int64)
    codes = np.clip(np.rint(w / scales[group].T) + zeros[group].T, 0, top).astype(np.int64)
    return codes, scales, zeros


@dataclass(frozen=True)
class Gptq:
    """`version` 1 stores zero points less one. `order`: columns of a group lie apart (desc_act)."""

    bits: int
    group_size: int
    version: int = 1
    order: bool = False
    g_idx: bool = True
    lm_head: bool = False

    def config(self) -> dict[str, Any]:
        settings = {
            "quant_method": "gptq",
            "bits": self.bits,
            "group_size": self.group_size,
            "desc_act": self.order,
            "sym": False,
            "lm_head": self.lm_head,
            "true_sequential": True,
            "damp_percent": 0.01,
        }
        return settings if self.version == 1 else {**settings, "checkpoint_format": "gptq_v2"}

    def layer(self, w: np.ndarray, key: int) -> Layer:
        k = w.shape[1]
        group = np.arange(k) // (k if self.group_size == -1 else self.group_size)
        if self.order:
            group = group[np.argsort(random_normal((key, 0x6769), (k,)), kind="stable")]
        codes, scales, zeros = _grid(w, group, self.bits, least_zero=1)
        parts = {
            "qweight": Stored("I32", pack(codes, self.bits).T),
            "qzeros": Stored("I32", pack(zeros - (self.version == 1), self.bits)),
            "scales": Stored("F16", scales),
        }
        return {**parts, "g_idx": Stored("I32", group.astype(np.int32))} if self.g_idx else parts


@dataclass(frozen=True)
class Awq:
    group_size: int
    lm_head: bool = False

    def config(self) -> dict[str, Any]:
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": self.group_size,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": None,
        }

    def layer(self, w: np.ndarray, key: int) -> Layer:
        def words(rows: np.ndarray) -> np.ndarray:
            return pack(rows.reshape(len(rows), -1, 8)[:, :, AWQ_ORDER].reshape(rows.shape), 4)

        codes, scales, zeros = _grid(w, np.arange(w.shape[1]) // self.group_size, 4, least_zero=0)
        return {
            "qweight": Stored("I32", words(codes.T)),
            "qzeros": Stored("I32", words(zeros)),
            "scales": Stored("F16", scales),
        }


@dataclass(frozen=True)
class Unsigned:
    """compressed-tensors' config, with codes and zero points in 0..255; `whole`: one scale for the tensor."""

    whole: bool
    inputs: bool
    zero_dtype: str = "U8"
    lm_head: bool = False

    def config(self) -> dict[str, Any]:
        strategy = "tensor" if self.whole else "channel"
        weights = {"num_bits": 8, "type": "int", "symmetric": False, "strategy": strategy, "dynamic": False}
        inputs = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
        group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs if self.inputs else None}
        return {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "config_groups": {"group_0": group},
            "ignore": [] if self.lm_head else ["lm_head"],
        }

    def layer(self, w: np.ndarray, key: int) -> Layer:
        axis = None if self.whole else 1
        low = np.minimum(w.min(axis=axis, keepdims=True), 0)
        high = np.maximum(w.max(axis=axis, keepdims=True), 0)
        scale = ((high - low) / 255).astype(np.float32)
        top = 255 if self.zero_dtype == "U8" else 127  # zero points lie in the codes' own domain, whatever holds them
        zero = np.clip(np.rint(-low / scale), 0, top)
        codes = np.clip(np.rint(w / scale) + zero, 0, 255)
        shape = (1,) if self.whole else (len(w),)
        stored_as = np.uint8 if self.zero_dtype == "U8" else np.int8
        return {
            "weight": Stored("U8", codes.astype(np.uint8)),
            "weight_scale": Stored("F32", scale.reshape(shape)),
            "weight_zero_point": Stored(self.zero_dtype, zero.reshape(shape).astype(stored_as)),
        }


@dataclass(frozen=True)
class InverseScales:
    """quant_method fp8: float8 weights, with the factors of blocks under the name weight_scale_inv."""

    block: tuple[int, int]
    lm_head: bool = False

    def config(self) -> dict[str, Any]:
        return {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": list(self.block),
            "modules_to_not_convert": ["lm_head"],
        }

    def layer(self, w: np.ndarray, key: int) -> Layer:
        n, k = w.shape
        rows, columns = self.block
        starts = np.arange(0, n, rows), np.arange(0, k, columns)
        absmax = np.maximum.reduceat(np.maximum.reduceat(np.abs(w), starts[0], axis=0), starts[1], axis=1)
        scale = (absmax / 448).astype(np.float32)
        values = to_e4m3(w / spread(scale, n, k, self.block))
        codes = np.searchsorted(E4M3[:127], np.abs(values)) | np.where(values < 0, 128, 0)  # 127 is NaN
        return {
            "weight": Stored("F8_E4M3", codes.astype(np.uint8)),
            "weight_scale_inv": Stored("F32", scale),
        }


def write_quantized(
    folder: Path, base_config: Mapping[str, Any], base: Mapping[str, np.ndarray], dtype: str, to: Any
) -> None:
    """A folder from a tiny checkpoint's config and stored weights; `to` is one of the classes above."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Stored] = {}
    for index, (name, stored) in enumerate(base.items()):
        layer, _, suffix = name.rpartition(".")
        linear = layer.endswith("_proj") or (to.lm_head and layer == "lm_head")
        if suffix == "weight" and linear:
            parts = to.layer(widen(stored, dtype), index)
            tensors |= {f"{layer}.{part}": tensor for part, tensor in parts.items()}
        else:
            tensors[name] = Stored(dtype, stored)
    write_mixed(folder / "model.safetensors", tensors)
    config = {**base_config, "quantization_config": to.config()}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
