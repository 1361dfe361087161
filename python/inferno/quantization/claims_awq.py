"""Claims of AutoAWQ: one scheme for every layer but the head and those that a list leaves alone."""

from __future__ import annotations

from inferno.config.fields import Fields
from inferno.errors import UnsupportedError
from inferno.files import show
from inferno.quantization.args import QuantArgs, refuse_unknown
from inferno.quantization.claims import Claim, Claims
from inferno.quantization.claims_gptq import group_size
from inferno.quantization.skips import HEAD, read_skips

METHOD = "awq"

_READ = (
    "quant_method bits w_bit group_size q_group_size zero_point version format checkpoint_format desc_act pack_dtype "
    "modules_to_not_convert lm_head"
)
# Which kernels are to run it, and what AutoRound says of its own work. sym says what zero_point says.
_INFORMATIONAL = (
    "backend do_fuse fuse_max_seq_len modules_to_fuse exllama_config sym autoround_version nsamples iters seqlen "
    "low_gpu_mem_usage enable_quanted_input lr minmax_lr amp calib_data data_type provider"
)
# What transformers 5 and GPTQModel write beside them: their settings of AWQ are among those of GPTQ.
_OF_GPTQ = (
    "tokenizer dataset damp_percent act_group_aware true_sequential meta model_seqlen batch_size method quantizer "
    "block_name_to_quantize module_name_preceding_first_block pad_token_id max_input_length cache_block_outputs "
    "static_groups hyb_act mse model_name_or_path damp_auto_increment offload_to_disk offload_to_disk_path uri"
)
_KNOWN = frozenset((_READ + " " + _INFORMATIONAL + " " + _OF_GPTQ).split())


def read(fields: Fields) -> Claims:
    """The claims of a quantization_config of AWQ. Raises ConfigError and UnsupportedError."""
    refuse_unknown(fields, _KNOWN)
    # The names in AutoAWQ's own file, and those in config.json.
    settings = {key: value for key, value in fields.values.items() if value is not None}
    for old, new in (("w_bit", "bits"), ("q_group_size", "group_size")):
        if old in settings:
            settings.setdefault(new, settings[old])
    renamed = Fields(settings, fields.where)
    version = _version(fields)
    if fields.boolean("desc_act", False):
        raise UnsupportedError(f"{fields.where}: desc_act must be false where quant_method is awq; got true")
    if fields.string("pack_dtype", "int32").removeprefix("torch.") != "int32":
        raise UnsupportedError(f"{fields.where}: pack_dtype must be int32; got {show(fields.get('pack_dtype'))}")
    if fields.boolean("lm_head", False):
        raise UnsupportedError(f"{fields.where}: lm_head must be false where quant_method is awq; got true")
    size = group_size(renamed)
    weights = QuantArgs(
        renamed.integer("bits", high=32),
        symmetric=not fields.boolean("zero_point", True),
        strategy="channel" if size == -1 else "group",
        group_size=None if size == -1 else size,
    )
    skips = read_skips(fields, "modules_to_not_convert", anywhere=True)
    claim = Claim(METHOD, version, weights, None, settings, fields.where)

    def of(module: str) -> Claim | None:
        return None if module == HEAD or (skips is not None and module in skips) else claim

    return Claims(of)


def _version(fields: Fields) -> str:
    """The layout, by any of the names that writers have for it; all that are there must say gemm."""
    for key in ("version", "format", "checkpoint_format"):
        version = fields.string(key, "gemm").lower()
        if version != "gemm":
            raise UnsupportedError(
                f"{fields.where}: {key} must be gemm where quant_method is awq; got {show(version)}; get the model in "
                "AutoAWQ's gemm version"
            )
    return "gemm"
