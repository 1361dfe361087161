"""params.json: Meta's published files give the config that transformers' converter gives, and nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferno.config import LlamaConfig, RopeConfig
from inferno.config.params import config_from_params
from inferno.errors import ConfigError, InfernoError, ModelNotFoundError, UnsupportedError
from inferno.files import show

LLAMA1_7B = {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-06, "vocab_size": -1}
LLAMA3_8B = {
    "dim": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 8,
    "vocab_size": 128256,
    "multiple_of": 1024,
    "ffn_dim_multiplier": 1.3,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
}
LLAMA32_1B = {
    "dim": 2048,
    "ffn_dim_multiplier": 1.5,
    "multiple_of": 256,
    "n_heads": 32,
    "n_kv_heads": 8,
    "n_layers": 16,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
    "vocab_size": 128256,
}
TINY = {"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 131}


def llama3_scaling(factor: float) -> dict[str, Any]:
    return {
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }


def hugging_face(
    hidden: int, inner: int, layers: int, heads: int, kv: int, eps: float, vocab: int, context: int, **more: Any
) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "rms_norm_eps": eps,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "rope_theta": 10000.0,
        **more,
    }


# Meta's params.json, the rows of tok_embeddings, and the config.json of the same model on the hub.
PUBLISHED: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "Llama 1 7B": (LLAMA1_7B, 32000, hugging_face(4096, 11008, 32, 32, 32, 1e-6, 32000, 2048)),
    "Llama 1 65B": (
        {**LLAMA1_7B, "dim": 8192, "n_heads": 64, "n_layers": 80, "norm_eps": 1e-05},
        32000,
        hugging_face(8192, 22016, 80, 64, 64, 1e-5, 32000, 2048),
    ),
    "Llama 2 7B": (
        {**LLAMA1_7B, "norm_eps": 1e-05},
        32000,
        hugging_face(4096, 11008, 32, 32, 32, 1e-5, 32000, 4096),
    ),
    "Llama 2 13B": (
        {**LLAMA1_7B, "dim": 5120, "n_heads": 40, "n_layers": 40, "norm_eps": 1e-05},
        32000,
        hugging_face(5120, 13824, 40, 40, 40, 1e-5, 32000, 4096),
    ),
    "Llama 2 70B": (
        {
            "dim": 8192,
            "multiple_of": 4096,
            "ffn_dim_multiplier": 1.3,
            "n_heads": 64,
            "n_kv_heads": 8,
            "n_layers": 80,
            "norm_eps": 1e-05,
            "vocab_size": -1,
        },
        32000,
        hugging_face(8192, 28672, 80, 64, 8, 1e-5, 32000, 4096),
    ),
    "Code Llama 7B": (
        {**LLAMA1_7B, "norm_eps": 1e-05, "ffn_dim_multiplier": 1.0, "vocab_size": 32016, "rope_theta": 1000000},
        32016,
        hugging_face(4096, 11008, 32, 32, 32, 1e-5, 32016, 16384, rope_theta=1e6),
    ),
    "Llama 3 8B": (LLAMA3_8B, 128256, hugging_face(4096, 14336, 32, 32, 8, 1e-5, 128256, 8192, rope_theta=5e5)),
    "Llama 3.1 8B": (
        {**LLAMA3_8B, "use_scaled_rope": True},
        128256,
        hugging_face(4096, 14336, 32, 32, 8, 1e-5, 128256, 131072, rope_theta=5e5, rope_scaling=llama3_scaling(8.0)),
    ),
    "Llama 3.3 70B": (
        {**LLAMA3_8B, "dim": 8192, "n_heads": 64, "n_layers": 80, "multiple_of": 4096, "use_scaled_rope": True},
        128256,
        hugging_face(8192, 28672, 80, 64, 8, 1e-5, 128256, 131072, rope_theta=5e5, rope_scaling=llama3_scaling(8.0)),
    ),
    "Llama 3.1 405B": (
        {
            **LLAMA3_8B,
            "dim": 16384,
            "n_heads": 128,
            "n_layers": 126,
            "multiple_of": 4096,
            "ffn_dim_multiplier": 1.2,
            "use_scaled_rope": True,
        },
        128256,
        hugging_face(16384, 53248, 126, 128, 8, 1e-5, 128256, 131072, rope_theta=5e5, rope_scaling=llama3_scaling(8.0)),
    ),
    "Llama 3.2 1B, mended": (
        {**LLAMA32_1B, "rope_scaling_factor": 32},
        128256,
        hugging_face(2048, 8192, 16, 32, 8, 1e-5, 128256, 131072, rope_theta=5e5, rope_scaling=llama3_scaling(32.0)),
    ),
    "Llama 3.2 3B, mended": (
        {
            **LLAMA32_1B,
            "dim": 3072,
            "n_layers": 28,
            "n_heads": 24,
            "ffn_dim_multiplier": 1.0,
            "rope_scaling_factor": 32.0,
        },
        128256,
        hugging_face(3072, 8192, 28, 24, 8, 1e-5, 128256, 131072, rope_theta=5e5, rope_scaling=llama3_scaling(32.0)),
    ),
}
ARITHMETIC = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "max_position_embeddings",
    "rope",
    "attention_bias",
    "mlp_bias",
    "hidden_act",
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_meta_published(name: str) -> None:
    params, rows, config = PUBLISHED[name]
    ours, theirs = config_from_params(params, vocab_size=rows), LlamaConfig.from_dict(config)
    assert {key: getattr(ours, key) for key in ARITHMETIC} == {key: getattr(theirs, key) for key in ARITHMETIC}
    assert ours.unknown_keys == ()
    assert ours.eos_token_ids == frozenset()
    assert not ours.tie_word_embeddings
    assert "max_seq_len" in ours.defaulted


def test_the_least_there_can_be() -> None:
    config = config_from_params(TINY)
    assert (config.vocab_size, config.hidden_size, config.head_dim) == (131, 64, 16)
    assert (config.num_key_value_heads, config.rms_norm_eps) == (4, 1e-5)
    assert config.intermediate_size == 256
    assert config.rope == RopeConfig()
    assert set(config.defaulted) == {
        *("n_kv_heads", "norm_eps", "multiple_of", "rope_theta", "use_scaled_rope", "max_seq_len")
    }


def test_a_given_context_counts() -> None:
    config = config_from_params({**TINY, "max_seq_len": 300})
    assert config.max_position_embeddings == 300
    assert "max_seq_len" not in config.defaulted


@pytest.mark.parametrize("absent", [{"vocab_size": -1}, {"vocab_size": None}, {}])
def test_the_vocabulary_of_early_files_comes_from_the_tensors(absent: dict[str, Any]) -> None:
    params = {key: value for key, value in TINY.items() if key != "vocab_size"} | absent
    assert config_from_params(params, vocab_size=77).vocab_size == 77
    what = r": vocab_size must be from 1 to 16777216, for no tok_embeddings.weight tells it; got (-1|no such field)$"
    with pytest.raises(ConfigError, match=what):
        config_from_params(params)
    with pytest.raises(ConfigError, match=r"tok_embeddings.weight must have 1 to 16777216 rows; got 0"):
        config_from_params(params, vocab_size=0)


def test_a_given_vocabulary_counts() -> None:
    assert config_from_params(TINY, vocab_size=77).vocab_size == 131


# The trap of Llama 3.2


@pytest.mark.parametrize(
    ("params", "likely", "add"),
    [
        (LLAMA32_1B, "; Llama 3.2 1B has this shape", "32"),
        ({**LLAMA32_1B, "dim": 3072, "n_layers": 28, "n_heads": 24}, "; Llama 3.2 3B has this shape", "32"),
        ({**TINY, "use_scaled_rope": True}, "", "8 or 32"),
        ({**LLAMA3_8B, "use_scaled_rope": True, "n_layers": 16}, "", "8 or 32"),
        ({**LLAMA3_8B, "use_scaled_rope": True, "vocab_size": 32000}, "", "8 or 32"),
    ],
)
def test_a_scaling_factor_is_not_guessed(params: dict[str, Any], likely: str, add: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_params(params, "/m/params.json")
    assert str(caught.value) == (
        "/m/params.json: rope_scaling_factor must be given beside use_scaled_rope; got no such field, and params.json "
        f"tells it in no other way: Llama 3.1 and 3.3 have 8, Llama 3.2 1B and 3B have 32{likely}; add "
        f'"rope_scaling_factor": {add} to the file, as the model\'s config.json has it'
    )


def test_given_scaling_factors_count() -> None:
    """Under the names that llama-models' Llama 4 has for them."""
    scaled = {**LLAMA3_8B, "use_scaled_rope": True, "rope_scaling_factor": 16, "rope_high_freq_factor": 2}
    rope = config_from_params(scaled).rope
    assert (rope.factor, rope.low_freq_factor, rope.high_freq_factor) == (16.0, 1.0, 2.0)
    assert config_from_params({**scaled, "use_scaled_rope": False}).rope.rope_type == "default"


