"""The tiny checkpoints whose logits are stored in tests/data/references: each varies a few things from the default.

Between them: every RoPE type in transformers' v4 and v5 spelling, tied and untied heads, biases, one to nine heads with
full, grouped and single key/value heads, head sizes that are no multiple of 8 and not hidden_size / heads, odd hidden,
inner and vocabulary sizes, the three dtypes, and from 70 to 700 positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tiny import random_tokens, tiny_config


@dataclass(frozen=True, eq=False)  # one object a case, so that it can be a cache's key
class Case:
    """One checkpoint and one text. `ctx_size` is the length for which `dynamic` and `longrope` fix their frequencies;
    the text has exactly that length, because transformers takes the frequencies from the text's."""

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    dtype: str = "F32"
    ctx_size: int = 70
    seed: int = 0

    @property
    def config(self) -> dict[str, Any]:
        return tiny_config(self.overrides, self.dtype)

    @property
    def token_ids(self) -> list[int]:
        return random_tokens(self.config["vocab_size"], self.ctx_size, self.seed)


def _heads(heads: int, kv_heads: int, hidden: int, head_dim: int | None = None, **more: Any) -> dict[str, Any]:
    sizes = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_size": hidden, **more}
    return sizes if head_dim is None else {**sizes, "head_dim": head_dim}


def _v5(rope_type: str, theta: float = 10000.0, max_positions: int = 512, **parameters: Any) -> dict[str, Any]:
    rope = {"rope_type": rope_type, "rope_theta": theta, **parameters}
    return {"rope_parameters": rope, "max_position_embeddings": max_positions}


def _v4(scaling: dict[str, Any] | None, theta: float = 10000.0, max_positions: int = 512) -> dict[str, Any]:
    return {"rope_theta": theta, "rope_scaling": scaling, "max_position_embeddings": max_positions}


# Eight numbers for head_dim 16, as a search over real checkpoints gives them: near 1 at first, then growing.
SHORT_FACTOR = [1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0]
LONG_FACTOR = [1.0, 1.2, 1.8, 2.6, 3.5, 4.1, 5.0, 6.0]
LONGROPE = {"short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}

SHAPES = [
    Case("plain_f32", _v4(None)),
    Case("plain_f16", dtype="F16", seed=1),
    Case("plain_bf16", dtype="BF16", seed=2),
    Case("tied_f32", {"tie_word_embeddings": True}, seed=3),
    Case("tied_f16", {"tie_word_embeddings": True, **_v4(None)}, "F16", seed=4),
    Case("tied_bf16", {"tie_word_embeddings": True}, "BF16", seed=5),
    Case("heads_5_1_dim_12", _heads(5, 1, 60), "BF16", 90, seed=6),
    Case("heads_9_3_dim_8", _heads(9, 3, 72, num_hidden_layers=3, tie_word_embeddings=True), "BF16", 90, seed=7),
    Case("heads_3_3_dim_20_hidden_63", _heads(3, 3, 63, 20), "F16", 90, seed=8),
    Case("heads_1_1_dim_6_hidden_33", _heads(1, 1, 33, 6, vocab_size=97, intermediate_size=51), "F32", 90, seed=9),
    Case("heads_7_1_dim_2", _heads(7, 1, 35, 2, intermediate_size=1), "F32", 90, seed=10),
    Case("heads_5_5_dim_32_hidden_65", _heads(5, 5, 65, 32), "BF16", 90, seed=11),
    Case("heads_4_2_dim_64", _heads(4, 2, 256, 64, intermediate_size=688, vocab_size=509), "BF16", 150, seed=12),
    Case("heads_2_1_dim_128", _heads(2, 1, 96, 128, intermediate_size=160), "F16", 150, seed=13),
    Case("kv_heads_unset", {"num_key_value_heads": None}, "F32", seed=14),
    Case("attention_bias", {"attention_bias": True}, "F32", seed=15),
    Case("mlp_bias", {"mlp_bias": True}, "F16", seed=16),
    Case("all_biases_tied", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, "BF16", seed=17),
    Case("large_eps", {"rms_norm_eps": 0.25}, "F32", seed=18),
    Case("six_layers", {"num_hidden_layers": 6}, "BF16", 100, seed=19),
    Case("positions_700", {"num_hidden_layers": 1}, "F32", 700, seed=20),
]

ROPE_TYPES = [
    Case("rope_theta_500000", _v5("default", 500000.0), "F32", 150, seed=30),
    Case("linear_v4", _v4({"type": "linear", "factor": 4.0}), "F32", 100, seed=31),
    Case("linear_v5", _v5("linear", factor=2.5), "BF16", 100, seed=32),
    Case("dynamic_beyond_v5", _v5("dynamic", max_positions=64, factor=2.0), "F32", 150, seed=33),
    Case("dynamic_beyond_v4", _v4({"rope_type": "dynamic", "factor": 4.0}, max_positions=96), "F16", 130, seed=34),
    Case("dynamic_within_v5", _v5("dynamic", max_positions=256, factor=2.0), "F32", 100, seed=35),
    Case("llama3_v5", _v5("llama3", 500000.0, 1024, **LLAMA3), "BF16", 150, seed=36),
    Case("llama3_v4", _v4({"rope_type": "llama3", **LLAMA3}, max_positions=1024), "F32", 150, seed=37),
    Case(
        "yarn_v5", _v5("yarn", max_positions=256, factor=4.0, original_max_position_embeddings=64), "F32", 150, seed=38
    ),
    Case(
        "yarn_v4",
        _v4({"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32}, max_positions=256),
        "BF16",
        100,
        seed=39,
    ),
    Case(
        "yarn_attention_factor",
        _v5("yarn", factor=4.0, original_max_position_embeddings=128, attention_factor=0.75),
        ctx_size=100,
        seed=40,
    ),
    Case(
        "yarn_mscale",
        _v5("yarn", factor=4.0, original_max_position_embeddings=128, mscale=1.2, mscale_all_dim=0.4),
        ctx_size=100,
        seed=41,
    ),
    Case(
        "yarn_betas_no_truncate",
        _v5("yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=16.0, beta_slow=2.0, truncate=False),
        ctx_size=100,
        seed=42,
    ),
    Case(
        "longrope_short_v5",
        _v5("longrope", max_positions=512, original_max_position_embeddings=128, factor=4.0, **LONGROPE),
        ctx_size=100,
        seed=43,
    ),
    Case(
        "longrope_long_v5",
        _v5("longrope", max_positions=512, original_max_position_embeddings=64, factor=8.0, **LONGROPE),
        ctx_size=150,
        seed=44,
    ),
    Case(
        "longrope_long_v4",
        {"original_max_position_embeddings": 64, **_v4({"type": "longrope", **LONGROPE}, max_positions=512)},
        "F16",
        130,
        seed=45,
    ),
    Case(
        "longrope_attention_factor",
        _v5("longrope", original_max_position_embeddings=64, factor=8.0, attention_factor=1.1, **LONGROPE),
        ctx_size=100,
        seed=46,
    ),
]

CASES = [*SHAPES, *ROPE_TYPES]
