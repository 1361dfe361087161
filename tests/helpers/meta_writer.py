"""Tiny checkpoints in Meta's original layout, from the tensors of one in Hugging Face's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from safetensors_writer import write_safetensors
from torch_writer import write_pth

NAMES = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}
BY_COLUMNS = ("wo", "w2")


def meta_name(name: str) -> str:
    """Meta's name of a tensor in Hugging Face's layout."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"layers.{layer}.{NAMES[module]}.{kind}"


def to_metas_order(weight: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of each head, from halves one after the other (r, i) to pairs side by side (i, r)."""
    heads = weight.shape[0] // head_dim
    return weight.reshape(heads, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def meta_tensors(tensors: Mapping[str, np.ndarray], head_dim: int, permute: bool = True) -> dict[str, np.ndarray]:
    """All tensors under Meta's names, q and k in Meta's order unless `permute` is false."""
    permuted = ("q_proj.weight", "k_proj.weight") if permute else ()
    return {
        meta_name(name): to_metas_order(stored, head_dim) if name.endswith(permuted) else stored
        for name, stored in tensors.items()
    }


def split(name: str, stored: np.ndarray, shards: int, embedding_axis: int) -> list[np.ndarray]:
    """What each shard holds of a tensor under Meta's name."""
    if stored.ndim == 1:
        return [stored] * shards
    by_columns = name.split(".")[-2] in BY_COLUMNS or (name == "tok_embeddings.weight" and embedding_axis == 1)
    return [np.ascontiguousarray(part) for part in np.array_split(stored, shards, axis=1 if by_columns else 0)]


def meta_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """params.json's content for config.json's, of which intermediate_size must be a multiple of 8."""
    dim, inner = config["hidden_size"], config["intermediate_size"]
    return {
        "dim": dim,
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"],
        "vocab_size": config["vocab_size"],
        # with a multiplier that leads just below `inner`, rounding up leads to it
        "ffn_dim_multiplier": (inner - 4) / (8 * dim // 3),
        "multiple_of": 8,
        "norm_eps": config["rms_norm_eps"],
        "rope_theta": (config.get("rope_parameters") or config)["rope_theta"],
        "max_seq_len": config["max_position_embeddings"],
    }


def write_meta(
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    dtype: str,
    *,
    shards: int = 1,
    form: str = "pth",
    embedding_axis: int = 0,
    params: Mapping[str, Any] | None = None,
    permute: bool = True,
) -> Path:
    """Writes params.json and consolidated.NN.<form> into `folder` (made if absent) and returns it.

    `tensors` and `config` are those of Hugging Face's layout (`tiny.stored_tensors`, `tiny.tiny_config`); `params`
    overrides what is made of `config`. Without `permute` the rows of q and k keep Hugging Face's order, which is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps({**meta_params(config), **(params or {})}))
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    pieces = {
        name: split(name, stored, shards, embedding_axis)
        for name, stored in meta_tensors(tensors, head_dim, permute).items()
    }
    for shard in range(shards):
        path = folder / f"consolidated.{shard:02d}.{form}"
        held = {name: parts[shard] for name, parts in pieces.items()}
        if form == "pth":
            write_pth(path, {name: (dtype, part) for name, part in held.items()}, path.stem)
        else:
            write_safetensors(path, held, dtype)
    return folder