def test_a_factor_that_follows_from_the_shape_is_told() -> None:
    config = config_from_params({**LLAMA3_8B, "use_scaled_rope": True})
    assert config.defaulted == ("rope_scaling_factor", "max_seq_len")


# Values that make no sense


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"dim": None}, "dim must be an integer from 1 to 4194304; got no such field"),
        ({"dim": 64.0}, "dim must be an integer from 1 to 4194304; got 64.0"),
        ({"dim": True}, "dim must be an integer from 1 to 4194304; got true"),
        ({"dim": 65}, r"dim must be a multiple of n_heads \(4\); got 65"),
        ({"dim": 12}, r"dim must be n_heads \(4\) times an even number up to 4096, for RoPE; got 12"),
        ({"dim": 65536, "n_heads": 1}, r"dim must be n_heads \(1\) times an even number up to 4096"),
        ({"n_heads": 0}, "n_heads must be an integer from 1 to 16384; got 0"),
        ({"n_layers": -1}, "n_layers must be an integer from 1 to 4096; got -1"),
        ({"n_kv_heads": 3}, r"n_kv_heads must be a divisor of n_heads \(4\); got 3"),
        ({"n_kv_heads": 8}, r"n_kv_heads must be a divisor of n_heads \(4\); got 8"),
        ({"vocab_size": 0}, "vocab_size must be an integer from 1 to 16777216; got 0"),
        ({"vocab_size": -2}, "vocab_size must be an integer from 1 to 16777216; got -2"),
        ({"vocab_size": -1.0}, "vocab_size must be an integer from 1 to 16777216; got -1.0"),
        ({"multiple_of": 0}, "multiple_of must be an integer from 1 to 4194304; got 0"),
        ({"ffn_dim_multiplier": 0}, "ffn_dim_multiplier must be a finite number above 0 and at most 1e\\+06; got 0"),
        ({"ffn_dim_multiplier": "1.3"}, "ffn_dim_multiplier must be a finite number"),
        ({"ffn_dim_multiplier": 1e6}, "must lead to 1 to 4194304 columns of w2; got 170000128"),
        ({"ffn_dim_multiplier": 1e-9}, "must lead to 1 to 4194304 columns of w2; got 0"),
        ({"norm_eps": 0}, "norm_eps must be a finite number above 0 and at most 1; got 0"),
        ({"rope_theta": 0.5}, "rope_theta must be a finite number above 1"),
        ({"use_scaled_rope": 1}, "use_scaled_rope must be true or false; got 1"),
        ({"use_scaled_rope": True, "rope_scaling_factor": 0}, "rope_scaling_factor must be a finite number above 0"),
        (
            {"use_scaled_rope": True, "rope_high_freq_factor": 1},
            "rope_high_freq_factor must be a finite number above 1; got 1",
        ),
        (
            {"use_scaled_rope": True, "rope_high_freq_factor": 0},
            "rope_high_freq_factor must be a finite number above 1; got 0",
        ),
        ({"max_seq_len": 0}, "max_seq_len must be an integer from 1"),
        (
            {"vocab_size": 128256},
            r"rope_theta must be given for a vocab_size of 128256 \(Llama 3 uses 500000\); got no such field; restore",
        ),
    ],
)
def test_values_out_of_bounds(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=rf"^/m/params.json: .*{what}"):
        config_from_params({**TINY, **change}, "/m/params.json")


