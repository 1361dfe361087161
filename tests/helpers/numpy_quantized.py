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

from numpy_activations import Rounded, Rule, e4m3_rows, int8_rule
from numpy_codes import (
    Stored,
    awq_weight,
    bitsandbytes_4bit_weight,
    compressed_weight,
    gptq_weight,
    read_safetensors,
    spread,
)
from numpy_llama import NumpyLlama


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
