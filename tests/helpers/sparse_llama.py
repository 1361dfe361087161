"""Checkpoints of the size of real ones whose weights are holes in sparse files: headers without a disk full of data."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from containers import entry
from tiny import tensor_shapes

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "torch_dtype": "bfloat16",
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}


def write_sparse(folder: Path, config: Mapping[str, Any] = LLAMA_8B, shards: int = 4) -> Path:
    """Writes config.json, BF16 shards of about equal size that hold zeros, and their index; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    shapes = tensor_shapes(config)
    total = sum(_bytes(shape) for shape in shapes.values())
    files: list[dict[str, tuple[int, ...]]] = [{} for _ in range(shards)]
    done = 0
    for name, shape in shapes.items():
        files[min(done * shards // total, shards - 1)][name] = shape
        done += _bytes(shape)
    weight_map = {}
    for number, inside in enumerate(files, start=1):
        file = f"model-{number:05d}-of-{shards:05d}.safetensors"
        write_sparse_file(folder / file, inside)
        weight_map |= dict.fromkeys(inside, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_sparse_file(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """A safetensors file of two-byte elements whose data are a hole."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        header[name] = entry(dtype, list(shape), end, end + _bytes(shape))
        end += _bytes(shape)
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)


# Layers of 128 MB in int8, whose head and embedding have next to nothing.
WIDE: dict[str, Any] = {
    **LLAMA_8B,
    "vocab_size": 256,
    "hidden_size": 2048,
    "intermediate_size": 4096,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_scaling": None,
}
_W8A8: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True},
            "input_activations": {
                "num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True,
            },
        }
    },
}  # fmt: skip


def write_sparse_w8a8(folder: Path, config: Mapping[str, Any] = WIDE) -> Path:
    """compressed-tensors' W8A8: codes and what stays BF16 are holes, only the scales are written (F32, all 0.01)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": _W8A8}))
    header: dict[str, Any] = {}
    scales: list[tuple[int, int]] = []  # where they begin, and how many they are
    end = 0

    def add(name: str, dtype: str, shape: tuple[int, ...], itemsize: int) -> None:
        nonlocal end
        begin, end = end, end + itemsize * math.prod(shape)
        header[name] = entry(dtype, list(shape), begin, end)

    for name, shape in tensor_shapes(config).items():
        if not name.endswith("_proj.weight"):
            add(name, "BF16", shape, 2)
            continue
        scales.append((end, shape[0]))
        add(f"{name}_scale", "F32", (shape[0], 1), 4)
        add(name, "I8", shape, 1)
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for begin, count in scales:
            file.seek(8 + len(raw) + begin)
            file.write(struct.pack("<f", 0.01) * count)
        file.truncate(8 + len(raw) + end)
    return folder


def write_large_tokenizer(folder: Path, vocab_size: int = 128256) -> None:
    """tokenizer.json of a byte-level BPE with a vocabulary and special tokens like Llama 3's, indented as those are."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    specials = 256
    tokens = list(letters)
    merges = []
    for first in letters:
        for second in letters:
            merges.append([first, second])
            tokens.append(first + second)
    pairs = tokens[len(letters) :]
    for number in range(vocab_size - specials - len(tokens)):
        merges.append([pairs[number % len(pairs)], letters[number // len(pairs)]])
        tokens.append("".join(merges[-1]))
    base = vocab_size - specials
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": base + number, "content": f"<|reserved_special_token_{number}|>", "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for number in range(specials)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
            "vocab": {token: number for number, token in enumerate(tokens)}, "merges": merges,
        },
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, indent=2), encoding="utf-8")


def _bytes(shape: tuple[int, ...]) -> int:
    size = 2
    for n in shape:
        size *= n
    return size
