"""Which GGUF tensor becomes which tensor of the checkpoint, and its values, a block of rows at a time.

llama.cpp rotates neighbouring pairs, transformers rotates halves. Its converter therefore reorders the rows of q_proj
and k_proj within each head: row 2i + r of the GGUF is row r * head_dim / 2 + i of the checkpoint. Here it is undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.errors import CheckpointError, UnsupportedError
from inferno.gguf_import.config import LlamaDims
from inferno.gguf_import.reader import GgufFile, GgufTensor
from inferno.gguf_import.rounding import FloatDtype, round_to
from inferno.progress import Progress

_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_BIAS = re.compile(r"blk\.\d+\.(\w+)\.bias")
# Scaling factors become rope_scaling; attn_rot_embd is transformers' rotary_emb.inv_freq, which is computed anew.
_NOT_WEIGHTS = re.compile(r"rope_freqs\.weight|blk\.\d+\.attn_rot_embd(\.weight)?")
# float32 values that are in memory at once: 16 MB.
_BLOCK_ELEMENTS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Weight:
    """One tensor to write. source None: zeros (a bias that only some of the layers' matrices have)."""

    name: str
    shape: tuple[int, ...]
    source: GgufTensor | None
    row_order: npt.NDArray[np.intp] | None = None  # row i of the checkpoint is row row_order[i] of the GGUF


@dataclass(frozen=True)
class WeightPlan:
    """All tensors of the checkpoint, in the order in which they are written, and what config.json says of them."""

    weights: tuple[Weight, ...]
    tied: bool
    attention_bias: bool
    mlp_bias: bool


def plan_weights(gguf: GgufFile, dims: LlamaDims) -> WeightPlan:
    """Pairs every tensor of the file with one of the checkpoint.

    Raises CheckpointError for a missing or misshapen tensor, UnsupportedError for one that has no counterpart.
    """
    tied = "output.weight" not in gguf.tensors
    biased = {match[1] for name in gguf.tensors if (match := _BIAS.fullmatch(name))}
    attention_bias, mlp_bias = not biased.isdisjoint(_ATTENTION), not biased.isdisjoint(_MLP)
    weights = [_weight(gguf, "token_embd.weight", "model.embed_tokens.weight", (dims.vocab_size, dims.hidden_size))]
    for layer in range(dims.num_hidden_layers):
        weights += _layer(gguf, dims, layer, attention_bias=attention_bias, mlp_bias=mlp_bias)
    weights.append(_weight(gguf, "output_norm.weight", "model.norm.weight", (dims.hidden_size,)))
    if not tied:
        weights.append(_weight(gguf, "output.weight", "lm_head.weight", (dims.vocab_size, dims.hidden_size)))
    _check_all_used(gguf, weights)
    return WeightPlan(tuple(weights), tied, attention_bias, mlp_bias)


def weight_blocks(
    gguf: GgufFile, weights: tuple[Weight, ...], dtype: FloatDtype, progress: Progress
) -> Iterator[npt.NDArray[Any]]:
    """The values of `weights`, one after the other, in blocks of whole rows, rounded to `dtype`."""
    for weight in weights:
        for block in _float32_blocks(weight):
            yield round_to(block, dtype, f"{gguf.path}: tensor {weight.name}")
            progress.advance(block.size)


def half_split_order(heads: int, head_dim: int) -> npt.NDArray[np.intp]:
    """int [heads * head_dim]: for each row of transformers' order, its row in llama.cpp's order."""
    interleaved = np.arange(heads * head_dim, dtype=np.intp).reshape(heads, head_dim // 2, 2)
    order: npt.NDArray[np.intp] = interleaved.swapaxes(1, 2).reshape(-1)
    return order


def _layer(gguf: GgufFile, dims: LlamaDims, layer: int, *, attention_bias: bool, mlp_bias: bool) -> Iterator[Weight]:
    prefix, target = f"blk.{layer}", f"model.layers.{layer}"
    query, keys = dims.num_attention_heads * dims.head_dim, dims.num_key_value_heads * dims.head_dim
    hidden, inner = dims.hidden_size, dims.intermediate_size
    shapes = {
        "attn_q": (query, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, query),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    orders = {
        "attn_q": half_split_order(dims.num_attention_heads, dims.head_dim),
        "attn_k": half_split_order(dims.num_key_value_heads, dims.head_dim),
    }
    for part, name in _NORMS.items():
        yield _weight(gguf, f"{prefix}.{part}.weight", f"{target}.{name}.weight", (hidden,))
    for names, biased in ((_ATTENTION, attention_bias), (_MLP, mlp_bias)):
        for part, name in names.items():
            shape, order = shapes[part], orders.get(part)
            yield _weight(gguf, f"{prefix}.{part}.weight", f"{target}.{name}.weight", shape, order)
            if biased:
                yield _bias(gguf, f"{prefix}.{part}.bias", f"{target}.{name}.bias", shape[:1], order)


def _weight(
    gguf: GgufFile, source: str, name: str, shape: tuple[int, ...], order: npt.NDArray[np.intp] | None = None
) -> Weight:
    tensor = gguf.tensors.get(source)
    if tensor is None:
        raise CheckpointError(f"{gguf.path}: has no tensor {source}, which a Llama of this size must have")
    if tensor.shape != shape:
        raise CheckpointError(f"{gguf.path}: tensor {source} must be {shape} to match the metadata; got {tensor.shape}")
    return Weight(name, shape, tensor, order)


def _bias(gguf: GgufFile, source: str, name: str, shape: tuple[int, ...], order: npt.NDArray[np.intp] | None) -> Weight:
    # config.json has one switch for all four (or three) matrices; a bias that is absent is a bias of zeros.
    if source not in gguf.tensors:
        return Weight(name, shape, None)
    return _weight(gguf, source, name, shape, order)


def _check_all_used(gguf: GgufFile, weights: list[Weight]) -> None:
    used = {weight.source.name for weight in weights if weight.source is not None}
    for name in gguf.tensors:
        if name not in used and not _NOT_WEIGHTS.fullmatch(name):
            raise UnsupportedError(f"{gguf.path}: tensor {name} has no place in a Llama; the import leaves nothing out")


def _float32_blocks(weight: Weight) -> Iterator[npt.NDArray[np.float32]]:
    if weight.source is None:
        yield np.zeros(weight.shape, np.float32)
        return
    rows = weight.source.rows
    if len(weight.shape) == 1 and weight.row_order is not None:  # a bias: its "rows" are single values
        yield _dequantize(weight.source, rows).ravel()[weight.row_order]
        return
    step = max(1, _BLOCK_ELEMENTS // weight.shape[-1])
    for start in range(0, len(rows), step):
        chosen = slice(start, start + step) if weight.row_order is None else weight.row_order[start : start + step]
        yield _dequantize(weight.source, rows[chosen])


def _dequantize(tensor: GgufTensor, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    from gguf import GGMLQuantizationType, dequantize

    # A bad scale becomes NaN or infinity, which the rounding refuses by name.
    with np.errstate(all="ignore"):
        values = dequantize(rows, GGMLQuantizationType[tensor.block_type])
    return np.ascontiguousarray(values, dtype=np.float32)
