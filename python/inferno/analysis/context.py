"""How long a context may be: what the model was made for, what memory holds, what the caller asks for."""

from __future__ import annotations

from dataclasses import dataclass

from inferno import hardware
from inferno.config import LlamaConfig
from inferno.errors import HardwareError, UsageError
from inferno.findings import Finding
from inferno.kv_cache import kv_bytes_per_token

# RoPE multiplies positions in float32, which counts no further.
MAX_CONTEXT = 1 << 24


@dataclass(frozen=True)
class ContextChoice:
    """The context, in tokens, and the bytes that keys and values of one token take in all layers.

    `largest` is what the available memory (`available_bytes`) holds, not above what the model was made for.
    """

    ctx_size: int
    largest: int
    kv_bytes_per_token: int
    available_bytes: int
    findings: tuple[Finding, ...] = ()


def choose_context(config: LlamaConfig, kv_cache_type: str, ctx_size: int | None) -> ContextChoice:
    """The context of `ctx_size` tokens; None: the model's, or what half of the available memory holds.

    Raises UsageError for a size out of range. One that does not fit is an error among the findings.
    """
    per_token = kv_bytes_per_token(config.num_hidden_layers, config.num_key_value_heads, config.head_dim, kv_cache_type)
    longest = min(config.max_position_embeddings, MAX_CONTEXT)
    available = hardware.available_memory()
    largest = min(longest, max(available // per_token, 1))
    if ctx_size is None:
        return _default(longest, largest, per_token, available)
    if isinstance(ctx_size, bool) or not isinstance(ctx_size, int) or not 1 <= ctx_size <= MAX_CONTEXT:
        raise UsageError(f"ctx_size: must be from 1 to {MAX_CONTEXT} tokens; got {ctx_size!r}")
    findings = []
    if ctx_size * per_token > available:
        findings.append(_too_large(ctx_size, per_token, available))
    if ctx_size > longest and config.rope.rope_type != "dynamic":
        message = f"{ctx_size} tokens are more than the {longest} that the model was made for"
        findings.append(Finding("warning", "context-beyond-model", "context", message, "expect nonsense beyond those"))
    return ContextChoice(ctx_size, largest, per_token, available, tuple(findings))


def _default(longest: int, largest: int, per_token: int, available: int) -> ContextChoice:
    fits = max(available // 2 // per_token, 1)
    if fits >= longest:
        return ContextChoice(longest, largest, per_token, available)
    message = (
        f"{fits} tokens instead of the model's {longest}: keys and values of all would take "
        f"{longest * per_token / 1e9:.1f} GB, half of the available memory is {available / 2e9:.1f} GB"
    )
    return ContextChoice(
        fits, largest, per_token, available, (Finding("warning", "context-shortened", "context", message),)
    )


def _too_large(ctx_size: int, per_token: int, available: int) -> Finding:
    return Finding.from_error(
        HardwareError(
            f"ctx_size: {ctx_size} tokens need {ctx_size * per_token / 1e9:.1f} GB for keys and values, and "
            f"{available / 1e9:.1f} GB are available; ask for at most {available // per_token}"
        )
    )
