"""config.json from metadata: every field, and a refusal by name for what may change the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import ConfigError, UnsupportedError
from inferno.gguf_import import import_gguf
from tiny_gguf import bytes_vocab, write_tiny_gguf


def config_of(tmp_path: Path, dtype: str = "BF16", **kwargs: Any) -> dict[str, Any]:
    write_tiny_gguf(tmp_path / "m.gguf", **kwargs)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out", dtype)
    config: dict[str, Any] = json.loads((out / "config.json").read_text())
    return config


def test_all_fields(tmp_path: Path) -> None:
    assert config_of(tmp_path, metadata={"vocab_size": 260, "tensor_data_layout": "Meta AI original pth"}) == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 260,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "hidden_act": "silu",
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,  # not 9.999999747378752e-06, its float32
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@pytest.mark.parametrize(("dtype", "name"), [("F16", "float16"), ("F32", "float32")])
def test_untied_and_dtype(tmp_path: Path, dtype: str, name: str) -> None:
    config = config_of(tmp_path, dtype, tied=False)
    assert (config["tie_word_embeddings"], config["torch_dtype"]) == (False, name)


def test_defaults_and_per_layer_lists(tmp_path: Path) -> None:
    metadata = {"rope.freq_base": None, "rope.dimension_count": None, "attention.head_count_kv": [2, 2]}
    config = config_of(tmp_path, metadata=metadata)
    assert (config["rope_theta"], config["num_key_value_heads"]) == (10000.0, 2)


def test_the_end_ids_go_to_generation_config(tmp_path: Path) -> None:
    vocab = bytes_vocab(eot_token_id=0, padding_token_id=0)
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 0}


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"architecture": "qwen2"}, UnsupportedError, "general.architecture must be llama; got 'qwen2'"),
        ({"metadata": {"expert_count": 8}}, UnsupportedError, "llama.expert_count must be 0; mixtures of experts"),
        (
            {"metadata": {"attention.sliding_window": 64}},
            UnsupportedError,
            "metadata key llama.attention.sliding_window is not known to the import, and may change the model",
        ),
        (
            {"metadata": {"rope.dimension_count": 32}},
            UnsupportedError,
            "llama.rope.dimension_count must be the head dimension, 64; got 32",
        ),
        (
            {"metadata": {"attention.value_length": 32}},
            UnsupportedError,
            "llama.attention.value_length must be the head dimension, 64; got 32",
        ),
        (
            {"metadata": {"attention.head_count_kv": [2, 1]}},
            UnsupportedError,
            "llama.attention.head_count_kv must be equal in all layers",
        ),
        ({"metadata": {"block_count": None}}, ConfigError, "metadata has no llama.block_count, which the import needs"),
        ({"metadata": {"block_count": 0}}, ConfigError, "llama.block_count must be an integer of at least 1; got 0"),
        (
            {"metadata": {"context_length": "many"}},
            ConfigError,
            "llama.context_length must be an integer .* got 'many'",
        ),
        (
            {"metadata": {"attention.layer_norm_rms_epsilon": -1.0}},
            ConfigError,
            "llama.attention.layer_norm_rms_epsilon must be a positive number; got -1.0",
        ),
        ({"metadata": {"rope.freq_base": float("inf")}}, ConfigError, "llama.rope.freq_base must be a positive number"),
    ],
)
def test_refusals(tmp_path: Path, kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", **kwargs)
    with pytest.raises(error, match=message):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]


def test_heads_that_do_not_divide(tmp_path: Path) -> None:
    def edit(values: dict[str, np.ndarray]) -> None:
        for layer in range(2):
            for part in "kv":
                values[f"blk.{layer}.attn_{part}.weight"] = np.zeros((192, 256), np.float32)

    write_tiny_gguf(tmp_path / "m.gguf", metadata={"attention.head_count_kv": 3}, edit=edit)
    with pytest.raises(ConfigError, match="head_count must be a multiple of head_count_kv; got 4 and 3"):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out")
