"""Which scheme a checkpoint's linear layers are stored in.

A scheme shows in the set of tensors that stand where `P.weight` would, and in their types. `quantization_config` is
heard as a second witness: where the two disagree, neither is believed. A type alone means nothing: U8 is a tag, a blob
of four-bit codes, an exponent or a weight, depending on what lies beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inferno.checkpoint.expected import patterns
from inferno.checkpoint.tensor import AnyTensor
from inferno.files import show, show_some

FLOAT = "float"
UNKNOWN = "unknown"
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class Signature:
    """What a scheme's linear layers look like.

    `suffixes`: what must stand after the layer's name, with the types that it may have (none: any type). `methods`: the
    values of quant_method that it goes with; none if it comes without a config.
    """

    name: str
    suffixes: Mapping[str, frozenset[str]]
    methods: frozenset[str] = frozenset()


def _signature(name: str, methods: str, **suffixes: str) -> Signature:
    # a double underscore stands for a dot: weight__absmax is weight.absmax
    kinds = {suffix.replace("__", "."): frozenset(dtypes.split()) for suffix, dtypes in suffixes.items()}
    return Signature(name, kinds, frozenset(methods.split()))


_CT = "compressed-tensors"
_SCALES = "F32 F16 BF16"
# Of those that fit, the one with the most suffixes counts; of equals, the first that goes with the config's
# quant_method, else the first.
SIGNATURES: tuple[Signature, ...] = (
    _signature("nvfp4", f"{_CT} modelopt", weight_packed="U8", weight_scale="F8_E4M3", weight_global_scale="F32"),
    _signature("mxfp4", f"{_CT} mxfp4 quark", weight_packed="U8", weight_scale="U8 F8_E8M0"),
    _signature("mxfp8", f"{_CT} quark", weight="F8_E4M3", weight_scale="U8 F8_E8M0"),
    _signature("pack-quantized", _CT, weight_packed="I32", weight_scale=_SCALES, weight_shape="I64 I32"),
    _signature("uint8", _CT, weight="U8", weight_scale=_SCALES, weight_zero_point="U8 I8"),
    _signature("int-quantized", _CT, weight="I8", weight_scale=_SCALES),
    _signature("float-quantized", f"{_CT} fp8 fbgemm_fp8 modelopt quark", weight="F8_E4M3", weight_scale=_SCALES),
    _signature("fp8-block", "fp8", weight="F8_E4M3", weight_scale_inv=_SCALES),
    _signature("gptq", "gptq", qweight="I32", qzeros="I32", scales=_SCALES, g_idx="I32"),
    _signature("awq", "awq", qweight="I32", qzeros="I32", scales=_SCALES),
    # Without its order of groups GPTQ looks like AWQ, packed along the other axis: only the config tells them apart.
    _signature("gptq", "gptq", qweight="I32", qzeros="I32", scales=_SCALES),
    _signature("bitsandbytes-4bit", "bitsandbytes", weight="U8", weight__absmax="", weight__quant_map="F32"),
    _signature("bitsandbytes-int8", "bitsandbytes", weight="I8", SCB="F32"),
    _signature("torchao", "torchao", _weight_qdata=""),
    _signature("quanto", "quanto", weight___data=""),
    _signature("mlx", "", weight="U32", scales=_SCALES, biases=_SCALES),
)
# What weights themselves are stored under; everything else of a layer is small.
CODES = frozenset({"weight", "weight_packed", "qweight"})
# Signature -> the values of quant_method that it goes with.
METHODS: Mapping[str, frozenset[str]] = {
    name: frozenset(method for signature in SIGNATURES if signature.name == name for method in signature.methods)
    for name in dict.fromkeys(signature.name for signature in SIGNATURES)
}
_SIDE = frozenset(suffix for signature in SIGNATURES for suffix in signature.suffixes) - {"weight"} | {
    *("weight_zero_point", "weight_g_idx", "input_scale", "input_zero_point", "output_scale", "weight_format", "bias"),
    *("input_global_scale", "weight._scale", "weight._shift", "_weight_scale", "_weight_zero_point"),
    *("weight.nested_absmax", "weight.nested_quant_map", "k_scale", "v_scale", "kv_scale", "q_scale", "prob_scale"),
    *("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"),
}


@dataclass(frozen=True)
class Scheme:
    """The scheme of a checkpoint's linear layers, and what it was told by.

    `name` is FLOAT, one of SIGNATURES, or UNKNOWN. `conflict` says what does not fit together, if something does not.
    """

    name: str
    evidence: tuple[str, ...] = ()
    conflict: str | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)

    @property
    def quantized(self) -> bool:
        """Whether weights are anything but plain floating point."""
        return self.name != FLOAT


def side_suffix(name: str) -> str | None:
    """The suffix by which a tensor belongs to a quantized layer beside its weight: weight_scale, qzeros, ..."""
    for suffix in _SIDE:
        if name.endswith("." + suffix) and suffix != "bias":
            return suffix
    return None


def recognize(tensors: Mapping[str, AnyTensor], quantization_config: Mapping[str, Any] | None) -> Scheme:
    """What the layers of a checkpoint are stored as; no weight is read. Which of them run, resolve.py says."""
    found = {layer: parts for layer, parts in layer_parts(tensors).items() if _is_quantized(parts)}
    method = None if quantization_config is None else quantization_config.get("quant_method")
    known = method if isinstance(method, str) else ""
    told = [] if quantization_config is None else [_config_evidence(quantization_config)]
    dtypes: dict[str, int] = {}
    for tensor in tensors.values():
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + tensor.nbytes
    if not found:
        if quantization_config is None:
            return Scheme(
                FLOAT, (f"every linear layer is one plain weight: {', '.join(sorted(dtypes))}",), None, dtypes
            )
        conflict = "quantization_config is given, yet no tensor is stored in a quantized form"
        return Scheme(UNKNOWN, tuple(told), conflict, dtypes)
    by_scheme: dict[str, list[str]] = {}
    for layer, parts in found.items():
        by_scheme.setdefault(form_of(parts, known), []).append(layer)
    evidence = [*told, *(_tell(name, layers, found) for name, layers in by_scheme.items())]
    name = max(by_scheme, key=lambda scheme: len(by_scheme[scheme]))
    return Scheme(name, tuple(evidence), _conflict(name, quantization_config, method), dtypes)


def layer_parts(tensors: Mapping[str, AnyTensor]) -> dict[str, dict[str, AnyTensor]]:
    """Layers by name: what stands after the name, and the tensor. Biases, which no scheme changes, are left out."""
    layers: dict[str, dict[str, AnyTensor]] = {}
    for name, tensor in tensors.items():
        suffix = side_suffix(name) or name.rpartition(".")[2]
        if suffix != "bias":
            layers.setdefault(name.removesuffix("." + suffix), {})[suffix] = tensor
    return layers


def form_of(parts: Mapping[str, AnyTensor], method: str) -> str:
    """What a layer is stored as: FLOAT, one of SIGNATURES, or UNKNOWN. `method`: what the config says, for a tie."""
    if not _is_quantized(parts):
        return FLOAT
    fitting = [
        signature
        for signature in SIGNATURES
        if all(
            suffix in parts and (not dtypes or parts[suffix].dtype in dtypes)
            for suffix, dtypes in signature.suffixes.items()
        )
    ]
    if not fitting:
        return UNKNOWN
    return max(fitting, key=lambda signature: (len(signature.suffixes), method in signature.methods)).name


def what_is_wrong(parts: Mapping[str, AnyTensor], method: str) -> str:
    """What keeps an unknown form from the nearest one of a quant_method: "as int-quantized, weight_scale is missing".

    "" if no form goes with the method.
    """

    def faults(signature: Signature) -> list[str]:
        return [
            f"{suffix} is missing"
            if suffix not in parts
            else f"{suffix} must be {' or '.join(sorted(dtypes))}, not {parts[suffix].dtype}"
            for suffix, dtypes in signature.suffixes.items()
            if suffix not in parts or (dtypes and parts[suffix].dtype not in dtypes)
        ]

    found = [(faults(signature), signature.name) for signature in SIGNATURES if method in signature.methods]
    if not found:
        return ""
    wrong, name = min(found, key=lambda each: len(each[0]))
    return f"as {name}, {' and '.join(wrong)}"


def _is_quantized(parts: Mapping[str, AnyTensor]) -> bool:
    # A plain tensor under a name that nothing expects is a stray, not a scheme.
    return any(suffix in _SIDE or tensor.dtype not in _FLOATS for suffix, tensor in parts.items())


def _tell(scheme: str, layers: list[str], found: Mapping[str, Mapping[str, AnyTensor]]) -> str:
    parts = ", ".join(f"{suffix} {tensor.dtype}" for suffix, tensor in sorted(found[layers[0]].items()))
    return f"{show_some(patterns(layers))}: {parts} -> {scheme}"


def _config_evidence(config: Mapping[str, Any]) -> str:
    keys = ("quant_method", "format", "bits", "checkpoint_format", "version", "load_in_8bit", "load_in_4bit")
    named = [f"{key} {show(config[key])}" for key in keys if config.get(key) is not None]
    return "quantization_config: " + (", ".join(named) or "no quant_method")


def _conflict(name: str, config: Mapping[str, Any] | None, method: object) -> str | None:
    methods = METHODS.get(name, frozenset())
    if name == UNKNOWN:
        return "tensors are stored in a form that fits no known scheme"
    if config is None:
        return "tensors are quantized, yet config.json has no quantization_config" if methods else None
    if method is None:
        return f"tensors are stored as {name}, yet quantization_config has no quant_method"
    if not isinstance(method, str) or method not in methods:
        return f"tensors are stored as {name}, yet quantization_config says quant_method {show(method)}"
    return None
