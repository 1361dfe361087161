"""Claims of compressed-tensors: groups of layers with a scheme each, and a list of layers to leave alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show, show_name
from inferno.findings import Finding
from inferno.quantization.args import QuantArgs, read_args, refuse_unknown
from inferno.quantization.claims import Claim, Claims
from inferno.quantization.presets import PRESETS, UNSUPPORTED_PRESETS, Preset
from inferno.quantization.roles import check_inputs, check_weights
from inferno.quantization.targets import LINEAR, Rank, Targets, parts_of_fused, refuse_slow

METHOD = "compressed-tensors"
# Layouts that run, and the type of their codes; the old naive-quantized left it to the arguments.
FORMATS: Mapping[str, str | None] = {
    "int-quantized": "int",
    "pack-quantized": "int",
    "float-quantized": "float",
    "naive-quantized": None,
}
MIXED = "mixed-precision"

_READ = "quant_method config_groups format ignore quantization_status kv_cache_scheme sparsity_config transform_config"
# The writer's version, figures about the file, and switches of the library that change how it computes, not what.
_INFORMATIONAL = (
    "version global_compression_ratio run_compressed moe_sparsity_config dequantize use_optimized_inference"
)
_KNOWN = frozenset((_READ + " " + _INFORMATIONAL).split())
_GROUP = frozenset(["targets", "weights", "input_activations", "output_activations", "format"])
# frozen: of old writers, beside compressed tensors. Weights that are floats beside scales show in the tensors.
_STATUS = ("compressed", "frozen")


@dataclass(frozen=True)
class _Group:
    name: str
    targets: Targets
    claim: Claim | None


def read(fields: Fields) -> Claims:
    """The claims of a compressed-tensors quantization_config. Raises ConfigError and UnsupportedError."""
    refuse_unknown(fields, _KNOWN)
    _refuse_other_arithmetic(fields)
    ignored = fields.get("ignore")
    ignore = Targets([] if ignored is None else ignored, f"{fields.where}: ignore")
    named = fields.get("config_groups")
    if not isinstance(named, Mapping) or not named:
        raise fields.bad("config_groups", "an object that names at least one group", named)
    form = _format(fields, (*FORMATS, MIXED))
    groups = [_group(fields, name, value, form) for name, value in named.items()]
    refuse_slow([ignore, *(group.targets for group in groups)], fields.where)
    return Claims(partial(_of, fields.where, ignore, groups), _remarks(fields))


def _refuse_other_arithmetic(fields: Fields) -> None:
    status = fields.string("quantization_status", "compressed")
    if status not in _STATUS:
        raise UnsupportedError(
            f'{fields.where}: quantization_status must be "compressed"; got {show(status)}: the weights are not stored '
            "as codes; save the model compressed"
        )
    sparsity = fields.get("sparsity_config")
    if sparsity is not None and sparsity != {}:
        layout = sparsity.get("format") if isinstance(sparsity, Mapping) else None
        if layout != "dense":  # zeros that are stored like other codes
            raise UnsupportedError(
                f"{fields.where}: sparsity_config must be absent, empty or of format dense, for Inferno does not "
                f"implement sparse weights; got {show(sparsity)}; save the model without sparse compression"
            )
    transform = fields.get("transform_config")
    if transform is not None and transform != {} and transform != {"config_groups": {}}:
        raise UnsupportedError(
            f"{fields.where}: transform_config must be absent or empty, for Inferno does not implement rotations of "
            f"activations; got {show(transform)}; quantize the model without transforms"
        )


def _remarks(fields: Fields) -> tuple[Finding, ...]:
    scheme = fields.get("kv_cache_scheme")
    if scheme is None:
        return ()
    args = read_args(scheme, f"{fields.where}: kv_cache_scheme")
    return (kv_cache_finding(fields.where, f"{args.num_bits}-bit {args.type}"),)


def kv_cache_finding(where: str, what: str) -> Finding:
    """That keys and values are kept as they are, whatever the config allows: more precise than what it asks for."""
    path, _, key = where.rpartition(": ")
    return Finding(
        "warning",
        "kv-cache-scheme",
        path or where,
        f"{key}: kv_cache_scheme asks for keys and values rounded to {what}; Inferno keeps them in its own cache's "
        "type, which is more precise, and reads no k_scale or v_scale",
        "remove kv_cache_scheme if answers need not be those of a rounded cache",
    )


def _format(fields: Fields, known: tuple[str, ...]) -> str:
    form = fields.string("format", "")
    if form and form not in known:
        raise UnsupportedError(
            f"{fields.where}: format must be one of {', '.join(known)}; got {show(form)}; get the model as "
            "compressed-tensors' W8A8, W4A16 or FP8, or unquantized"
        )
    return form


def _group(fields: Fields, name: str, value: object, form: str) -> _Group:
    where = f"{fields.where}: config_groups.{show_name(name)}"
    if isinstance(value, list):
        targets, preset = value, _preset(name, where)
    elif isinstance(value, Mapping):
        group = Fields(value, where)
        refuse_unknown(group, _GROUP)
        form = _format(group, tuple(FORMATS)) or form
        targets, preset = group.get("targets"), _scheme(group)
    else:
        raise ConfigError(f"{where}: must be an object, or targets under the name of a preset; got {show(value)}")
    known = Targets(targets, f"{where}: targets")
    classes = [name for name in known.classes() if name != LINEAR]
    if classes:
        raise UnsupportedError(
            f"{where}: targets must be {LINEAR}, names of linear layers, or regexes; got {show(classes[0])}: Inferno "
            "quantizes no other class of modules; get a model whose linear layers alone are quantized"
        )
    weights, inputs = preset
    if weights is None:
        if inputs is not None:
            raise UnsupportedError(f"{where}: weights must be given beside input_activations; got null")
        return _Group(name, known, None)
    if form == MIXED:
        raise ConfigError(f"{where}: format must be given where that of the whole is {MIXED}; got no such field")
    _check(weights, inputs, form, where)
    return _Group(name, known, Claim(METHOD, form, weights, inputs, fields.values, where))


def _preset(name: str, where: str) -> Preset:
    preset = PRESETS.get(name.upper())
    if preset is None and name.upper() in UNSUPPORTED_PRESETS:
        raise UnsupportedError(
            f"{where}: a preset must be one of {', '.join(PRESETS)}; got {show(name)}; get the model as "
            "compressed-tensors' W8A8, W4A16 or FP8, or unquantized"
        )
    if preset is None:
        raise ConfigError(
            f"{where}: a list of targets must stand under the name of a preset, one of {', '.join(PRESETS)}; got "
            f"{show(name)}"
        )
    return preset


def _scheme(group: Fields) -> Preset:
    if group.get("output_activations") is not None:
        raise UnsupportedError(
            f"{group.where}: output_activations must be null, for Inferno does not round what a layer puts out; got "
            f"{show(group.get('output_activations'))}; quantize the model without it"
        )
    args: list[QuantArgs | None] = [
        None if group.get(key) is None else read_args(group.get(key), f"{group.where}.{key}")
        for key in ("weights", "input_activations")
    ]
    return args[0], args[1]


def _check(weights: QuantArgs, inputs: QuantArgs | None, form: str, where: str) -> None:
    check_weights(weights, f"{where}.weights")
    if inputs is not None:
        check_inputs(inputs, f"{where}.input_activations")
    kind = FORMATS.get(form)
    if kind is not None and weights.type != kind:
        raise ConfigError(f'{where}: weights.type must be "{kind}" for the format {form}; got "{weights.type}"')


def _of(where: str, ignore: Targets, groups: list[_Group], module: str) -> Claim | None:
    claim, fused = _decide(where, ignore, groups, module)
    if fused:
        for part in parts_of_fused(module):
            other, _ = _decide(where, ignore, groups, part)
            if _said(other) != _said(claim):
                raise ConfigError(
                    f"{where}: targets and ignore must say one thing of the parts of a fused module; got different "
                    f"things of {module} and {part}; name each part by itself"
                )
    return claim


def _decide(where: str, ignore: Targets, groups: list[_Group], module: str) -> tuple[Claim | None, bool]:
    """What is said of a module, and whether by the name of the fused one."""
    ignored = ignore.rank(module)
    if ignored is not None:
        return None, ignored.fused
    ranked: dict[Rank, list[_Group]] = {}
    for group in groups:
        rank = group.targets.rank(module)
        if rank is not None:
            ranked.setdefault(rank, []).append(group)
    if not ranked:
        return None, False
    best = min(ranked)
    first, *rest = ranked[best]
    for other in rest:
        if _said(other.claim) != _said(first.claim):
            raise ConfigError(
                f"{where}: config_groups {show_name(first.name)} and {show_name(other.name)} must not both name "
                f"{module} and say different things of it"
            )
    return first.claim, best.fused


def _said(claim: Claim | None) -> tuple[str, QuantArgs | None, QuantArgs | None] | None:
    return None if claim is None else (claim.format, claim.weights, claim.inputs)
