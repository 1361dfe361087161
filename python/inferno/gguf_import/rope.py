"""RoPE scaling of a GGUF -> rope_scaling of config.json.

llama.cpp keeps linear and yarn as metadata, and llama3 as a tensor, `rope_freqs.weight`: the number by which each
inverse frequency is divided. The parameters behind that tensor are found again, and checked to give it back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.errors import UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile

ROPE_KEYS = {
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scale_linear",
}
# What Meta's models use, tried before a fit: (original_max_position_embeddings, low_freq_factor, high_freq_factor).
_USUAL = (8192, 1.0, 4.0)
# The tensor is a float32 quotient of a float32 wavelength; the fit has to be as good as that arithmetic.
_TOLERANCE = 1e-4


def rope_scaling(gguf: GgufFile, head_dim: int) -> dict[str, Any] | None:
    """rope_scaling in transformers' v4 form, or None where positions are not scaled.

    Raises UnsupportedError for other types, and for a factor tensor that llama3's rule does not explain.
    """
    meta = Metadata(gguf)
    kind = meta.text("llama.rope.scaling.type", default="none")
    factors = gguf.tensors.get("rope_freqs.weight")
    if factors is not None:
        if kind != "none":
            raise UnsupportedError(f"{gguf.path}: has both rope_freqs.weight and llama.rope.scaling.type = {kind!r}")
        theta = meta.number("llama.rope.freq_base", default=10000.0)
        return _from_factors(gguf, factors.rows.view(np.float32).ravel(), theta, head_dim)
    if kind == "none":
        return _linear(meta.number("llama.rope.scale_linear", default=1.0))
    if kind == "linear":
        return _linear(meta.number("llama.rope.scaling.factor"))
    if kind == "yarn":
        return _yarn(meta)
    raise UnsupportedError(f"{gguf.path}: llama.rope.scaling.type must be none, linear or yarn; got {kind!r}")


def _linear(factor: float) -> dict[str, Any] | None:
    return None if factor == 1.0 else {"rope_type": "linear", "factor": factor}


def _yarn(meta: Metadata) -> dict[str, Any]:
    for key in ("attn_factor", "yarn_ext_factor", "yarn_attn_factor"):
        if meta.number(f"llama.rope.scaling.{key}", default=1.0) != 1.0:
            value = meta.values[f"llama.rope.scaling.{key}"]
            raise UnsupportedError(f"{meta.path}: llama.rope.scaling.{key} must be 1; got {value!r}")
    return {
        "rope_type": "yarn",
        "factor": meta.number("llama.rope.scaling.factor"),
        "original_max_position_embeddings": meta.integer("llama.rope.scaling.original_context_length"),
        "beta_fast": meta.number("llama.rope.scaling.yarn_beta_fast", default=32.0),
        "beta_slow": meta.number("llama.rope.scaling.yarn_beta_slow", default=1.0),
    }


def _from_factors(
    gguf: GgufFile, factors: npt.NDArray[np.float32], theta: float, head_dim: int
) -> dict[str, Any] | None:
    if len(factors) != head_dim // 2 or not np.isfinite(factors).all() or (factors <= 0).any():
        raise UnsupportedError(
            f"{gguf.path}: tensor rope_freqs.weight must be {head_dim // 2} positive numbers (half the head dimension)"
        )
    if (factors == factors[0]).all():
        return _linear(float(factors[0]))
    factor = float(factors[-1])
    inverse = 1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    for original, low, high in filter(None, (_USUAL, _fit(factors, inverse, factor))):
        if np.allclose(llama3_factors(inverse, factor, original, low, high), factors, rtol=_TOLERANCE, atol=0):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    raise UnsupportedError(
        f"{gguf.path}: tensor rope_freqs.weight must follow RoPE type llama3's rule; its {len(factors)} factors do not"
    )


def llama3_factors(
    inverse: npt.NDArray[np.float64], factor: float, original: int, low: float, high: float
) -> npt.NDArray[np.float64]:
    """What each inverse frequency is divided by under RoPE type llama3 (transformers, modeling_rope_utils)."""
    smooth = np.clip((original * inverse / (2 * np.pi) - low) / (high - low), 0.0, 1.0)
    return 1.0 / ((1.0 - smooth) / factor + smooth)


def _fit(
    factors: npt.NDArray[np.float32], inverse: npt.NDArray[np.float64], factor: float
) -> tuple[int, float, float] | None:
    """Solves the blended part, which is a line in the frequency, with low_freq_factor 1: only ratios are determined."""
    smooth = (1.0 / factors.astype(np.float64) - 1.0 / factor) / (1.0 - 1.0 / factor)
    inside = (smooth > 1e-4) & (smooth < 1 - 1e-4)
    if inside.sum() < 2:
        return None
    slope, intercept = np.polyfit(inverse[inside] / (2 * np.pi), smooth[inside], 1)
    if slope <= 0 or intercept >= 0:
        return None
    original = round(slope / -intercept)
    return original, 1.0, round(1.0 - 1.0 / float(intercept), 6)
