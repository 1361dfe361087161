"""transformers' LlamaForCausalLM, run in float32 as it is, or in float64 throughout.

Asked for float64, transformers 5 still computes three things in float32: the norm inside LlamaRMSNorm, the softmax of
eager attention, and cos and sin. `float64_throughout` replaces these by the same formulas in the dtype of their input.
The frequencies and the angles (position x frequency) stay as transformers computes them, in float32: they define the
model that the checkpoint was trained as, and the rounding of an angle of 200 radians, 8e-6, is no error of the engine
under test.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import LlamaForCausalLM
from transformers.modeling_rope_utils import dynamic_rope_update
from transformers.models.llama import modeling_llama

KV_DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
KV_MANTISSA_BITS = {"f16": 10, "bf16": 7}


def load(folder: Path, dtype: torch.dtype) -> Any:
    """The model with its stored weights widened (exactly) to `dtype`; eager attention."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model.eval()


def logits(model: Any, token_ids: list[int]) -> np.ndarray:
    """[tokens, vocab_size] in the model's dtype, from one forward over all tokens without a cache."""
    with torch.inference_mode():
        return model(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()


def frequencies(model: Any) -> tuple[np.ndarray, float]:
    """(inv_freq float32 [head_dim / 2], attention factor) that the last forward used."""
    rotary = model.model.rotary_emb
    return rotary.inv_freq.float().numpy(), float(rotary.attention_scaling)


def _rms_norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    variance = hidden_states.pow(2).mean(-1, keepdim=True)
    return self.weight * (hidden_states * torch.rsqrt(variance + self.variance_epsilon))


@torch.no_grad()
@dynamic_rope_update
def _rotary(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angles = position_ids[..., None].float() * self.inv_freq.float()
    angles = torch.cat((angles, angles), dim=-1).to(x.dtype)
    return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling


def _stored(values: torch.Tensor, kv_cache_type: str, dither: torch.Generator | None) -> torch.Tensor:
    """What a cache of that type gives back; with `dither`, another error in the place of rounding's, as large.

    Rounding errs by up to half a step, all such errors being alike likely; so does adding a uniform draw between half a
    step below and half a step above. (The step of F16's subnormal numbers, below 2^-14, is not modelled.)
    """
    if kv_cache_type == "f32":
        return values
    if dither is None:
        return values.to(KV_DTYPES[kv_cache_type]).to(values.dtype)
    step = torch.ldexp(torch.ones_like(values), torch.frexp(values).exponent - 1 - KV_MANTISSA_BITS[kv_cache_type])
    return values + step * (torch.rand(values.shape, generator=dither, dtype=values.dtype) - 0.5)


def _attention(kv_cache_type: str, dither: torch.Generator | None) -> Any:
    """Eager attention with the softmax in the query's dtype, and keys and values as a cache would hold them."""

    def forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):  # type: ignore[no-untyped-def]
        key, value = (_stored(values, kv_cache_type, dither) for values in (key, value))
        groups = module.num_key_value_groups
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(2, 3) * scaling
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = torch.softmax(scores, dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    return forward


@contextmanager
def float64_throughout(kv_cache_type: str = "f32", dither: torch.Generator | None = None) -> Iterator[None]:
    """Within it, every activation has the dtype of the weights; "f16" and "bf16" also round keys and values."""
    norm, rotary = modeling_llama.LlamaRMSNorm, modeling_llama.LlamaRotaryEmbedding
    saved = norm.forward, rotary.forward, modeling_llama.eager_attention_forward
    norm.forward, rotary.forward = _rms_norm, _rotary
    modeling_llama.eager_attention_forward = _attention(kv_cache_type, dither)
    try:
        yield
    finally:
        norm.forward, rotary.forward, modeling_llama.eager_attention_forward = saved


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a - b|, in float64."""
    return float(np.abs(a.astype(np.float64) - b).max())


def versions() -> dict[str, str]:
    """What made a reference, for its metadata."""
    return {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
