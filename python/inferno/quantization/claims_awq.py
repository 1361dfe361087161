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

_READ = "quant_method bits w_bit group_size q_group_size zero_point version modules_to_not_convert lm_head"
# Which kernels are to run it, and what AutoRound says of its own work. sym says what zero_point says.
_INFORMATIONAL = (
    "backend do_fuse fuse_max_seq_len modules_to_fuse exllama_config sym autoround_version nsamples iters seqlen "
    "low_gpu_mem_usage enable_quanted_input lr minmax_lr amp calib_data data_type provider"
)
_KNOWN = frozenset((_READ + " " + _INFORMATIONAL).split())


def read(fields: Fields) -> Claims:
    """The claims of a quantization_config of AWQ. Raises ConfigError and UnsupportedError."""
    refuse_unknown(fields, _KNOWN)
    # The names in AutoAWQ's own file, and those in config.json.
    settings = {key: value for key, value in fields.values.items() if value is not None}
    for old, new in (("w_bit", "bits"), ("q_group_size", "group_size")):
        if old in settings:
            settings.setdefault(new, settings[old])
    renamed = Fields(settings, fields.where)
    version = fields.string("version", "gemm").lower()
    if version != "gemm":
        raise UnsupportedError(
            f"{fields.where}: version must be gemm where quant_method is awq; got {show(version)}; get the model in "
            "AutoAWQ's gemm version"
        )
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
