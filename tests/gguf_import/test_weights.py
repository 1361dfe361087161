"""Weights through the whole import, compared with what the package gguf dequantizes, rows put back in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from inferno.errors import CheckpointError, UnsupportedError
from inferno.gguf_import import import_gguf, weights
from inferno.gguf_import.rounding import round_to
from tiny_gguf import BLOCK_TYPES, HEAD_DIM, HEADS, HIDDEN, INNER, KV_HEADS, LAYERS, write_tiny_gguf

NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def rotate_interleaved(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """llama.cpp's rotation of one head: neighbours 2i and 2i + 1 by angle i."""
    out = np.empty_like(x)
    out[0::2] = x[0::2] * np.cos(angles) - x[1::2] * np.sin(angles)
    out[1::2] = x[1::2] * np.cos(angles) + x[0::2] * np.sin(angles)
    return out


def rotate_half_split(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """transformers' rotation of one head: i and i + head_dim / 2 by angle i."""
    a, b = np.split(x, 2)
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)])


def in_half_split_order(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row r * half + i of each head comes from row 2i + r: spelled out, row by row."""
    out = np.empty_like(rows)
    half = HEAD_DIM // 2
    for head in range(heads):
        for i in range(half):
            for r in range(2):
                out[head * HEAD_DIM + r * half + i] = rows[head * HEAD_DIM + 2 * i + r]
    return out


def expected_tensors(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {"model.embed_tokens.weight": values["token_embd.weight"], "model.norm.weight": values["output_norm.weight"]}
    if "output.weight" in values:
        out["lm_head.weight"] = values["output.weight"]
    for name, value in values.items():
        if name.startswith("blk."):
            _, layer, part, kind = name.split(".")
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(part)
            key = f"model.layers.{layer}.{NAMES[part]}.{kind}"
            out[key] = value if heads is None else in_half_split_order(value, heads)
    return out


def imported(folder: Path) -> dict[str, np.ndarray]:
    """All tensors as float32; BF16, which the library cannot give to NumPy, from its own bytes."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8:start])
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            dtype = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}[entry["dtype"]]
            data = np.frombuffer(raw[start + begin : start + end], dtype).reshape(entry["shape"])
            widened = (data.astype(np.uint32) << 16).view(np.float32) if dtype is np.uint16 else data.astype(np.float32)
            out[name] = widened
    return out


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    stored = round_to(values, dtype, "test")  # type: ignore[arg-type]
    return (stored.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else stored.astype(np.float32)


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_every_block_type_in_every_dtype(tmp_path: Path, block_type: str, dtype: str) -> None:
    values = write_tiny_gguf(tmp_path / "m.gguf", block_type=block_type)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out", dtype)
    expected, got = expected_tensors(values), imported(out)
    assert set(got) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], rounded(value, dtype), err_msg=name)


def test_the_order_of_rows_makes_both_rotations_agree() -> None:
    rng = np.random.default_rng(3)
    order = weights.half_split_order(1, HEAD_DIM)
    query, key = rng.standard_normal((2, HEAD_DIM))
    angles = rng.uniform(0, 6, HEAD_DIM // 2)
    in_file = rotate_interleaved(query, angles) @ rotate_interleaved(key, angles * 2)
    in_checkpoint = rotate_half_split(query[order], angles) @ rotate_half_split(key[order], angles * 2)
    assert in_checkpoint == pytest.approx(in_file, rel=1e-12)


def test_the_library_reads_the_file(tmp_path: Path) -> None:
    values = write_tiny_gguf(tmp_path / "m.gguf", tied=False)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out", "F32")
    got = load_file(out / "model.safetensors")
    for name, value in expected_tensors(values).items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    with safe_open(out / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_small_blocks_give_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", block_type="Q4_K")
    whole = import_gguf(tmp_path / "m.gguf", tmp_path / "whole")
    monkeypatch.setattr(weights, "_BLOCK_ELEMENTS", 3 * HIDDEN + 1)
    pieces = import_gguf(tmp_path / "m.gguf", tmp_path / "pieces")
    assert (whole / "model.safetensors").read_bytes() == (pieces / "model.safetensors").read_bytes()


def test_data_begins_on_a_cache_line(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "m.gguf")
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    with (out / "model.safetensors").open("rb") as file:
        assert (8 + int.from_bytes(file.read(8), "little")) % 64 == 0


def test_biases_of_some_matrices_are_completed_with_zeros(tmp_path: Path) -> None:
    parts = ("attn_q", "attn_k", "attn_v", "ffn_down")
    values = write_tiny_gguf(tmp_path / "m.gguf", biases=parts)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out", "F32")
    config, got = json.loads((out / "config.json").read_text()), imported(out)
    assert (config["attention_bias"], config["mlp_bias"]) == (True, True)
    for name, value in expected_tensors(values).items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        np.testing.assert_array_equal(got[f"{prefix}.self_attn.o_proj.bias"], np.zeros(HIDDEN))
        np.testing.assert_array_equal(got[f"{prefix}.mlp.gate_proj.bias"], np.zeros(INNER))
        np.testing.assert_array_equal(got[f"{prefix}.mlp.up_proj.bias"], np.zeros(INNER))


def test_a_bias_in_a_later_layer_alone_is_not_lost(tmp_path: Path) -> None:
    bias = np.arange(HIDDEN, dtype=np.float32)
    write_tiny_gguf(tmp_path / "m.gguf", extra_tensors={"blk.1.attn_output.bias": bias})
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out", "F32")
    got = imported(out)
    np.testing.assert_array_equal(got["model.layers.1.self_attn.o_proj.bias"], bias)
    np.testing.assert_array_equal(got["model.layers.0.self_attn.o_proj.bias"], np.zeros(HIDDEN))


def drop(name: str) -> Any:
    return lambda values: values.pop(name)


def reshape(name: str, shape: tuple[int, ...]) -> Any:
    return lambda values: values.update({name: np.zeros(shape, np.float32)})


def fill(name: str, value: float) -> Any:
    return lambda values: values[name].__setitem__((0, 0), value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("blk.1.ffn_up.weight"), "has no tensor blk.1.ffn_up.weight, which a Llama of this size must have"),
        (drop("token_embd.weight"), "has no tensor token_embd.weight; a vocabulary alone cannot be imported"),
        (
            reshape("blk.0.attn_k.weight", (64, HIDDEN)),
            r"tensor blk.0.attn_k.weight must be \(128, 256\) to match the metadata; got \(64, 256\)",
        ),
        (fill("blk.0.attn_q.weight", np.nan), "tensor model.layers.0.self_attn.q_proj.weight: weights must be finite"),
        (fill("blk.0.ffn_up.weight", 1e6), "mlp.up_proj.weight: holds 1e\\+06, which does not fit F16"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, edit: Any, message: str) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", edit=edit)
    with pytest.raises(CheckpointError, match=message):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out", "F16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]


@pytest.mark.parametrize("name", ["blk.0.attn_q_norm.weight", "blk.0.ffn_gate_exps.weight", "blk.2.attn_q.weight"])
def test_a_tensor_without_a_place_is_refused(tmp_path: Path, name: str) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", extra_tensors={name: np.zeros((2, 32), np.float32)})
    with pytest.raises(UnsupportedError, match=f"tensor {name} has no place in a Llama"):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out")


def test_stored_inverse_frequencies_are_left_out(tmp_path: Path) -> None:
    extra = {"blk.0.attn_rot_embd.weight": np.ones(32, np.float32)}
    write_tiny_gguf(tmp_path / "m.gguf", extra_tensors=extra)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert not [name for name in imported(out) if "rot" in name]
