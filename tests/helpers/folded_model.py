"""A tiny model with factors moved from inputs into weights, in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_edits import read_tensors, write_tensors
from numpy_codes import read_safetensors
from numpy_llama import NumpyLlama
from safetensors_writer import NUMPY_DTYPES, to_stored, widen
from tiny import write_tiny

TEXT = "The quick brown fox jumps over the lazy dog; nobody saw it, and the dog slept on. " * 12


def float_weights(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of model.safetensors in float64."""
    return {name: tensor.floats for name, tensor in read_safetensors(folder / "model.safetensors").items()}


def folded_weights(weights: Mapping[str, np.ndarray], folds: Any, dtype: str) -> dict[str, np.ndarray]:
    """The weights of the smoothed model before any is rounded to a code."""
    result = dict(weights)
    for name, stored in folds.vectors.items():
        result[name] = widen(stored, dtype)
    for layer, factors in folds.rows.items():
        result[f"{layer}.weight"] = result[f"{layer}.weight"] * factors[:, None]
    for layer, factors in folds.columns.items():
        result[f"{layer}.weight"] = result[f"{layer}.weight"] * factors
    return result


def numpy_model(config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> NumpyLlama:
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    inv_freq = (10000.0 ** -(np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)
    return NumpyLlama(config, weights, inv_freq, 1.0)


def write_outliers(folder: Path, config: Mapping[str, Any] | None = None, dtype: str = "BF16", seed: int = 0) -> Path:
    """The tiny model with a tokenizer, and with outliers wherever factors can move.

    Every seventh channel that a norm, up_proj or v_proj makes is thirty-two times as large as before, and the columns
    that take it are as much smaller: the model is the same, and int8 makes less of it.
    """
    write_tiny(folder, config, dtype, seed, tokenizer=True)
    content = json.loads((folder / "config.json").read_text())
    kv_heads = content["num_key_value_heads"]
    tensors = read_tensors(folder / "model.safetensors")
    for name, (kind, shape, data) in tensors.items():
        values = widen(np.frombuffer(data, NUMPY_DTYPES[dtype]).reshape(shape), dtype)
        factors = np.where(np.arange(shape[-1]) % 7, 1.0, 32.0)
        made = np.where(np.arange(shape[0]) % 7, 1.0, 32.0)
        if name.endswith(("q_proj.weight", "k_proj.weight", "gate_proj.weight", "down_proj.weight")):
            values = values / factors
        elif name.endswith("o_proj.weight"):  # each key-value head's channels, for each query head that shares it
            head_dim = content.get("head_dim") or content["hidden_size"] // content["num_attention_heads"]
            shared = np.where(np.arange(kv_heads * head_dim) % 7, 1.0, 32.0).reshape(kv_heads, 1, head_dim)
            values = values / np.repeat(shared, shape[1] // head_dim // kv_heads, axis=1).reshape(-1)
        elif name.endswith(("up_proj.weight", "v_proj.weight")):
            values = values / factors * made[:, None]
        elif name.endswith(("up_proj.bias", "v_proj.bias", "layernorm.weight")):
            values = values * made
        tensors[name] = (kind, shape, to_stored(values, dtype).tobytes())
    write_tensors(folder / "model.safetensors", tensors)
    return folder
