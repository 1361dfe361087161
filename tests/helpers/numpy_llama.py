"""Llama in NumPy float64: the tests' own definition of the model, and of how far float32 may stray from it.

`NumpyLlama.logits` is exact up to float64. With a cache of F16 or BF16 it rounds keys (after RoPE) and values to that
type, as the cache stores them. With a random generator it adds to every operation's result the error that float32 would
make there, so that the distance of such a run from the exact one is a first-order estimate, made from the model's own
magnitudes, of the distance that any float32 implementation may have.

The errors: float32 rounds to a relative u = 2^-24, and roundings are taken as independent (N. Higham and T. Mary, "A
new approach to probabilistic rounding error analysis", 2019). A sum of k products with the partial sums s_j, taken one
after the other, then errs by u / sqrt(3) * sqrt(sum_j s_j^2) in standard deviation. For products p of random sign that
is u * sqrt(k / 6) * |p|_2; for products of one sign u * sqrt(k) / 3 * sum(p). Sums over several lanes err less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

U = 2.0**-24
# The roundings in one rotated value, one exp, one sigmoid: a few each, an accuracy of 2 ulp for the function itself.
FEW = 4.0


def round_to(values: np.ndarray, kv_cache_type: str) -> np.ndarray:
    """float64 -> the nearest F16 or BF16 (ties to even), widened again; "f32" leaves the values alone."""
    if kv_cache_type == "f16":
        return values.astype(np.float16).astype(np.float64)
    if kv_cache_type == "bf16":
        bits = values.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
    return values


class NumpyLlama:
    """`config`: config.json's content; `weights`: name -> float64; `inv_freq`: RoPE's, float32 [head_dim / 2]."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        inv_freq: np.ndarray,
        attention_factor: float,
        kv_cache_type: str = "f32",
    ) -> None:
        self.weights = weights
        self.inv_freq, self.attention_factor = inv_freq.astype(np.float32), attention_factor
        self.kv_cache_type = kv_cache_type
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads") or self.heads
        self.head_dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.layers, self.eps = config["num_hidden_layers"], config["rms_norm_eps"]
        self.rng: np.random.Generator | None = None

    def logits(self, token_ids: Sequence[int], rng: np.random.Generator | None = None) -> np.ndarray:
        """float64 [tokens, vocab_size]; with `rng`, one draw of what float32 might give instead."""
        self.rng = rng
        cos, sin = self._rotation(len(token_ids))
        h = self.weights["model.embed_tokens.weight"][np.asarray(token_ids)]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            h = self._rounded(h + self._attention(prefix, self._norm(prefix + "input_layernorm", h), cos, sin))
            h = self._rounded(h + self._mlp(prefix, self._norm(prefix + "post_attention_layernorm", h)))
        head = "lm_head" if "lm_head.weight" in self.weights else "model.embed_tokens"
        return self._linear(head, self._norm("model.norm", h))

    def _erring(self, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Adds an error of standard deviation u * scale to each value."""
        return values if self.rng is None else values + U * scale * self.rng.standard_normal(values.shape)

    def _rounded(self, values: np.ndarray, times: float = 1.0) -> np.ndarray:
        return self._erring(values, times * np.abs(values))

    def _dot(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """x [..., m, k] times y [..., k, n]: sums of k products of random sign."""
        exact = x @ y
        if self.rng is None:
            return exact
        return self._erring(exact, np.sqrt(x.shape[-1] / 6 * ((x * x) @ (y * y))) + np.abs(exact))

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y = self._dot(x, self.weights[name + ".weight"].T)
        bias = self.weights.get(name + ".bias")
        return y if bias is None else self._rounded(y + bias)

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        scale = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)
        scale = self._rounded(scale, np.sqrt(x.shape[-1]) / 6 + 1)  # half of its sum's relative error, and its own
        return self._rounded(x * scale * self.weights[name + ".weight"], 2)

    def _rotation(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """cos and sin, [tokens, head_dim / 2], of float32 angles; an erring frequency is off by up to one ulp."""
        inv_freq = self.inv_freq
        if self.rng is not None:
            towards = self.rng.choice([-np.inf, 0, np.inf], size=inv_freq.shape)
            inv_freq = np.where(towards == 0, inv_freq, np.nextafter(inv_freq, towards.astype(np.float32)))
        angles = (np.arange(length, dtype=np.float32)[:, None] * inv_freq).astype(np.float64)
        one = np.full(angles.shape, FEW)
        cos, sin = self._erring(np.cos(angles), one), self._erring(np.sin(angles), one)
        return cos * self.attention_factor, sin * self.attention_factor

    def _rotate(self, x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
        """x [heads, tokens, head_dim]: the first half of each head is turned against the second."""
        first, second = np.split(x, 2, axis=-1)
        turned = np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
        return self._erring(turned, np.concatenate([np.hypot(first, second)] * 2, axis=-1))

    def _attention(self, prefix: str, x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
        tokens = len(x)
        q, k, v = (
            self._linear(f"{prefix}self_attn.{name}_proj", x).reshape(tokens, -1, self.head_dim).swapaxes(0, 1)
            for name in "qkv"
        )
        q, k = self._rotate(q, cos, sin), self._rotate(k, cos, sin)
        k, v = round_to(k, self.kv_cache_type), round_to(v, self.kv_cache_type)
        groups = self.heads // self.kv_heads
        k, v = np.repeat(k, groups, axis=0), np.repeat(v, groups, axis=0)
        scores = self._rounded(self._dot(q, k.swapaxes(1, 2)) / np.sqrt(self.head_dim))
        scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
        weights = self._rounded(np.exp(scores - scores.max(axis=-1, keepdims=True)), FEW)
        total = self._rounded(weights.sum(axis=-1, keepdims=True), np.sqrt(tokens) / 3)
        mixed = self._rounded(self._dot(weights, v) / total)
        return self._linear(prefix + "self_attn.o_proj", mixed.swapaxes(0, 1).reshape(tokens, -1))

    def _mlp(self, prefix: str, x: np.ndarray) -> np.ndarray:
        gate, up = self._linear(prefix + "mlp.gate_proj", x), self._linear(prefix + "mlp.up_proj", x)
        return self._linear(prefix + "mlp.down_proj", self._rounded(gate / (1 + np.exp(-gate)) * up, FEW))


def float32_error(model: NumpyLlama, token_ids: Sequence[int], exact: np.ndarray, draws: int = 4) -> float:
    """The largest |error| among `draws` erring runs: an estimate of a float32 implementation's largest error."""
    runs = (model.logits(token_ids, np.random.default_rng(seed)) for seed in range(draws))
    return max(float(np.abs(run - exact).max()) for run in runs)
