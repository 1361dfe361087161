"""What each tier can compute: operation x stored type x tier -> a kernel, a fallback with its cost, or a refusal.

`plan` asks this table and nothing else. Which tier implements a kernel comes from the extension itself; which stored
type a kernel serves, and why none serves the others, stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from inferno.checkpoint.dtypes import DTYPES
from inferno.quantization.recognize import SIGNATURES, UNKNOWN
from inferno.quantization.resolve import SCHEMES

# What an operation without weights is asked for.
NO_WEIGHT = "-"

_STORED = ("F32", "F16", "BF16")
# Codes that stand for numbers with a scheme's scales, and how they are packed: as csrc/kernels/coded.h has them.
_CODES = ("I8", "U8", "U4", "LUT4", "E4M3", "GPTQ4", "GPTQ8", "AWQ4")
_SUFFIX = {"F32": "f32", "F16": "f16", "BF16": "bf16"}

# Operations by the type of what they read or write in storage: the name of their kernel.
KERNELS: Mapping[tuple[str, str], str] = {
    **{("embedding", dtype): f"embedding_f32_{_SUFFIX[dtype]}" for dtype in _STORED},
    **{("rmsnorm", dtype): f"rmsnorm_f32_f32_{_SUFFIX[dtype]}" for dtype in _STORED},
    **{("matmul", dtype): f"matmul_f32_f32_{_SUFFIX[dtype]}" for dtype in _STORED},
    **{("rmsnorm_quantize", dtype): f"rmsnorm_i8_f32_{_SUFFIX[dtype]}" for dtype in _STORED},
    **{("matmul_int8", codes): f"matmul_f32_i8_{codes.lower()}" for codes in ("I8", "U8")},
    **{("matmul_coded", codes): f"matmul_f32_f32_{codes.lower()}" for codes in _CODES},
    **{("kv_write", dtype): f"kv_write_{_SUFFIX[dtype]}_f32" for dtype in _STORED},
    **{("attention", dtype): f"attention_f32_f32_{_SUFFIX[dtype]}" for dtype in _STORED},
    ("rope_angles", NO_WEIGHT): "rope_angles_f32",
    ("rope_half_split", NO_WEIGHT): "rope_half_split_f32",
    ("rope_interleaved", NO_WEIGHT): "rope_interleaved_f32",
    ("quantize", NO_WEIGHT): "quantize_i8_f32",
    ("round_e4m3", NO_WEIGHT): "round_e4m3_f32",
    ("silu_mul", NO_WEIGHT): "silu_mul_f32",
    ("group_max", NO_WEIGHT): "group_max_f32",
    ("collect", NO_WEIGHT): "collect_f32",
    ("exp_weights", NO_WEIGHT): "exp_weights_f32",
}
OPERATIONS: tuple[str, ...] = tuple(dict.fromkeys(operation for operation, _ in KERNELS))
WEIGHTED: tuple[str, ...] = tuple(dict.fromkeys(op for op, weight in KERNELS if weight != NO_WEIGHT))

_NO_SCHEME = "{} says nothing of the numbers that it stands for without a scheme"
# Types for which no operation has a kernel, and why.
DTYPE_REFUSALS: Mapping[str, str] = {
    "F64": "float64 weights are not implemented, and no checkpoint needs them; save the model in F32",
    "C64": "complex weights have no place in a Llama",
    "BOOL": "truth values are no weights",
    **{dtype: _NO_SCHEME.format(dtype) for dtype in DTYPES if dtype not in (*_STORED, "F64", "C64", "BOOL")},
}
# Schemes that are recognised and for which no matmul exists, and why. The others name the type of their codes.
SCHEME_REFUSALS: Mapping[str, str] = {
    **{
        signature.name: f"no kernel multiplies with codes as the scheme {signature.name} stores them"
        for signature in SIGNATURES
        if signature.name not in SCHEMES
    },
    UNKNOWN: "no scheme is known that stores weights so",
}
WEIGHT_TYPES: tuple[str, ...] = tuple(dict.fromkeys((*DTYPES, *_CODES, *SCHEME_REFUSALS)))

# What it costs that a tier has no variant of its own and runs the scalar one. Times are relative to a token.
FALLBACK_COSTS: Mapping[str, str] = {
    "rope_angles_f32": "a cosine and a sine for each pair of a head, once a token for all layers: < 0.1 %",
}


@dataclass(frozen=True)
class Kernel:
    """A kernel, and the tier whose variant runs. `cost` is set where that is a lower tier than the one asked for."""

    name: str
    tier: str
    cost: str | None = None


@dataclass(frozen=True)
class Refusal:
    """Why no kernel serves."""

    reason: str


def variants() -> Mapping[str, Mapping[str, str]]:
    """Tier -> kernel -> the tier whose variant it runs, for every tier in this build."""
    from inferno import _core

    return _core.kernel_variants()


def choose(operation: str, weight_type: str, tier: str, variants: Mapping[str, Mapping[str, str]]) -> Kernel | Refusal:
    """The cell of the table. `variants`: tier -> kernel -> the tier that implements it (`_core.kernel_variants()`).

    Raises KeyError for an operation or a tier that does not exist.
    """
    if operation not in OPERATIONS:
        raise KeyError(operation)
    name = KERNELS.get((operation, weight_type))
    if name is not None:
        implemented_by = variants[tier][name]
        return Kernel(name, implemented_by, None if implemented_by == tier else FALLBACK_COSTS[name])
    if operation not in WEIGHTED:
        return Refusal("the operation reads nothing from storage")
    if weight_type == NO_WEIGHT:
        return Refusal("the operation reads from storage, and works on nothing without")
    if weight_type in SCHEME_REFUSALS:
        return Refusal(SCHEME_REFUSALS[weight_type])
    return Refusal(DTYPE_REFUSALS.get(weight_type, _NO_SCHEME.format(weight_type)))


def cells(variants: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str, Kernel | Refusal]]:
    """Every cell: (operation, weight type, tier, what is there)."""
    for operation in OPERATIONS:
        for weight_type in (NO_WEIGHT, *WEIGHT_TYPES):
            for tier in variants:
                yield operation, weight_type, tier, choose(operation, weight_type, tier, variants)
