"""One model in Hugging Face's layout and in Meta's, over any number of shards: bit for bit the same logits.

The same weights go through other files, other names, another order of rows, another rotation, and pieces that are
summed one after the other; equality is the proof of all of these at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferno.errors import CheckpointError, InfernoError, UnsupportedError
from inferno.models import load_model
from meta_writer import write_meta
from tiny import random_tokens, stored_tensors, tiny_config, write_tiny

# Widths that four shards split at multiples of eight.
OVERRIDES: dict[str, Any] = {"intermediate_size": 96, "vocab_size": 136}
TOKENS = 45  # more than a block of the cache
FORMS = ["pth", "safetensors"]


def logits(folder: Path, isa: str) -> np.ndarray:
    """Of a prompt in one go, and then of single tokens, whose kernels are others."""
    model = load_model(folder, ctx_size=64, threads=2, isa=isa)
    tokens = random_tokens(model.config.vocab_size, TOKENS, seed=1)
    sequence = model.new_sequence()
    rows = [model.forward(sequence, tokens[:-3], outputs="all").copy()]
    rows += [model.forward(sequence, [token]).copy() for token in tokens[-3:]]
    return np.concatenate(rows)


def both(folder: Path, overrides: dict[str, Any], dtype: str, **options: Any) -> tuple[Path, Path]:
    """The folders of one model in the two layouts."""
    config = tiny_config(overrides, dtype)
    meta = write_meta(folder / "meta", stored_tensors(config, dtype, 0), config, dtype, **options)
    return write_tiny(folder / "hf", overrides, dtype), meta


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("embedding_axis", [0, 1])
@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_same_bits(tmp_path: Path, isa: str, dtype: str, shards: int, embedding_axis: int, form: str) -> None:
    hf, meta = both(tmp_path, OVERRIDES, dtype, shards=shards, embedding_axis=embedding_axis, form=form)
    np.testing.assert_array_equal(logits(hf, isa), logits(meta, isa))
    assert load_model(meta, ctx_size=64, isa=isa).config.max_position_embeddings == 512


@pytest.mark.parametrize("kv_heads", [1, 2, 4, 8])
def test_grouped_queries(tmp_path: Path, isa: str, kv_heads: int) -> None:
    """Over four shards. Of fewer than four KV heads, the rows of one lie in several shards, and still join."""
    overrides = {**OVERRIDES, "hidden_size": 128, "num_attention_heads": 8, "num_key_value_heads": kv_heads}
    hf, meta = both(tmp_path, overrides, "BF16", shards=4)
    np.testing.assert_array_equal(logits(hf, isa), logits(meta, isa))


def test_scaled_rope(tmp_path: Path, isa: str) -> None:
    """Frequencies follow from use_scaled_rope and its factor as they follow from rope_scaling."""
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    overrides = {**OVERRIDES, "rope_theta": 500000.0, "rope_scaling": scaling}
    params = {"use_scaled_rope": True, "rope_scaling_factor": 8}
    hf, meta = both(tmp_path, overrides, "F32", params=params)
    expected = logits(hf, isa)
    np.testing.assert_array_equal(expected, logits(meta, isa))
    # the test would see a factor or a theta that is lost
    (meta / "params.json").write_text(json.dumps({**json.loads((meta / "params.json").read_text()), "rope_theta": 1e4}))
    assert not np.array_equal(expected, logits(meta, isa))


def test_order_of_rows_matters(tmp_path: Path, isa: str) -> None:
    """Rows of q and k in Hugging Face's order under Meta's names give other logits: the equality above can fail."""
    config = tiny_config(OVERRIDES)
    tensors = stored_tensors(config, "F32", 0)
    hf, meta = both(tmp_path, OVERRIDES, "F32")
    wrong = write_meta(tmp_path / "wrong", tensors, config, "F32", permute=False)
    assert not np.array_equal(logits(hf, isa), logits(wrong, isa))
    assert (meta / "params.json").read_text() == (wrong / "params.json").read_text()


def test_a_vocabulary_that_params_does_not_tell(tmp_path: Path, isa: str) -> None:
    """As Llama 1's and 2's: it follows from the embedding, also over shards that split it by columns."""
    hf, meta = both(tmp_path, OVERRIDES, "F32", shards=2, embedding_axis=1, params={"vocab_size": -1})
    assert load_model(meta, ctx_size=64, isa=isa).config.vocab_size == 136
    np.testing.assert_array_equal(logits(hf, isa), logits(meta, isa))


def refuse(folder: Path, what: str, error: type[InfernoError]) -> None:
    with pytest.raises(error, match=what):
        load_model(folder, ctx_size=64)


def test_a_cut_that_breaks_the_lanes(tmp_path: Path) -> None:
    """Two shards of 72 columns: the sum over k would have to stop in the middle of eight lanes."""
    _, meta = both(tmp_path, {"intermediate_size": 72}, "F32", shards=2)
    refuse(
        meta, "must end at a multiple of 8 columns, .* boundary at column 36 of 72; merge the shards", UnsupportedError
    )


def test_heads_repeated_over_shards(tmp_path: Path, isa: str) -> None:
    """Where shards are more than KV heads, Meta gives each shard a copy of its head and counts the copies."""
    hf = write_tiny(tmp_path / "hf", OVERRIDES)
    tensors = stored_tensors(tiny_config(OVERRIDES), "F32", 0)
    for name, stored in tensors.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            tensors[name] = stored.reshape(2, 16, -1).repeat(2, axis=0).reshape(64, -1)
    repeated = tiny_config({**OVERRIDES, "num_key_value_heads": 4})
    meta = write_meta(tmp_path / "meta", tensors, repeated, "F32", shards=4)
    np.testing.assert_array_equal(logits(hf, isa), logits(meta, isa))
    # and with the number of heads before the copies were made
    write_meta(tmp_path / "meta", tensors, repeated, "F32", shards=4, params={"n_kv_heads": 2})
    refuse(meta, r"layers.0.attention.wk.weight must be \[32, 64\]; got \[64, 64\]", CheckpointError)


def test_a_missing_shard(tmp_path: Path) -> None:
    _, meta = both(tmp_path, OVERRIDES, "F32", shards=4)
    (meta / "consolidated.03.pth").unlink()
    refuse(meta, "must hold 4 shards, .* got 3; download consolidated.03.pth", CheckpointError)
