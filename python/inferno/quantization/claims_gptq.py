"""Claims of GPTQ, as AutoGPTQ, GPTQModel and transformers write them: one scheme for every layer of the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferno.config.fields import Fields
from inferno.errors import UnsupportedError
from inferno.files import show
from inferno.quantization.args import QuantArgs, refuse_unknown
from inferno.quantization.claims import Claim, Claims
from inferno.quantization.skips import HEAD, Skips

METHOD = "gptq"
FORMATS = ("gptq", "gptq_v2")

_READ = (
    "quant_method bits group_size desc_act sym checkpoint_format format is_marlin_format pack_dtype lm_head dynamic "
    "modules_in_block_to_quantize rotation adapter data_type act_bits"
)
# How codes were found, on what, by whom, and which kernel is to run them.
_INFORMATIONAL = (
    "method damp_percent damp_auto_increment static_groups true_sequential act_group_aware hyb_act mse gptaq foem meta "
    "quantizer version model_name_or_path model_file_base_name tokenizer dataset batch_size pad_token_id model_seqlen "
    "max_input_length cache_block_outputs block_name_to_quantize module_name_preceding_first_block use_exllama "
    "exllama_config disable_exllama use_cuda_fp16 use_triton backend parallel_packing pack_impl offload_to_disk "
    "offload_to_disk_path uri fail_safe failsafe v2 v2_alpha inside_layer_modules autoround_version nsamples iters "
    "seqlen low_gpu_mem_usage enable_quanted_input lr minmax_lr amp calibration group_aware "
    # what AutoRound's export to GPTQ says of its own work
    "scale_dtype enable_minmax_tuning enable_norm_bias_tuning enable_round_tuning gradient_accumulate_steps train_bs "
    "not_use_best_mse dynamic_max_gap to_quant_block_names packing_format act_dynamic act_group_size act_sym "
    "act_data_type super_bits super_group_size momentum lr_scheduler sampler nblocks"
)
_KNOWN = frozenset((_READ + " " + _INFORMATIONAL).split())


def read(fields: Fields) -> Claims:
    """The claims of a quantization_config of GPTQ. Raises ConfigError and UnsupportedError."""
    refuse_unknown(fields, _KNOWN)
    _refuse_other_arithmetic(fields)
    stored = _format(fields)
    size = group_size(fields)
    weights = QuantArgs(
        fields.integer("bits", high=32),
        symmetric=fields.boolean("sym", True),
        strategy="channel" if size == -1 else "group",
        group_size=None if size == -1 else size,
        actorder="group" if fields.boolean("desc_act", False) else None,
    )
    named = _named(fields)
    head = fields.boolean("lm_head", False)
    settings: Mapping[str, Any] = {**fields.values, "checkpoint_format": stored}
    claim = Claim(METHOD, stored, weights, None, settings, fields.where)

    def of(module: str) -> Claim | None:
        if module == HEAD:
            return claim if head else None
        return claim if named is None or module in named else None

    return Claims(of)


def group_size(fields: Fields) -> int:
    """Columns that share a scale, -1 for the row. Raises ConfigError."""
    size = fields.integer("group_size", low=-1)
    if size == 0:
        raise fields.bad("group_size", "at least 1, or -1 for one group in a row", size)
    return size


def _format(fields: Fields) -> str:
    """The layout; GPTQModel and transformers call it format, too, which may name the quantizer's own method as well."""
    stored = fields.string("checkpoint_format", fields.string("format", "gptq")).lower()
    if stored not in FORMATS or fields.boolean("is_marlin_format", False):
        got = "is_marlin_format true" if stored in FORMATS else show(stored)
        raise UnsupportedError(
            f"{fields.where}: checkpoint_format must be gptq or gptq_v2 where quant_method is gptq; got {got}; get the "
            "model in GPTQ's own format"
        )
    return stored


def _refuse_other_arithmetic(fields: Fields) -> None:
    for key, what in (
        ("dynamic", "settings for some layers"),
        ("rotation", "rotations of activations"),
        ("adapter", "adapters beside GPTQ's weights"),
    ):
        value = fields.get(key)
        if value is not None and value is not False and value not in ({}, [], ""):
            raise UnsupportedError(
                f"{fields.where}: {key} must be absent or empty, for Inferno does not implement {what}; got "
                f"{show(value)}; quantize the model without it"
            )
    if fields.string("data_type", "int") != "int":
        raise UnsupportedError(f"{fields.where}: data_type must be int; got {show(fields.get('data_type'))}")
    if fields.integer("act_bits", default=16, high=64) < 16:
        raise UnsupportedError(
            f"{fields.where}: act_bits must be 16 where quant_method is gptq; got {fields.get('act_bits')}; "
            "inputs are not rounded beside GPTQ's weights"
        )
    dtype = fields.string("pack_dtype", "int32")
    if dtype.removeprefix("torch.") != "int32":
        raise UnsupportedError(f"{fields.where}: pack_dtype must be int32; got {show(dtype)}; pack the model so")


def _named(fields: Fields) -> Skips | None:
    """The layers of a block that were quantized, where not all were."""
    value = fields.get("modules_in_block_to_quantize")
    if value is None:
        return None
    lists = value if isinstance(value, list) else [value]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise fields.bad("modules_in_block_to_quantize", "lists of names", value)
    return Skips(tuple(name for names in lists for name in names))
