"""params.json, the config of Meta's own checkpoints, read, checked and bounded.

Names, defaults and formulas: llama-models' models/llama3/args.py and model.py (ModelArgs, FeedForward, apply_scaling).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferno.config.fields import Fields
from inferno.config.keys import CHANGES_ARITHMETIC, equals_json
from inferno.config.llama import MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, LlamaConfig
from inferno.config.rope import DEFAULT_THETA, LLAMA3_VOCAB_SIZE, MAX_THETA, RopeConfig
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show
from inferno.model_folder import PARAMS

# Of llama-models' apply_scaling, the same for all Llama 3 models with scaled RoPE.
_LOW_FREQ_FACTOR, _HIGH_FREQ_FACTOR, _ORIGINAL_CONTEXT = 1.0, 4.0, 8192
_SCALED_CONTEXT = 131_072
# (dim, n_layers, n_heads) of what Meta published with scaled RoPE. params.json does not tell the factor, and
# llama-models computes with 8 throughout; Llama 3.2's 1B and 3B were trained with 32, as their config.json says.
_FACTOR_8 = {
    (4096, 32, 32): "Llama 3.1 8B",
    (8192, 80, 64): "Llama 3.1 and 3.3 70B",
    (16384, 126, 128): "Llama 3.1 405B",
}
_FACTOR_32 = {(2048, 16, 32): "Llama 3.2 1B", (3072, 28, 24): "Llama 3.2 3B"}

# Llama 1 alone has this epsilon; its 65B has Llama 2's, and is the only one of its width without grouped queries.
_LLAMA1_EPS, _LLAMA1_65B = 1e-6, 8192

# Keys of Meta's own that change the arithmetic, with the values at which they do not, beside null.
_CHANGES_ARITHMETIC: dict[str, tuple[Any, ...]] = {
    **CHANGES_ARITHMETIC,
    "quantization_args": ({},),
    "lora_args": ({},),
    # Llama 3.2 vision and Llama 4
    "vision_num_cross_attention_layers": (-1, 0),
    "vision_chunk_size": (-1,),
    "vision_model": (),
    "vision_args": (),
    "vision_encoder": (),
    "moe_args": (),
    "ffn_exp": (),
    # Mistral's dialect of the format
    "hidden_dim": (),
    "moe": (),
    "yarn": (),
    "rope_scaling": (),
    "quantization": (),
    "causal": (True,),
}
_READ = (
    "dim n_layers n_heads n_kv_heads head_dim vocab_size multiple_of ffn_dim_multiplier norm_eps rope_theta "
    "use_scaled_rope rope_scaling_factor rope_high_freq_factor max_seq_len"
)
# Of no effect on values: how much a server prepares for, a picture size of models without pictures.
_HARMLESS = "max_batch_size vision_max_num_chunks"
_KNOWN = frozenset(_READ.split()) | frozenset(_HARMLESS.split()) | _CHANGES_ARITHMETIC.keys()


def config_from_params(params: Mapping[str, Any], where: str = PARAMS, *, vocab_size: int | None = None) -> LlamaConfig:
    """The config that params.json tells of; `where` names it in errors.

    `vocab_size`: the rows of tok_embeddings, for the files of Llama 1 and 2, which give -1. Raises ConfigError for a
    value that is missing or makes no sense, UnsupportedError for arithmetic that Inferno does not have.

    params.json has no end tokens (the tokenizer brings them), and no context length: that is max_seq_len if someone put
    it there, else as `_context` says, and then in `defaulted`.
    """
    fields = Fields(params, where)
    _refuse_other_arithmetic(fields)
    dim = fields.integer("dim", high=MAX_WIDTH)
    heads = fields.integer("n_heads", high=MAX_HEADS)
    head_dim = _head_dim(fields, dim, heads)
    vocab_size = _vocab_size(fields, vocab_size)
    rope = _rope(fields, dim, heads, vocab_size)
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=dim,
        intermediate_size=_intermediate_size(fields, dim),
        num_hidden_layers=fields.integer("n_layers", high=MAX_LAYERS),
        num_attention_heads=heads,
        num_key_value_heads=_kv_heads(fields, heads),
        head_dim=head_dim,
        rms_norm_eps=fields.number("norm_eps", 1e-5, high=1.0),
        max_position_embeddings=_context(fields, dim, vocab_size, rope),
        rope=rope,
        defaulted=tuple(fields.defaulted),
        unknown_keys=tuple(sorted(key for key in params if key not in _KNOWN)),
    )


def _refuse_other_arithmetic(fields: Fields) -> None:
    for key, neutral in _CHANGES_ARITHMETIC.items():
        value = fields.get(key)
        if value is not None and not any(equals_json(value, n) for n in neutral):
            off = " or ".join(["absent", "null", *map(show, neutral)])
            raise UnsupportedError(
                f"{fields.where}: {key} must be {off}, for Inferno does not implement it; got {show(value)}"
            )


def _head_dim(fields: Fields, dim: int, heads: int) -> int:
    if dim % heads != 0:
        raise fields.bad("dim", f"a multiple of n_heads ({heads})", dim)
    head_dim = dim // heads
    if head_dim % 2 != 0 or head_dim > MAX_HEAD_DIM:
        raise fields.bad("dim", f"n_heads ({heads}) times an even number up to {MAX_HEAD_DIM}, for RoPE", dim)
    # Not a key of Meta's: Mistral's models have it, and heads that do not add up to dim.
    given = fields.get("head_dim")
    if given is not None and (type(given) is not int or given != head_dim):
        raise UnsupportedError(
            f"{fields.where}: head_dim must be absent or dim / n_heads ({head_dim}); got {show(given)}; use the "
            "model's Hugging Face layout"
        )
    return head_dim


def _kv_heads(fields: Fields, heads: int) -> int:
    kv_heads = fields.integer("n_kv_heads", heads, high=MAX_HEADS)
    if heads % kv_heads != 0:
        raise fields.bad("n_kv_heads", f"a divisor of n_heads ({heads})", kv_heads)
    return kv_heads


def _vocab_size(fields: Fields, stored: int | None) -> int:
    value = fields.get("vocab_size")
    if value is not None and (type(value) is not int or value != -1):
        return fields.integer("vocab_size", high=MAX_VOCAB)
    if stored is None:
        raise fields.bad("vocab_size", f"from 1 to {MAX_VOCAB}, for no tok_embeddings.weight tells it", value)
    if not 1 <= stored <= MAX_VOCAB:
        raise ConfigError(f"{fields.where}: tok_embeddings.weight must have 1 to {MAX_VOCAB} rows; got {stored}")
    return stored


def _intermediate_size(fields: Fields, dim: int) -> int:
    """Two thirds of four times dim, times the multiplier, rounded up to a multiple; each step cut to an integer."""
    size = 8 * dim // 3
    if fields.get("ffn_dim_multiplier") is not None:
        size = int(fields.number("ffn_dim_multiplier", high=1e6) * size)
    multiple = fields.integer("multiple_of", 256, high=MAX_WIDTH)
    size = multiple * -(-size // multiple)
    if not 1 <= size <= MAX_WIDTH:
        raise ConfigError(
            f"{fields.where}: dim, ffn_dim_multiplier and multiple_of must lead to 1 to {MAX_WIDTH} columns of w2; got "
            f"{size}"
        )
    return size


def _rope(fields: Fields, dim: int, heads: int, vocab_size: int) -> RopeConfig:
    if fields.get("rope_theta") is None and vocab_size == LLAMA3_VOCAB_SIZE:
        raise ConfigError(
            f"{fields.where}: rope_theta must be given for a vocab_size of {vocab_size} (Llama 3 uses 500000); got no "
            "such field; restore it from the original params.json"
        )
    theta = fields.number("rope_theta", DEFAULT_THETA, low=1.0, high=MAX_THETA)
    if not fields.boolean("use_scaled_rope", False):
        return RopeConfig(rope_theta=theta)
    # Llama 4's key: its absence leaves nothing open.
    high = fields.optional_number("rope_high_freq_factor", low=_LOW_FREQ_FACTOR)
    return RopeConfig(
        rope_type="llama3",
        rope_theta=theta,
        factor=_scaling_factor(fields, (dim, fields.integer("n_layers", high=MAX_LAYERS), heads), vocab_size),
        low_freq_factor=_LOW_FREQ_FACTOR,
        high_freq_factor=_HIGH_FREQ_FACTOR if high is None else high,
        original_max_position_embeddings=_ORIGINAL_CONTEXT,
    )


def _scaling_factor(fields: Fields, shape: tuple[int, int, int], vocab_size: int) -> float:
    if fields.get("rope_scaling_factor") is not None:
        return fields.number("rope_scaling_factor")
    if shape in _FACTOR_8 and vocab_size == LLAMA3_VOCAB_SIZE:
        fields.defaulted.append("rope_scaling_factor")
        return 8.0
    likely = f"; {_FACTOR_32[shape]} has this shape" if shape in _FACTOR_32 else ""
    raise ConfigError(
        f"{fields.where}: rope_scaling_factor must be given beside use_scaled_rope; got no such field, and params.json "
        f"tells it in no other way: Llama 3.1 and 3.3 have 8, Llama 3.2 1B and 3B have 32{likely}; add "
        f'"rope_scaling_factor": {32 if likely else "8 or 32"} to the file, as the model\'s config.json has it'
    )


def _context(fields: Fields, dim: int, vocab_size: int, rope: RopeConfig) -> int:
    """How many positions the model was made for.

    131072 with scaled RoPE, 8192 for Llama 3, 16384 for Code Llama (known by its theta, as in transformers' converter),
    4096 for Llama 2, 2048 for Llama 1 (known by its epsilon and, at 65B, by its width). An early file of Llama 2 with
    Llama 1's epsilon passes for Llama 1.
    """
    if fields.get("max_seq_len") is not None:
        return fields.integer("max_seq_len")
    fields.defaulted.append("max_seq_len")
    if rope.rope_type == "llama3":
        return _SCALED_CONTEXT
    if vocab_size == LLAMA3_VOCAB_SIZE:
        return 8192
    if rope.rope_theta > DEFAULT_THETA:
        return 16384
    llama1_65b = dim == _LLAMA1_65B and fields.get("n_kv_heads") is None
    return 2048 if fields.get("norm_eps") == _LLAMA1_EPS or llama1_65b else 4096
