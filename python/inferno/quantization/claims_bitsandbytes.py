"""Claims of bitsandbytes, as transformers writes them: LLM.int8 or NF4 and FP4 for every layer but a list."""

from __future__ import annotations

from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show
from inferno.quantization.args import QuantArgs, refuse_unknown
from inferno.quantization.claims import Claim, Claims
from inferno.quantization.skips import HEAD, Skips, read_skips

METHOD = "bitsandbytes"
INT8 = "int8"
TYPES = ("nf4", "fp4")

_READ = (
    "quant_method load_in_8bit load_in_4bit _load_in_8bit _load_in_4bit llm_int8_threshold llm_int8_skip_modules "
    "llm_int8_has_fp16_weight bnb_4bit_quant_type bnb_4bit_use_double_quant bnb_4bit_quant_storage"
)
# The type that products are taken in (here float32 always), and where layers are to be held.
_INFORMATIONAL = "bnb_4bit_compute_dtype llm_int8_enable_fp32_cpu_offload"
_KNOWN = frozenset((_READ + " " + _INFORMATIONAL).split())


def read(fields: Fields) -> Claims:
    """The claims of a quantization_config of bitsandbytes. Raises ConfigError and UnsupportedError."""
    refuse_unknown(fields, _KNOWN)
    in_8bit, in_4bit = _flag(fields, "load_in_8bit"), _flag(fields, "load_in_4bit")
    if in_8bit == in_4bit:
        raise ConfigError(
            f"{fields.where}: one of load_in_8bit and load_in_4bit must be true; got {'both' if in_8bit else 'neither'}"
        )
    settings = {key: value for key, value in fields.values.items() if value is not None and not key.startswith("_")}
    settings.update(load_in_8bit=in_8bit, load_in_4bit=in_4bit)
    form, weights = _int8(fields) if in_8bit else _four_bits(fields)
    claim = Claim(METHOD, form, weights, None, settings, fields.where)
    # A list replaces the one that transformers takes unasked.
    skips = read_skips(fields, "llm_int8_skip_modules") or Skips((HEAD,))
    return Claims(lambda module: None if module in skips else claim)


def _flag(fields: Fields, key: str) -> bool:
    """A flag that transformers has written under its name, with an underscore before it, or both."""
    told = fields.boolean(f"_{key}", False)
    flag = fields.boolean(key, told)
    if fields.get(f"_{key}") is not None and flag != told:
        raise ConfigError(f"{fields.where}: {key} and _{key} must agree; got {show(flag)} and {show(told)}")
    return flag


def _int8(fields: Fields) -> tuple[str, QuantArgs]:
    fields.number("llm_int8_threshold", 6.0, zero=True)
    if fields.boolean("llm_int8_has_fp16_weight", False):
        raise UnsupportedError(
            f"{fields.where}: llm_int8_has_fp16_weight must be false, for such weights are quantized anew in "
            "each step; got true; save the model without it"
        )
    return INT8, QuantArgs(8, strategy="channel")


def _four_bits(fields: Fields) -> tuple[str, QuantArgs]:
    kind = fields.string("bnb_4bit_quant_type", "fp4").lower()
    if kind not in TYPES:
        raise UnsupportedError(f"{fields.where}: bnb_4bit_quant_type must be nf4 or fp4; got {show(kind)}")
    storage = fields.string("bnb_4bit_quant_storage", "uint8")
    if storage.removeprefix("torch.") != "uint8":
        raise UnsupportedError(
            f"{fields.where}: bnb_4bit_quant_storage must be uint8; got {show(storage)}; save the model with uint8"
        )
    fields.boolean("bnb_4bit_use_double_quant", False)
    # The blocks' size is stored beside each weight.
    return kind, QuantArgs(4, "float", strategy="group", group_size=None)
