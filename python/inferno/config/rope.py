"""The rotary embedding's fields of config.json, under transformers v4 and v5 names.

v4: `rope_theta` and `rope_scaling` at the top level; v5: `rope_parameters`, which holds both. Precedence as in
transformers 5.5: a non-empty `rope_scaling` replaces `rope_parameters`; theta comes from the chosen one, else from the
top level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show

DEFAULT_THETA = 10_000.0
# A config of Llama 3's vocabulary without a theta has lost it (they use 500000): 10000 would run, and talk nonsense.
LLAMA3_VOCAB_SIZE = 128_256
MAX_THETA = 3.4e38


@dataclass(frozen=True)
class RopeConfig:
    """What the rotary embedding is computed from; a field that `rope_type` does not use is None or its default.

    `rope_type` is default, linear, dynamic, llama3, yarn or longrope. `original_max_position_embeddings` is the length
    of pretraining, in tokens (set for llama3, yarn and longrope). `short_factor` and `long_factor` have head_dim / 2
    numbers each.
    """

    rope_type: str = "default"
    rope_theta: float = DEFAULT_THETA
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None


def parse_rope(config: Fields, head_dim: int, vocab_size: int, max_position_embeddings: int) -> RopeConfig:
    """Reads the rotary embedding from the fields of config.json.

    Raises UnsupportedError for a type, a key or a partial rotation that is not implemented, ConfigError for a missing
    or senseless value.
    """
    rope = _chosen(config)
    _refuse_unknown(rope)
    _refuse_partial(config)
    _refuse_partial(rope)
    rope_type = _rope_type(rope)
    theta = _theta(config, rope, vocab_size)
    rest = _PARSERS[rope_type](config, rope, head_dim, max_position_embeddings)
    config.defaulted.extend(f"rope {key}" for key in rope.defaulted)
    return RopeConfig(rope_type=rope_type, rope_theta=theta, **rest)


def _chosen(config: Fields) -> Fields:
    for key in ("rope_scaling", "rope_parameters"):
        value = config.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise config.bad(key, "an object or null", value)
    key = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    return Fields(config.get(key) or {}, f"{config.where}: {key}")


def _rope_type(rope: Fields) -> str:
    given = [rope.get(key) for key in ("rope_type", "type") if rope.get(key) is not None]
    if not given:
        scaling = [key for key, value in rope.values.items() if value is not None and key not in _UNSCALED]
        if scaling:
            raise ConfigError(f"{rope.where}: rope_type must be given beside {scaling[0]}; got no such field")
        return "default"
    for kind in given:
        if not isinstance(kind, str):
            raise UnsupportedError(f"{rope.where}: rope_type must be one of {', '.join(_PARSERS)}; got {show(kind)}")
    if given[0] != given[-1]:
        raise ConfigError(f"{rope.where}: rope_type and type must agree; got {show(given[0])} and {show(given[1])}")
    if given[0] not in _PARSERS:
        raise UnsupportedError(f"{rope.where}: rope_type must be one of {', '.join(_PARSERS)}; got {show(given[0])}")
    return str(given[0])


def _theta(config: Fields, rope: Fields, vocab_size: int) -> float:
    source = rope if rope.get("rope_theta") is not None else config
    if source.get("rope_theta") is not None:
        return source.number("rope_theta", low=1.0, high=MAX_THETA)
    if (config.get("rope_parameters") or {}).get("rope_theta") is not None:
        raise ConfigError(
            f"{config.where}: rope_theta is given only in rope_parameters, which rope_scaling replaces; "
            "give it in rope_scaling, or remove rope_scaling"
        )
    if vocab_size == LLAMA3_VOCAB_SIZE:
        raise ConfigError(
            f"{config.where}: rope_theta must be given for a vocab_size of {vocab_size} (Llama 3 uses 500000); got no "
            "such field; restore it from the original config.json"
        )
    config.defaulted.append("rope_theta")
    return DEFAULT_THETA


def _linear(config: Fields, rope: Fields, head_dim: int, max_positions: int) -> dict[str, Any]:
    return {"factor": rope.number("factor")}


def _dynamic(config: Fields, rope: Fields, head_dim: int, max_positions: int) -> dict[str, Any]:
    if head_dim < 4:
        raise ConfigError(f"{config.where}: head_dim must be at least 4 for dynamic RoPE; got {head_dim}")
    # A factor below 1 would make the base negative for long contexts.
    return {"factor": _at_least_one(rope, "factor")}


def _llama3(config: Fields, rope: Fields, head_dim: int, max_positions: int) -> dict[str, Any]:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if high <= low:
        raise rope.bad("high_freq_factor", f"above low_freq_factor ({low:g})", high)
    return {
        "factor": rope.number("factor"),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": _original(config, rope, max_positions),
    }


def _yarn(config: Fields, rope: Fields, head_dim: int, max_positions: int) -> dict[str, Any]:
    original = _original(config, rope, max_positions)
    return {
        "factor": rope.number("factor", max_positions / original),
        "original_max_position_embeddings": original,
        "attention_factor": rope.optional_number("attention_factor"),
        # transformers takes a beta of 0 for an absent one
        "beta_fast": rope.number("beta_fast", 32.0, zero=True) or 32.0,
        "beta_slow": rope.number("beta_slow", 1.0, zero=True) or 1.0,
        "mscale": rope.optional_number("mscale", zero=True),
        "mscale_all_dim": rope.optional_number("mscale_all_dim", zero=True),
        "truncate": rope.boolean("truncate", True),
    }


def _longrope(config: Fields, rope: Fields, head_dim: int, max_positions: int) -> dict[str, Any]:
    original = _original(config, rope, max_positions)
    if original < 2:
        raise rope.bad("original_max_position_embeddings", "at least 2 for longrope", original)
    return {
        "factor": rope.number("factor", max_positions / original),
        "original_max_position_embeddings": original,
        "attention_factor": rope.optional_number("attention_factor"),
        "short_factor": rope.numbers("short_factor", head_dim // 2),
        "long_factor": rope.numbers("long_factor", head_dim // 2),
    }


_Parser = Callable[[Fields, Fields, int, int], dict[str, Any]]
_PARSERS: dict[str, _Parser] = {
    "default": lambda config, rope, head_dim, max_positions: {},
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}

# What a rope without scaling may have.
_UNSCALED = {"rope_theta", "partial_rotary_factor"}

# Every key that some type reads; the types that do not read it ignore it, as transformers does.
_KNOWN = {
    *RopeConfig.__dataclass_fields__,
    "type",
    "partial_rotary_factor",
    "finetuned",  # a note of where a YaRN model comes from
}


def _refuse_unknown(rope: Fields) -> None:
    for key, value in rope.values.items():
        if isinstance(value, Mapping):
            raise UnsupportedError(f"{rope.where} must be one set for all layers; got one of its own for {show(key)}")
        if key not in _KNOWN and value is not None:
            raise UnsupportedError(f"{rope.where} must hold known keys only; got {show(key)}: {show(value)}")


def _refuse_partial(fields: Fields) -> None:
    value = fields.get("partial_rotary_factor")
    if value is not None and (isinstance(value, bool) or value != 1):
        raise UnsupportedError(
            f"{fields.where}: partial_rotary_factor must be 1 (all of a head is rotated); got {show(value)}"
        )


def _at_least_one(rope: Fields, key: str) -> float:
    value = rope.number(key)
    if value < 1.0:
        raise rope.bad(key, "at least 1", value)
    return value


def _original(config: Fields, rope: Fields, max_positions: int) -> int:
    """The length of pretraining. Phi-3 and its kin give it at the top level, which then counts, as in transformers."""
    source = config if config.get("original_max_position_embeddings") is not None else rope
    return source.integer("original_max_position_embeddings", max_positions)
