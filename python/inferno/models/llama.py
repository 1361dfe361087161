"""Llama: the weights that it needs, and one step of it in the paper's order.

Touvron et al., "LLaMA" (2023); grouped-query attention: Ainslie et al. (2023). Names are transformers'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from inferno.backend import Array, Backend
from inferno.checkpoint import Checkpoint, HeadChoice, Tensor, TensorSpec
from inferno.checkpoint.tied import EMBEDDING, HEAD
from inferno.config import LlamaConfig
from inferno.kv_cache import KvCache
from inferno.layers import Linear
from inferno.rope import RopeTable


def expected_tensors(config: LlamaConfig) -> dict[str, TensorSpec]:
    """Name and shape of every tensor. Embedding and head are optional here: checkpoint/tied.py judges the two."""
    c = config
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    linears = {
        "self_attn.q_proj": (q, c.hidden_size, c.attention_bias),
        "self_attn.k_proj": (kv, c.hidden_size, c.attention_bias),
        "self_attn.v_proj": (kv, c.hidden_size, c.attention_bias),
        "self_attn.o_proj": (c.hidden_size, q, c.attention_bias),
        "mlp.gate_proj": (c.intermediate_size, c.hidden_size, c.mlp_bias),
        "mlp.up_proj": (c.intermediate_size, c.hidden_size, c.mlp_bias),
        "mlp.down_proj": (c.hidden_size, c.intermediate_size, c.mlp_bias),
    }
    specs = {
        EMBEDDING: TensorSpec((c.vocab_size, c.hidden_size), optional=True),
        HEAD: TensorSpec((c.vocab_size, c.hidden_size), optional=True),
        "model.norm.weight": TensorSpec((c.hidden_size,)),
    }
    for i in range(c.num_hidden_layers):
        prefix = f"model.layers.{i}."
        for name, (n, k, bias) in linears.items():
            specs[f"{prefix}{name}.weight"] = TensorSpec((n, k))
            if bias:
                specs[f"{prefix}{name}.bias"] = TensorSpec((n,))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            specs[f"{prefix}{norm}.weight"] = TensorSpec((c.hidden_size,))
    return specs


class Use(NamedTuple):
    """An operation of the step, the weight and bias that it reads ("" if none), and whether it uses the KV cache."""

    operation: str
    tensor: str = ""
    bias: str = ""
    in_cache: bool = False


def uses(config: LlamaConfig, head: HeadChoice, interleaved_rope: bool = False) -> list[Use]:
    """The operations that `Llama.record` records, in its order, by the names of capability.py."""
    rope = Use("rope_interleaved" if interleaved_rope else "rope_half_split")
    step = [Use("embedding", head.embedding), Use("rope_angles")]
    for i in range(config.num_hidden_layers):
        prefix = f"model.layers.{i}."
        q, k, v, o = (
            _linear(f"{prefix}self_attn.{name}", config.attention_bias)
            for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        )
        step += [Use("rmsnorm", f"{prefix}input_layernorm.weight"), q, k, v, rope, rope]
        step += [Use("kv_write", in_cache=True), Use("attention", in_cache=True), o]
        step += [Use("rmsnorm", f"{prefix}post_attention_layernorm.weight")]
        step += [_linear(f"{prefix}mlp.{name}", config.mlp_bias) for name in ("gate_proj", "up_proj", "down_proj")]
    return [*step, Use("rmsnorm", "model.norm.weight"), Use("matmul", head.head)]


def _linear(name: str, bias: bool) -> Use:
    return Use("matmul", f"{name}.weight", f"{name}.bias" if bias else "")


@dataclass(frozen=True)
class DecoderLayer:
    input_layernorm: Array
    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    o_proj: Linear
    post_attention_layernorm: Array
    gate_proj: Linear
    up_proj: Linear
    down_proj: Linear
    keys: Array
    values: Array


class Llama:
    """The architecture over bound weights. `record` describes one step; its logits land in the buffer "logits"."""

    def __init__(
        self,
        config: LlamaConfig,
        ckpt: Checkpoint,
        head: HeadChoice,
        cache: KvCache,
        rope: RopeTable,
        interleaved_rope: bool = False,
    ) -> None:
        """interleaved_rope: the rows of q_proj and k_proj lie in Meta's order, each pair's two beside each other."""
        self.config = config
        self.rope = rope
        self.interleaved_rope = interleaved_rope
        self.embed_tokens = ckpt[head.embedding].matrix
        self.layers = [_bind_layer(ckpt, f"model.layers.{i}.", *pages) for i, pages in enumerate(cache.layers)]
        self.norm = _vector(ckpt, "model.norm.weight")
        self.lm_head = Linear(ckpt[head.head].matrix)

    def record(self, b: Backend) -> None:
        c = self.config
        b.buffer("h", c.hidden_size)  # the residual stream
        b.buffer("x", c.hidden_size)  # what a norm makes of it
        b.buffer("angles", c.head_dim)
        q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        for name, width in (("q", q), ("k", kv), ("v", kv), ("attended", q)):
            b.buffer(name, width)
        if self.interleaved_rope:
            b.buffer("q_pairs", q)
            b.buffer("k_pairs", kv)
        b.buffer("gate", c.intermediate_size)
        b.buffer("last", c.hidden_size, outputs=True)
        b.buffer("logits", c.vocab_size, outputs=True)

        b.embedding("h", self.embed_tokens)
        b.rope_angles("angles", self.rope.inv_freq, self.rope.attention_factor)
        for layer in self.layers:
            self._attention(b, layer)
            self._mlp(b, layer)
        b.select_rows("last", "h")
        b.rmsnorm("last", "last", self.norm, c.rms_norm_eps)
        self.lm_head.record(b, "logits", "last")

    def _attention(self, b: Backend, layer: DecoderLayer) -> None:
        b.rmsnorm("x", "h", layer.input_layernorm, self.config.rms_norm_eps)
        # From Meta's order the rotation writes the half-split one, so that attention sums as it does for the other.
        q, k = ("q_pairs", "k_pairs") if self.interleaved_rope else ("q", "k")
        layer.q_proj.record(b, q, "x")
        layer.k_proj.record(b, k, "x")
        layer.v_proj.record(b, "v", "x")
        b.rope("q", q, "angles", interleaved=self.interleaved_rope)
        b.rope("k", k, "angles", interleaved=self.interleaved_rope)
        b.kv_write("k", "v", layer.keys, layer.values)
        b.attention("attended", "q", layer.keys, layer.values, self.config.head_dim**-0.5)
        layer.o_proj.record(b, "h", "attended", residual="h")

    def _mlp(self, b: Backend, layer: DecoderLayer) -> None:
        b.rmsnorm("x", "h", layer.post_attention_layernorm, self.config.rms_norm_eps)
        layer.gate_proj.record(b, "gate", "x")
        layer.up_proj.record(b, "gate", "x", gate="gate")
        layer.down_proj.record(b, "h", "gate", residual="h")


def _vector(ckpt: Checkpoint, name: str) -> Array:
    """A weight that no layout cuts."""
    tensor = ckpt[name]
    assert isinstance(tensor, Tensor)
    return tensor.array


def _bind_layer(ckpt: Checkpoint, prefix: str, keys: Array, values: Array) -> DecoderLayer:
    def linear(name: str) -> Linear:
        bias = f"{prefix}{name}.bias"
        return Linear(ckpt[f"{prefix}{name}.weight"].matrix, _vector(ckpt, bias) if bias in ckpt else None)

    return DecoderLayer(
        input_layernorm=_vector(ckpt, f"{prefix}input_layernorm.weight"),
        q_proj=linear("self_attn.q_proj"),
        k_proj=linear("self_attn.k_proj"),
        v_proj=linear("self_attn.v_proj"),
        o_proj=linear("self_attn.o_proj"),
        post_attention_layernorm=_vector(ckpt, f"{prefix}post_attention_layernorm.weight"),
        gate_proj=linear("mlp.gate_proj"),
        up_proj=linear("mlp.up_proj"),
        down_proj=linear("mlp.down_proj"),
        keys=keys,
        values=values,
    )
