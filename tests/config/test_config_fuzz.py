"""Random configs: a checked LlamaConfig with usable frequencies, or an InfernoError, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferno.config import LlamaConfig
from inferno.errors import InfernoError
from inferno.rope import rope_frequencies
from tiny import DEFAULT_CONFIG

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

KEYS = [
    *DEFAULT_CONFIG,
    *["head_dim", "rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings", "torch_dtype"],
    *["dtype", "quantization_config", "layer_types", "sliding_window", "no_rope_layers", "partial_rotary_factor"],
]
GENERATION_KEYS = [
    *["do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "eos_token_id", "bos_token_id"],
    *["num_beams", "bad_words_ids"],
]
ROPE_KEYS = [
    *["rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "attention_factor", "truncate"],
    *["beta_fast", "beta_slow", "mscale", "mscale_all_dim", "low_freq_factor", "high_freq_factor", "short_factor"],
    *["long_factor", "partial_rotary_factor"],
]
TYPES = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"]

numbers = st.integers(-2, 2**65) | st.floats() | st.sampled_from([0, 1, 2, 4, 8, 64, 0.5, 1.0, 2.0, 1e308, 1e-308])
scalars = numbers | st.none() | st.booleans() | st.text(max_size=8) | st.sampled_from(["llama", "silu", *TYPES])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
positive = st.floats(1e-40, 1e40) | st.integers(1, 2**20)
ropes = st.fixed_dictionaries(
    {"rope_type": st.sampled_from(TYPES)},
    optional=dict.fromkeys(ROPE_KEYS[2:], positive | values),
) | st.dictionaries(st.sampled_from(ROPE_KEYS), values)


def changes(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys) | st.text(max_size=8), values, max_size=3)


def checked(config: dict[str, Any], generation: dict[str, Any], ctx_size: int) -> str | None:
    """What the config is refused with; None if it is taken, and then its frequencies are usable or refused."""
    try:
        read = LlamaConfig.from_dict(config, generation)
        table = rope_frequencies(read.rope, read.head_dim, read.max_position_embeddings, ctx_size)
    except InfernoError as error:
        return str(error)
    assert table.inv_freq.shape == (read.head_dim // 2,)
    assert (table.inv_freq > 0).all()
    assert read.num_attention_heads % read.num_key_value_heads == 0
    return None


@quick
@given(rope=ropes, ctx_size=st.integers(1, 2**31), name=st.sampled_from(["rope_scaling", "rope_parameters"]))
def test_random_ropes(rope: dict[str, Any], ctx_size: int, name: str) -> None:
    refusal = checked({**DEFAULT_CONFIG, name: rope}, {}, ctx_size)
    assert refusal is None or refusal.isprintable()


@quick
@given(config=changes(KEYS), generation=changes(GENERATION_KEYS))
def test_random_fields(config: dict[str, Any], generation: dict[str, Any]) -> None:
    refusal = checked({**DEFAULT_CONFIG, **config}, generation, 100)
    assert refusal is None or refusal.isprintable()


@quick
@given(content=st.binary(max_size=80))
def test_random_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InfernoError) as caught:
        LlamaConfig.from_folder(tmp_path)
    assert str(caught.value).isprintable()
