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

    `largest` is what the available memory (`available_bytes`) holds beside the weights; 0 if those alone do not fit.
    """

    ctx_size: int
    largest: int
    kv_bytes_per_token: int
    available_bytes: int
    findings: tuple[Finding, ...] = ()


def choose_context(config: LlamaConfig, kv_cache_type: str, ctx_size: int | None, weight_bytes: int) -> ContextChoice:
    """The context of `ctx_size` tokens; None: the model's, or what half of the memory that the weights leave holds.

    Mapped weights are page cache: the system may drop them, and reads them anew for each token then. So they are
    counted, but only keys and values that cannot fit at all are refused.

    Raises UsageError for a size out of range. One that does not fit is an error among the findings.
    """
    per_token = kv_bytes_per_token(config.num_hidden_layers, config.num_key_value_heads, config.head_dim, kv_cache_type)
    longest = min(config.max_position_embeddings, MAX_CONTEXT)
    available = hardware.available_memory()
    left = max(available - weight_bytes, 0)
    findings = []
    if ctx_size is None:
        # Weights that do not fit leave nothing; then a context that is small beside them costs little more.
        room = max(left, available // 8) // 2
        ctx_size = min(longest, max(room // per_token, 1))
        if ctx_size < longest:
            findings.append(_shortened(ctx_size, longest, per_token, room))
    else:
        findings += _judge(ctx_size, longest, per_token, available, config.rope.rope_type == "dynamic")
    if weight_bytes + ctx_size * per_token > available:
        findings.append(_memory_short(weight_bytes, ctx_size * per_token, available))
    return ContextChoice(ctx_size, left // per_token, per_token, available, tuple(findings))


def _judge(ctx_size: int, longest: int, per_token: int, available: int, dynamic: bool) -> list[Finding]:
    if isinstance(ctx_size, bool) or not isinstance(ctx_size, int) or not 1 <= ctx_size <= MAX_CONTEXT:
        raise UsageError(f"ctx_size: must be from 1 to {MAX_CONTEXT} tokens; got {ctx_size!r}")
    findings = []
    if ctx_size * per_token > available:
        findings.append(_too_large(ctx_size, per_token, available))
    if ctx_size > longest and not dynamic:
        message = f"{ctx_size} tokens are more than the {longest} that the model was made for"
        findings.append(Finding("warning", "context-beyond-model", "context", message, "expect nonsense beyond those"))
    return findings


def _shortened(ctx_size: int, longest: int, per_token: int, room: int) -> Finding:
    message = (
        f"{ctx_size} tokens instead of the model's {longest}: keys and values of all would take "
        f"{longest * per_token / 1e9:.1f} GB, half of the memory that the weights leave is {room / 1e9:.1f} GB"
    )
    return Finding("note", "context-shortened", "context", message, "ask for more with -c, if that memory is yours")


def _memory_short(weight_bytes: int, kv_bytes: int, available: int) -> Finding:
    message = (
        f"weights of {weight_bytes / 1e9:.1f} GB and a cache of up to {kv_bytes / 1e9:.1f} GB, with "
        f"{available / 1e9:.1f} GB available: weights that find no room are read from the disk for every token"
    )
    return Finding("warning", "memory-short", "memory", message, "take a smaller model or context, or free memory")


def _too_large(ctx_size: int, per_token: int, available: int) -> Finding:
    return Finding.from_error(
        HardwareError(
            f"ctx_size: {ctx_size} tokens need {ctx_size * per_token / 1e9:.1f} GB for keys and values, and "
            f"{available / 1e9:.1f} GB are available; ask for at most {max(available // per_token, 1)}"
        )
    )
