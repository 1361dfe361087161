"""GGUF metadata of the architecture `llama` -> the fields of config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferno.errors import CheckpointError, ConfigError, UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile
from inferno.gguf_import.rope import ROPE_KEYS, rope_scaling

# Keys that are read here, and keys that change nothing: how the file came about, or what the shapes already say.
_READ = {
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "vocab_size",
    "rope.dimension_count",
    "rope.freq_base",
    "expert_count",
    "expert_used_count",
    *ROPE_KEYS,
}
_HARMLESS = {"tensor_data_layout", "rope.scaling.finetuned"}


@dataclass(frozen=True)
class LlamaDims:
    """The sizes that shapes follow from."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int


def check_architecture(gguf: GgufFile) -> None:
    """Raises UnsupportedError unless the file holds a Llama without anything that changes its arithmetic."""
    meta = Metadata(gguf)
    architecture = meta.text("general.architecture")
    if architecture != "llama":
        raise UnsupportedError(f"{gguf.path}: general.architecture must be llama; got {architecture!r}")
    if meta.integer("llama.expert_count", default=0, minimum=0):
        raise UnsupportedError(f"{gguf.path}: llama.expert_count must be 0; mixtures of experts are not supported")
    for key in gguf.metadata:
        if key.startswith("llama.") and key.removeprefix("llama.") not in _READ | _HARMLESS:
            raise UnsupportedError(
                f"{gguf.path}: metadata key {key} is not known to the import, and may change the model"
            )


def read_dims(gguf: GgufFile) -> LlamaDims:
    """Sizes from the metadata, and vocab_size from the embedding. Raises ConfigError, UnsupportedError."""
    meta = Metadata(gguf)
    embedding = gguf.tensors.get("token_embd.weight")
    if embedding is None:
        raise CheckpointError(f"{gguf.path}: has no tensor token_embd.weight; a vocabulary alone cannot be imported")
    hidden = meta.integer("llama.embedding_length")
    heads = _one_for_all_layers(meta, "llama.attention.head_count")
    head_dim = meta.integer("llama.attention.key_length", default=max(1, hidden // heads))
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if meta.integer(key, default=head_dim) != head_dim:
            raise UnsupportedError(f"{gguf.path}: {key} must be the head dimension, {head_dim}; got {meta.values[key]}")
    return LlamaDims(
        hidden_size=hidden,
        intermediate_size=_one_for_all_layers(meta, "llama.feed_forward_length"),
        num_hidden_layers=meta.integer("llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_one_for_all_layers(meta, "llama.attention.head_count_kv", default=heads),
        head_dim=head_dim,
        vocab_size=embedding.shape[0],
    )


def config_json(
    gguf: GgufFile, dims: LlamaDims, dtype: str, *, tied: bool, attention_bias: bool, mlp_bias: bool
) -> dict[str, Any]:
    """The fields of config.json that follow from metadata and tensors; token ids are the tokenizer's to add."""
    meta = Metadata(gguf)
    if dims.num_attention_heads % dims.num_key_value_heads:
        raise ConfigError(
            f"{gguf.path}: llama.attention.head_count must be a multiple of head_count_kv; "
            f"got {dims.num_attention_heads} and {dims.num_key_value_heads}"
        )
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": dims.vocab_size,
        "hidden_size": dims.hidden_size,
        "intermediate_size": dims.intermediate_size,
        "num_hidden_layers": dims.num_hidden_layers,
        "num_attention_heads": dims.num_attention_heads,
        "num_key_value_heads": dims.num_key_value_heads,
        "head_dim": dims.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": meta.integer("llama.context_length"),
        "rms_norm_eps": meta.number("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": meta.number("llama.rope.freq_base", default=10000.0),
        "rope_scaling": rope_scaling(gguf, dims.head_dim),
        "attention_bias": attention_bias,
        "mlp_bias": mlp_bias,
        "tie_word_embeddings": tied,
        "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype],
        "use_cache": True,
    }


def _one_for_all_layers(meta: Metadata, key: str, default: int | None = None) -> int:
    value = meta.values.get(key)
    if isinstance(value, np.ndarray):
        if len(value) == 0 or (value != value[0]).any():
            raise UnsupportedError(f"{meta.path}: {key} must be equal in all layers; it differs between them")
        return int(value[0])
    return meta.integer(key, default)
