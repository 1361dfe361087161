"""Llama: the weights that it needs, and one step of it in the paper's order.

Touvron et al., "LLaMA" (2023); grouped-query attention: Ainslie et al. (2023). Names are transformers'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from inferno.backend import Array, Backend
from inferno.checkpoint import HeadChoice, TensorSpec
from inferno.checkpoint.tied import EMBEDDING, HEAD
from inferno.config import LlamaConfig
from inferno.layers import Linear, Norm, record_inputs
from inferno.rope import RopeTable

if TYPE_CHECKING:
    from inferno.models.weights import Weights
    from inferno.quantization.scheme import LinearScheme


class LayerShape(NamedTuple):
    """A linear layer's output and input features, and whether it has a bias."""

    n: int
    k: int
    bias: bool


def linear_layers(config: LlamaConfig) -> dict[str, LayerShape]:
    """Every linear layer by its name, the head among them."""
    c = config
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    shapes = {
        "self_attn.q_proj": LayerShape(q, c.hidden_size, c.attention_bias),
        "self_attn.k_proj": LayerShape(kv, c.hidden_size, c.attention_bias),
        "self_attn.v_proj": LayerShape(kv, c.hidden_size, c.attention_bias),
        "self_attn.o_proj": LayerShape(c.hidden_size, q, c.attention_bias),
        "mlp.gate_proj": LayerShape(c.intermediate_size, c.hidden_size, c.mlp_bias),
        "mlp.up_proj": LayerShape(c.intermediate_size, c.hidden_size, c.mlp_bias),
        "mlp.down_proj": LayerShape(c.hidden_size, c.intermediate_size, c.mlp_bias),
    }
    layers = {f"model.layers.{i}.{name}": shape for i in range(c.num_hidden_layers) for name, shape in shapes.items()}
    return {**layers, HEAD.removesuffix(".weight"): LayerShape(c.vocab_size, c.hidden_size, False)}


def expected_tensors(config: LlamaConfig, schemes: Mapping[str, LinearScheme] | None = None) -> dict[str, TensorSpec]:
    """Name and shape of every tensor; `schemes`: what quantized layers are stored as, by their names.

    Embedding and head are optional here: checkpoint/tied.py judges the two.
    """
    c, known = config, schemes or {}
    specs = {
        EMBEDDING: TensorSpec((c.vocab_size, c.hidden_size), optional=True),
        "model.norm.weight": TensorSpec((c.hidden_size,)),
    }
    for i in range(c.num_hidden_layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            specs[f"model.layers.{i}.{norm}.weight"] = TensorSpec((c.hidden_size,))
    for layer, (n, k, bias) in linear_layers(config).items():
        if layer in known:
            specs.update({f"{layer}.{suffix}": spec for suffix, spec in known[layer].tensors(n, k).items()})
        else:
            specs[f"{layer}.weight"] = TensorSpec((n, k), optional=f"{layer}.weight" == HEAD)
        if bias:
            specs[f"{layer}.bias"] = TensorSpec((n,))
    return specs


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
        weights: Weights,
        head: HeadChoice,
        pages: Sequence[tuple[Array, Array]],
        rope: RopeTable,
        interleaved_rope: bool = False,
    ) -> None:
        """pages: keys and values of each layer (KvCache.layers).

        interleaved_rope: the rows of q_proj and k_proj lie in Meta's order, each pair's two beside each other.
        """
        self.config = config
        self.rope = rope
        self.interleaved_rope = interleaved_rope
        self.embed_tokens = weights.matrix(head.embedding)
        shapes = linear_layers(config)
        self.layers = [_bind_layer(weights, shapes, f"model.layers.{i}.", *pair) for i, pair in enumerate(pages)]
        self.norm = weights.vector("model.norm.weight")
        self.lm_head = weights.linear(head.head.removesuffix(".weight"), config.vocab_size, config.hidden_size)

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
        b.rope_angles("angles", self.rope)
        for layer in self.layers:
            self._attention(b, layer)
            self._mlp(b, layer)
        b.select_rows("last", "h")
        norm = Norm("last", self.norm, c.rms_norm_eps)
        (x,) = record_inputs(b, "last", [self.lm_head], norm=norm, outputs=True)
        self.lm_head.record(b, "logits", x)

    def _attention(self, b: Backend, layer: DecoderLayer) -> None:
        norm = Norm("h", layer.input_layernorm, self.config.rms_norm_eps)
        for_q, for_k, for_v = record_inputs(b, "x", [layer.q_proj, layer.k_proj, layer.v_proj], norm=norm)
        # From Meta's order the rotation writes the half-split one, so that attention sums as it does for the other.
        q, k = ("q_pairs", "k_pairs") if self.interleaved_rope else ("q", "k")
        layer.q_proj.record(b, q, for_q)
        layer.k_proj.record(b, k, for_k)
        layer.v_proj.record(b, "v", for_v)
        b.rope("q", q, "angles", interleaved=self.interleaved_rope)
        b.rope("k", k, "angles", interleaved=self.interleaved_rope)
        b.kv_write("k", "v", layer.keys, layer.values)
        b.attention("attended", "q", layer.keys, layer.values, self.config.head_dim**-0.5)
        (attended,) = record_inputs(b, "attended", [layer.o_proj])
        layer.o_proj.record(b, "h", attended, residual="h")

    def _mlp(self, b: Backend, layer: DecoderLayer) -> None:
        norm = Norm("h", layer.post_attention_layernorm, self.config.rms_norm_eps)
        for_gate, for_up = record_inputs(b, "x", [layer.gate_proj, layer.up_proj], norm=norm)
        layer.gate_proj.record(b, "gate", for_gate)
        layer.up_proj.record(b, "gate", for_up, gate="gate")
        (gate,) = record_inputs(b, "gate", [layer.down_proj])
        layer.down_proj.record(b, "h", gate, residual="h")


def _bind_layer(
    weights: Weights, shapes: Mapping[str, LayerShape], prefix: str, keys: Array, values: Array
) -> DecoderLayer:
    def linear(name: str) -> Linear:
        return weights.linear(prefix + name, *shapes[prefix + name])

    return DecoderLayer(
        input_layernorm=weights.vector(f"{prefix}input_layernorm.weight"),
        q_proj=linear("self_attn.q_proj"),
        k_proj=linear("self_attn.k_proj"),
        v_proj=linear("self_attn.v_proj"),
        o_proj=linear("self_attn.o_proj"),
        post_attention_layernorm=weights.vector(f"{prefix}post_attention_layernorm.weight"),
        gate_proj=linear("mlp.gate_proj"),
        up_proj=linear("mlp.up_proj"),
        down_proj=linear("mlp.down_proj"),
        keys=keys,
        values=values,
    )