@pytest.mark.parametrize(
    ("change", "off"),
    [
        ({"quantization_args": {"group_size": 256}}, "absent or null or {}"),
        ({"lora_args": {"rank": 16, "scale": 2.0}}, "absent or null or {}"),
        ({"vision_chunk_size": 448}, "absent or null or -1"),
        ({"vision_num_cross_attention_layers": 8}, "absent or null or -1 or 0"),
        ({"moe_args": {"num_experts": 16}}, "absent or null"),
        ({"moe": {"num_experts": 8}}, "absent or null"),
        ({"hidden_dim": 14336}, "absent or null"),
        ({"sliding_window": 4096}, "absent or null"),
        ({"use_qk_norm": True}, "absent or null or false"),
        ({"attention_chunk_size": 8192}, "absent or null"),
        ({"nope_layer_interval": 4}, "absent or null or 0"),
    ],
)
def test_other_arithmetic(change: dict[str, Any], off: str) -> None:
    (key,) = change
    with pytest.raises(UnsupportedError) as caught:
        config_from_params({**TINY, **change})
    assert str(caught.value) == (
        f"params.json: {key} must be {off}, for Inferno does not implement it; got {show(change[key])}"
    )


def test_head_dim() -> None:
    assert config_from_params({**TINY, "head_dim": 16}).head_dim == 16
    for value in (32, 16.0, True):
        with pytest.raises(UnsupportedError, match=r"head_dim must be absent or dim / n_heads \(16\); got "):
            config_from_params({**TINY, "head_dim": value})


