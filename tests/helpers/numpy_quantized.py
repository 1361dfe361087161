"""Quantized Llama checkpoints in NumPy float64: the tests' own definition of every scheme.

`open_quantized(folder)` reads a folder as it was published: each linear layer's weight in float64, exactly as the
scheme defines it, and the rule by which its inputs are rounded. It shares no code with the library under test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numpy_activations import Rounded, Rule, e4m3_rows, int8_rule, to_e4m3
from numpy_llama import NumpyLlama
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


def _claimed(config: Mapping[str, Any], layer: str) -> Mapping[str, Any]:
    """The config group of a layer: an exact name first, then a pattern, then the class."""
    groups = list(config["config_groups"].values())
    for fits in (
        lambda target: target == layer,
        lambda target: target.startswith("re:") and re.match(target[3:], layer) is not None,
        lambda target: target == "Linear",
    ):
        for group in groups:
            if any(fits(target) for target in group["targets"]):
                return group
    raise AssertionError(f"no group for {layer}")


def _inputs(args: Mapping[str, Any] | None, parts: Mapping[str, Stored], numerics: str) -> Rule | None:
    """The rule of a compressed-tensors group's input_activations."""
    if args is None:
        return None
    static = not args["dynamic"]
    scale = float(parts["input_scale"].floats.reshape(-1)[0]) if static else None
    if args["type"] == "float":
        group = args.get("group_size") or 0
        return partial(e4m3_rows, served=numerics == "vllm", scale=scale, group=group)
    if scale is None:
        return int8_rule(numerics, symmetric=args["symmetric"])
    zero = 0 if args["symmetric"] else int(parts["input_zero_point"].array.reshape(-1)[0])
    return int8_rule(numerics, dynamic=False, scale=scale, zero=zero)


def define(
    config: Mapping[str, Any], layer: str, parts: Mapping[str, Stored], n: int, k: int, numerics: str
) -> tuple[np.ndarray, Rule | None]:
    """A quantized layer's weight (n, k) in float64, and the rule of its inputs (None: they stay as they are)."""
    method = config["quant_method"]
    if method == "gptq":
        return gptq_weight(parts, config, n, k), None
    if method == "awq":
        return awq_weight(parts, config, n, k), None
    if method == "bitsandbytes":
        if config.get("load_in_4bit"):
            return bitsandbytes_4bit_weight(parts, n, k), None
        weight = parts["weight"].floats * parts["SCB"].floats[:, None] / 127
        return weight, int8_rule("vllm", threshold=config["llm_int8_threshold"])
    if method == "fp8":
        rows, columns = config["weight_block_size"]
        weight = parts["weight"].floats * spread(parts["weight_scale_inv"].floats, n, k, (rows, columns))
        return weight, partial(e4m3_rows, served=numerics == "vllm", group=columns)
    group = _claimed(config, layer)
    return compressed_weight(parts, group["weights"], n, k), _inputs(group.get("input_activations"), parts, numerics)


class NumpyQuantizedLlama(NumpyLlama):
    """`rules`: for each layer whose inputs are rounded, how. `slack` is the least of the last run: see Rounded."""

    rules: Mapping[str, Rule]
    slack: float = np.inf

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        rule = self.rules.get(name)
        if rule is not None:
            # an erring run rounds what float32 would hold, with float32's own quotients
            rounded: Rounded = rule(x if self.rng is None else x.astype(np.float32))
            self.slack, x = min(self.slack, rounded.slack), rounded.values
        return super()._linear(name, x)

    def logits(self, token_ids: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        self.slack = np.inf
        return super().logits(token_ids, rng)


@dataclass(frozen=True)
class QuantizedFolder:
    """`weights`: every tensor of the model in float64, those of quantized layers as their scheme defines them."""

    config: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    rules: Mapping[str, Rule]

    def model(self, inv_freq: np.ndarray, kv_cache_type: str = "f32") -> NumpyQuantizedLlama:
        """`inv_freq`: float32 [head_dim / 2], those that the references were made with."""
        model = NumpyQuantizedLlama(self.config, self.weights, inv_freq, 1.0, kv_cache_type)
        model.rules = self.rules
        return model


def _layer_of(name: str) -> str:
    return re.split(
        r"\.(?=weight|qweight|qzeros|scales|g_idx|SCB|input_scale|input_zero_point|bias)", name, maxsplit=1
    )[0]


def open_quantized(folder: Path, numerics: str = "vllm") -> QuantizedFolder:
    """Reads config.json and model.safetensors; `numerics` chooses how inputs are rounded."""
    config = json.loads((folder / "config.json").read_text())
    layers: dict[str, dict[str, Stored]] = {}
    for name, tensor in read_safetensors(folder / "model.safetensors").items():
        layer = _layer_of(name)
        layers.setdefault(layer, {})[name[len(layer) + 1 :]] = tensor
    weights: dict[str, np.ndarray] = {}
    rules: dict[str, Rule] = {}
    for layer, parts in layers.items():
        if "bias" in parts:
            weights[layer + ".bias"] = parts.pop("bias").floats
        if set(parts) == {"weight"}:
            weights[layer + ".weight"] = parts["weight"].floats
            continue
        n, k = linear_shape(config, layer)
        weight, rule = define(config["quantization_config"], layer, parts, n, k, numerics)
        assert weight.shape == (n, k)
        weights[layer + ".weight"] = weight
        if rule is not None:
            rules[layer] = rule
    return QuantizedFolder(config, weights, rules)


def linear_shape(config: Mapping[str, Any], layer: str) -> tuple[int, int]:
    """Output and input features."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    return {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
        "lm_head": (config["vocab_size"], hidden),
    }[layer.rpartition(".")[2]]


__all__ = ["E4M3", "NumpyQuantizedLlama", "QuantizedFolder", "Stored", "define", "open_quantized", "to_e4m3", "unpack"]
