"""Writes tiny Llama GGUFs with the package gguf: every block type, both vocabularies, what else a test changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 256, 512, 4, 2, 64, 2
BLOCK_TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# Where in a block of the K types the float16 scales lie; all other bytes may be anything.
_K_SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass
class Vocab:
    """tokenizer.ggml.* of a file."""

    model: str
    tokens: list[str]
    types: list[int]
    pre: str | None = None
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)  # without the prefix tokenizer.ggml.


def bytes_vocab(pre: str | None = "smollm", **extra: Any) -> Vocab:
    """A gpt2 vocabulary: three specials, the 256 bytes and one merge."""
    tokens = ["<|end|>", "<|im_start|>", "<|im_end|>", *sorted(_byte_alphabet()), "he"]
    types = [CONTROL] * 3 + [NORMAL] * 257
    roles = {"bos_token_id": 1, "eos_token_id": 2, **extra}
    return Vocab("gpt2", tokens, types, pre=pre, merges=["h e"], extra=roles)


def quantized(rng: np.random.Generator, shape: tuple[int, ...], block_type: str) -> np.ndarray:
    """Random data of the type, as rows of bytes; about unit size when dequantized."""
    kind = Type[block_type]
    if block_type not in _K_SCALES:
        data = gguf.quantize(rng.standard_normal(shape).astype(np.float32), kind)
        return np.ascontiguousarray(data)
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (*shape[:-1], shape[-1] // block, block_bytes), dtype=np.uint8)
    for at in _K_SCALES[block_type]:
        scales = rng.uniform(0.001, 0.01, blocks.shape[:-1]).astype(np.float16)
        blocks[..., at : at + 2] = scales[..., None].view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def llama_shapes(vocab_size: int, *, tied: bool = True, biases: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Names and shapes (outermost first) of all tensors; biases: parts such as attn_q that have one."""
    matrices = {
        "attn_q": (HEADS * HEAD_DIM, HIDDEN),
        "attn_k": (KV_HEADS * HEAD_DIM, HIDDEN),
        "attn_v": (KV_HEADS * HEAD_DIM, HIDDEN),
        "attn_output": (HIDDEN, HEADS * HEAD_DIM),
        "ffn_gate": (INNER, HIDDEN),
        "ffn_up": (INNER, HIDDEN),
        "ffn_down": (HIDDEN, INNER),
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocab_size, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        for part, shape in matrices.items():
            shapes[f"blk.{layer}.{part}.weight"] = shape
            if part in biases:
                shapes[f"blk.{layer}.{part}.bias"] = shape[:1]
        shapes[f"blk.{layer}.attn_norm.weight"] = shapes[f"blk.{layer}.ffn_norm.weight"] = (HIDDEN,)
    if not tied:
        shapes["output.weight"] = (vocab_size, HIDDEN)
    return shapes


def write_tiny_gguf(
    path: Path,
    *,
    block_type: str = "F32",
    vocab: Vocab | None = None,
    tied: bool = True,
    biases: tuple[str, ...] = (),
    metadata: Mapping[str, Any] | None = None,  # added, replaced, or with None left out; key without "llama."
    architecture: str = "llama",
    extra_tensors: Mapping[str, np.ndarray] | None = None,
    edit: Callable[[dict[str, np.ndarray]], None] | None = None,  # changes the float tensors before they are written
    endian: Any = gguf.GGUFEndian.LITTLE,
) -> dict[str, np.ndarray]:
    """Writes a model; returns its tensors as float32, in the file's (llama.cpp's) order of rows."""
    vocab = vocab or bytes_vocab()
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, architecture, endianess=endian)
    _add_metadata(writer, architecture, metadata or {})
    _add_vocab(writer, vocab)
    values: dict[str, np.ndarray] = {}
    stored: dict[str, tuple[np.ndarray, Type]] = {}
    for name, shape in llama_shapes(len(vocab.tokens), tied=tied, biases=biases).items():
        kind = block_type if len(shape) > 1 else "F32"  # converters keep vectors in F32
        data = quantized(rng, shape, kind)
        stored[name] = (data, Type[kind])
        values[name] = gguf.dequantize(data, Type[kind]).reshape(shape).astype(np.float32)
    if edit is not None:
        edit(values)
        stored = {name: (data, Type.F32) for name, data in values.items()}
    for name, array in (extra_tensors or {}).items():
        stored[name] = (array, Type.F32)
    for name, (data, kind) in stored.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _add_metadata(writer: gguf.GGUFWriter, architecture: str, changes: Mapping[str, Any]) -> None:
    values: dict[str, Any] = {
        "block_count": LAYERS,
        "context_length": 128,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
        "rope.dimension_count": HEAD_DIM,
    }
    for key, value in (values | dict(changes)).items():
        if value is not None:
            _add(writer, key if key.startswith(("general.", "split.")) else f"{architecture}.{key}", value)


def _add_vocab(writer: gguf.GGUFWriter, vocab: Vocab) -> None:
    writer.add_tokenizer_model(vocab.model)
    if vocab.pre is not None:
        writer.add_tokenizer_pre(vocab.pre)
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(vocab.types)
    if vocab.model == "gpt2":
        writer.add_token_merges(vocab.merges)
    if vocab.scores:
        writer.add_token_scores(vocab.scores)
    for key, value in vocab.extra.items():
        _add(writer, key if key.startswith("tokenizer.") else f"tokenizer.ggml.{key}", value)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _byte_alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel.alphabet()