def test_neutral_and_unknown_keys() -> None:
    neutral = {"quantization_args": None, "lora_args": None, "vision_chunk_size": -1, "max_batch_size": 32}
    config = config_from_params({**TINY, **neutral, "vision_max_num_chunks": 4, "zeta": 1, "alpha": None})
    assert config.unknown_keys == ("alpha", "zeta")


# Folders


def write(folder: Path, params: object) -> Path:
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "consolidated.00.pth").write_bytes(b"x")
    return folder


def test_from_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {**TINY, "vocab_size": -1})
    assert LlamaConfig.from_folder(tmp_path, vocab_size=99).vocab_size == 99
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/params.json: vocab_size must be"):
        LlamaConfig.from_folder(tmp_path)


def test_a_folder_without_params(tmp_path: Path) -> None:
    (tmp_path / "consolidated.00.pth").write_bytes(b"x")
    what = (
        rf"^{tmp_path}: must hold params.json; got consolidated.00.pth; a model folder in Meta's layout holds "
        r"params.json, consolidated.00.pth \(and its further shards\) and tokenizer.model$"
    )
    with pytest.raises(ModelNotFoundError, match=what):
        LlamaConfig.from_folder(tmp_path)


def test_params_that_are_no_object(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must hold a JSON object"):
        LlamaConfig.from_folder(write(tmp_path, []))


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.integers(1, 64) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    [*LLAMA32_1B, "rope_scaling_factor", "rope_high_freq_factor", "max_seq_len", "head_dim", "lora_args"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(keys, values, max_size=4), rows=st.none() | st.integers(-1, 300))
def test_random_values(change: dict[str, Any], rows: int | None) -> None:
    refused = None
    try:
        config = config_from_params({**TINY, **change}, vocab_size=rows)
    except InfernoError as error:
        refused = str(error)
    if refused is not None:
        assert refused.isprintable()
        return
    assert config.hidden_size == config.num_attention_heads * config.head_dim
    assert config.num_attention_heads % config.num_key_value_heads == 0
