"""Rules on the fields of config.json: defaulted, unknown, doubtful."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from inferno.config.fields import Fields
from inferno.config.keys import unknown_keys
from inferno.config.lint.rules import Facts, Told, rule
from inferno.files import show, show_name
from inferno.model_folder import CONFIG

# Parts of names under which other models keep what changes their arithmetic.
_SUSPICIOUS = re.compile(
    r"rope|rotary|yarn|ntk|alibi|position|attn|attention|head|scal|multiplier|divisor|softcap|clip|norm|eps$|bias|window|"
    r"sliding|chunk|expert|moe|router|residual|parallel|embed|hidden|layer|mlp|gate|act$|activation|quant|prun|spars|lora",
    re.IGNORECASE,
)
_ORDINARY_EPS = (1e-8, 1e-3)
_TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_HEAD = "lm_head.weight"


@rule("field-defaulted", "note")
def defaulted(facts: Facts) -> Iterator[Told]:
    """Fields that config.json leaves to transformers' defaults, with the values that are taken."""
    if facts.parsed is None or not facts.parsed.defaulted:
        return
    keys = dict.fromkeys(facts.parsed.defaulted)
    values = {key: _value(facts, key) for key in keys}
    listed = ", ".join(key if value is None else f"{key} = {show(value)}" for key, value in values.items())
    yield Told(str(facts.path), f"leaves to defaults: {listed}")


@rule("unknown-arithmetic-field", "warning")
def unknown_arithmetic(facts: Facts) -> Iterator[Told]:
    """Unknown fields whose names speak of something that models compute."""
    for key in _unknown(facts):
        if _SUSPICIOUS.search(key):
            yield Told(
                facts.field(show_name(key, 60)),
                f"is {show(facts.config[key], 60)}, which Inferno does not know; by its name it may change what the "
                "model computes, and it is ignored",
                "compare a few answers with the model's own code, or ask where the field comes from",
            )


@rule("unknown-field", "warning")
def unknown(facts: Facts) -> Iterator[Told]:
    """All other unknown fields, in one finding."""
    keys = [key for key in _unknown(facts) if not _SUSPICIOUS.search(key)]
    if keys:
        shown = ", ".join(f"{show_name(key, 40)} = {show(facts.config[key], 40)}" for key in keys[:8])
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        yield Told(str(facts.path), f"holds fields that Inferno does not know, and ignores: {shown}{more}")


@rule("heads-do-not-fill-hidden-size", "note")
def head_sizes(facts: Facts) -> Iterator[Told]:
    """An explicit head_dim that is not hidden_size / num_attention_heads: legitimate, and rare enough to be said."""
    config = facts.parsed
    if config is not None and config.num_attention_heads * config.head_dim != config.hidden_size:
        width = config.num_attention_heads * config.head_dim
        yield Told(
            facts.field("head_dim"),
            f"is {config.head_dim}: {config.num_attention_heads} heads of it are {width} wide, not hidden_size "
            f"({config.hidden_size}); the weights must have that shape",
        )


@rule("rms-norm-eps-unusual", "warning")
def norm_eps(facts: Facts) -> Iterator[Told]:
    """An rms_norm_eps far from what Llama models have (1e-5 or 1e-6)."""
    eps = None if facts.parsed is None else facts.parsed.rms_norm_eps
    if eps is not None and not _ORDINARY_EPS[0] <= eps <= _ORDINARY_EPS[1]:
        yield Told(
            facts.field("rms_norm_eps"),
            f"is {eps:g}; Llama models have 1e-05 or 1e-06",
            "compare with the original model's config.json",
        )


@rule("dtype-names-differ", "warning")
def dtype_names(facts: Facts) -> Iterator[Told]:
    """torch_dtype (transformers 4) and dtype (transformers 5) say different things."""
    old, new = facts.config.get("torch_dtype"), facts.config.get("dtype")
    if old is not None and new is not None and old != new:
        yield Told(
            facts.field("dtype"),
            f"is {show(new)}, and torch_dtype is {show(old)}; neither is used: the stored types count",
            "remove the wrong one",
        )


@rule("dtype-not-stored", "note")
def dtype_stored(facts: Facts) -> Iterator[Told]:
    """The dtype that config.json claims is that of no matrix."""
    claimed = None if facts.parsed is None else facts.parsed.dtype
    if claimed is None or claimed == "auto" or not facts.tensors or facts.config.get("quantization_config") is not None:
        return
    stored = sorted({dtype for dtype, shape in facts.tensors.values() if len(shape) == 2})
    if stored and claimed.removeprefix("torch.") not in {_TORCH_NAMES.get(dtype, dtype) for dtype in stored}:
        key = "dtype" if facts.config.get("dtype") is not None else "torch_dtype"
        yield Told(
            facts.field(key),
            f"is {show(claimed)}, but the matrices are stored as {', '.join(stored)}; the stored types count",
        )


@rule("tie-word-embeddings-missing", "warning")
def tied_by_silence(facts: Facts) -> Iterator[Told]:
    """No head is stored, and config.json does not say that the embedding takes its place."""
    if (
        facts.config
        and facts.config.get("tie_word_embeddings") is None
        and facts.tensors
        and _HEAD not in facts.tensors
    ):
        yield Told(
            facts.field("tie_word_embeddings"),
            f"is not given, which means false, but no {_HEAD} is stored",
            "set it to true if the model ties its head to the embedding; else a weight file is missing",
        )


@rule("pretraining-tp", "note")
def pretraining_tp(facts: Facts) -> Iterator[Told]:
    """transformers 4 cut products into pieces for this field, and so rounded otherwise."""
    pieces = facts.integer("pretraining_tp")
    if pieces is not None and pieces > 1:
        yield Told(
            facts.field("pretraining_tp"),
            f"is {pieces}: transformers 4 added each product up in {pieces} pieces for it; Inferno, like "
            "transformers 5, does not, which may change last digits",
        )


def _unknown(facts: Facts) -> tuple[str, ...]:
    if facts.parsed is not None:
        return facts.parsed.unknown_keys  # of params.json, other keys are known
    return unknown_keys(Fields(facts.config, str(facts.path))) if facts.path.name == CONFIG else ()


def _value(facts: Facts, key: str) -> Any:
    """What was taken for a defaulted field: of the rotary embedding ("rope factor", "rope_theta") or of the model."""
    if key == "rope_theta" or key.startswith("rope "):
        return getattr(facts.parsed and facts.parsed.rope, key.removeprefix("rope "), None)
    return getattr(facts.parsed, key, None)
