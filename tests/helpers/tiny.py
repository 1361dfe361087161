"""Tiny random Llama checkpoints in the HF layout, the same bytes on every machine.

The numbers come from PCG64's raw 64-bit output, whose stream NumPy guarantees (its distributions it does not), through
integer sums alone. The scales keep the model far from degenerate: attention scores and logits with a standard deviation
of one to three, so that a wrong frequency, mask, head or bias moves the logits by far more than rounding does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from safetensors_writer import to_stored, widen, write_safetensors
from tiny_tokenizer import CHAT_TEMPLATE, write_tokenizer

DEFAULT_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 77,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def tiny_config(overrides: Mapping[str, Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    """config.json's content: the defaults above, then `overrides`.

    Spelt as transformers v5 does (rope_parameters, dtype), unless an override uses a v4 name (rope_theta,
    rope_scaling): then in v4's manner (torch_dtype, no rope_parameters).
    """
    overrides = dict(overrides or {})
    config = dict(DEFAULT_CONFIG)
    if "rope_theta" in overrides or "rope_scaling" in overrides:
        config["torch_dtype"] = TORCH_NAMES[dtype]
    else:
        config["dtype"] = TORCH_NAMES[dtype]
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    config.update(overrides)
    return config


def random_normal(key: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """float64, bell-shaped, mean 0, standard deviation 1: the sum of the four 16-bit words of a raw PCG64 output."""
    generator = np.random.PCG64(np.random.SeedSequence(key))
    raw = np.asarray(generator.random_raw(math.prod(shape)), dtype=np.uint64)
    total = sum(((raw >> np.uint64(16 * word)) & np.uint64(0xFFFF)).astype(np.float64) for word in range(4))
    return ((total - 2 * 0xFFFF) / math.sqrt((2.0**32 - 1) / 3)).reshape(shape)


def random_tokens(vocab_size: int, count: int, seed: int) -> list[int]:
    """`count` token ids, the first and the last of the vocabulary among them if there is room."""
    generator = np.random.PCG64(np.random.SeedSequence((seed, 0x70CE)))
    tokens = [int(raw) % vocab_size for raw in generator.random_raw(count)]
    if count > 3:
        tokens[2], tokens[count // 2] = vocab_size - 1, 0
    return tokens


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that a Llama checkpoint of this config holds, in the file's order."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    q_dim, kv_dim = heads * head_dim, (config.get("num_key_value_heads") or heads) * head_dim
    linears = {
        "self_attn.q_proj": (q_dim, hidden),
        "self_attn.k_proj": (kv_dim, hidden),
        "self_attn.v_proj": (kv_dim, hidden),
        "self_attn.o_proj": (hidden, q_dim),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        for name, shape in linears.items():
            shapes[f"{prefix}{name}.weight"] = shape
            if config["attention_bias" if name.startswith("self_attn") else "mlp_bias"]:
                shapes[f"{prefix}{name}.bias"] = shape[:1]
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def _scaled(name: str, values: np.ndarray, tied: bool) -> np.ndarray:
    """Unit-normal values, scaled by the tensor's role."""
    if name.endswith("norm.weight"):
        return 1.0 + 0.25 * values
    if name.endswith(".bias"):
        return 0.5 * values
    if name == "model.embed_tokens.weight" and not tied:
        return values
    role = name.split(".")[-2]
    gain = {"q_proj": 1.4, "k_proj": 1.4, "gate_proj": 1.5, "lm_head": 2.0, "embed_tokens": 2.0}.get(role, 1.0)
    return gain / math.sqrt(values.shape[1]) * values


def stored_tensors(config: Mapping[str, Any], dtype: str, seed: int) -> dict[str, np.ndarray]:
    """The weights as the file holds them: float32, float16, or BF16 as uint16."""
    tied = config["tie_word_embeddings"]
    return {
        name: to_stored(_scaled(name, random_normal((seed, index), shape), tied), dtype)
        for index, (name, shape) in enumerate(tensor_shapes(config).items())
    }


def tiny_weights(config: Mapping[str, Any], dtype: str, seed: int) -> dict[str, np.ndarray]:
    """The same weights, exactly, in float64."""
    return {name: widen(stored, dtype) for name, stored in stored_tensors(config, dtype, seed).items()}


def write_tiny(
    folder: Path,
    config: Mapping[str, Any] | None = None,
    dtype: str = "F32",
    seed: int = 0,
    *,
    tokenizer: bool = False,
) -> Path:
    """Writes config.json and model.safetensors into `folder` (made if absent) and returns it.

    `config` overrides `DEFAULT_CONFIG`; `dtype` is F32, F16 or BF16. With `tokenizer` it also writes a byte-level
    tokenizer.json, tokenizer_config.json with a chat template, and generation_config.json; vocab_size is then 320
    unless given (at least `tiny_tokenizer.TOKENIZER_SIZE`).
    """
    overrides = {"vocab_size": 320, **(config or {})} if tokenizer else dict(config or {})
    full = tiny_config(overrides, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(full, indent=2))
    write_safetensors(folder / "model.safetensors", stored_tensors(full, dtype, seed), dtype)
    if tokenizer:
        write_tokenizer(folder, CHAT_TEMPLATE)
    return folder
