"""The scheme of every linear layer: what the config claims and what is stored, where the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from inferno.checkpoint.expected import patterns
from inferno.checkpoint.tensor import AnyTensor, Tensor
from inferno.errors import InfernoError, UnsupportedError
from inferno.files import show, show_some
from inferno.findings import Finding
from inferno.quantization.recognize import FLOAT, METHODS, UNKNOWN, form_of, layer_parts, what_is_wrong

if TYPE_CHECKING:
    from inferno.quantization.claims import Claim
    from inferno.quantization.scheme import LinearScheme, Parts

# Signature -> the file of this folder that runs it. The others are recognised, and refused by name.
SCHEMES: Mapping[str, str] = {
    "int-quantized": "compressed_int8",
    "uint8": "unsigned_int8",
    "pack-quantized": "compressed_packed",
    "float-quantized": "compressed_fp8",
    "fp8-block": "compressed_fp8",
    "gptq": "gptq",
    "awq": "awq",
    "bitsandbytes-int8": "bitsandbytes_int8",
    "bitsandbytes-4bit": "bitsandbytes_4bit",
}
# What compressed-tensors calls them; naive-quantized is an old name for two.
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "int-quantized": ("int-quantized", "naive-quantized"),
    "uint8": ("int-quantized", "naive-quantized"),
    "pack-quantized": ("pack-quantized",),
    "float-quantized": ("float-quantized", "naive-quantized"),
}
_REPAIR = "use the model's F32, F16 or BF16 checkpoint, or one in a scheme that runs (docs/quantization.md)"


@dataclass(frozen=True)
class Resolution:
    """`schemes`: the quantized layers by name; layers that are not in it are stored in floating point.

    `findings`: what is worth saying though the model runs.
    """

    schemes: Mapping[str, LinearScheme] = field(default_factory=dict)
    errors: tuple[InfernoError, ...] = ()
    findings: tuple[Finding, ...] = ()


def resolve(
    config: Mapping[str, Any] | None,
    tensors: Mapping[str, AnyTensor],
    layers: Mapping[str, tuple[int, int]],
    where: str,
) -> Resolution:
    """Judges each of `layers` (name -> output and input features); no weight is read.

    `config` is quantization_config, `where` names it in messages. Where config and tensors disagree neither is
    believed: that, and every form that cannot run, is an error, told once for all the layers that share it. Without a
    config nothing is quantized.
    """
    if config is None:
        return Resolution()
    from inferno.quantization.claims import read_claims

    try:
        claims = read_claims(config, where)
    except InfernoError as error:
        return Resolution(errors=(error,))
    stored = layer_parts(tensors)
    schemes: dict[str, LinearScheme] = {}
    problems = _Problems()
    for layer, (n, k) in layers.items():
        parts = stored.get(layer, {})
        if not parts:
            continue  # a tied head, or tensors that matching will miss
        try:
            claim = claims.of(layer)
            scheme = _judge(claim, layer, parts, n, k, where)
        except InfernoError as error:
            problems.add(error, layer)
            continue
        if scheme is not None:
            schemes[layer] = scheme
    if not schemes and not problems.found:
        problems.add(UnsupportedError(f"{where}: quantizes none of the model's linear layers; {_REPAIR}"), "")
    return Resolution(schemes, tuple(problems.errors()), claims.findings)


def parts_of(tensors: Mapping[str, AnyTensor], layer: str, scheme: LinearScheme, n: int, k: int) -> Parts:
    """The tensors of a layer that its scheme knows, by suffix. They have been matched."""
    found = {suffix: tensors[f"{layer}.{suffix}"] for suffix in scheme.tensors(n, k) if f"{layer}.{suffix}" in tensors}
    parts: dict[str, Tensor] = {}
    for suffix, tensor in found.items():
        assert isinstance(tensor, Tensor), "no layout that cuts tensors has quantized ones"
        parts[suffix] = tensor
    return parts


def _judge(
    claim: Claim | None, layer: str, parts: Mapping[str, AnyTensor], n: int, k: int, where: str
) -> LinearScheme | None:
    method = "" if claim is None else claim.method
    form = form_of(parts, method)
    told = ", ".join(f"{suffix} {tensor.dtype}" for suffix, tensor in sorted(parts.items()))
    if form == FLOAT:
        if claim is None:
            return None
        raise UnsupportedError(
            f"{claim.where}: must agree with the tensors; got layers that it quantizes and that are stored plainly "
            f"({told}); {_REPAIR}"
        )
    if claim is None:
        raise UnsupportedError(
            f"{where}: must agree with the tensors; got layers that it leaves alone and that are stored as {form} "
            f"({told}); {_REPAIR}"
        )
    if form == UNKNOWN:
        wrong = what_is_wrong(parts, method)
        raise UnsupportedError(
            f"{claim.where}: quant_method {show(method)}: layers are stored in a form that fits no known scheme "
            f"({told}){wrong and f': {wrong}'}; {_REPAIR}"
        )
    if method not in METHODS[form]:
        raise UnsupportedError(
            f"{claim.where}: quant_method must agree with the tensors, which are stored as {form} ({told}); got "
            f"{show(method)}; {_REPAIR}"
        )
    if claim.format and claim.format not in _FORMATS.get(form, (claim.format,)):
        raise UnsupportedError(
            f"{claim.where}: format must agree with the tensors, which are stored as {form} ({told}); got "
            f"{show(claim.format)}; {_REPAIR}"
        )
    if form not in SCHEMES:
        raise UnsupportedError(f"{claim.where}: the scheme {form} ({told}) is not implemented; {_REPAIR}")
    made: LinearScheme = import_module(f"inferno.quantization.{SCHEMES[form]}").scheme(claim, parts, n, k, claim.where)
    return made


class _Problems:
    """Errors of layers, those of one text together."""

    def __init__(self) -> None:
        self.found: dict[tuple[type[InfernoError], str], list[str]] = {}

    def add(self, error: InfernoError, layer: str) -> None:
        self.found.setdefault((type(error), str(error)), []).append(layer)

    def errors(self) -> list[InfernoError]:
        """One for each text, with the layers that it is about."""
        return [
            kind(text + (f" [{show_some(patterns(layers))}]" if any(layers) else ""))
            for (kind, text), layers in self.found.items()
        ]
