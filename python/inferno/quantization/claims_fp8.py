"""Claims of the method "fp8": float8 weights in blocks (DeepSeek, Qwen, transformers) or per tensor (AutoFP8, vLLM)."""

from __future__ import annotations

from inferno.config.fields import Fields
from inferno.errors import UnsupportedError
from inferno.files import show
from inferno.quantization.args import QuantArgs, refuse_unknown
from inferno.quantization.claims import Claim, Claims
from inferno.quantization.claims_compressed import kv_cache_finding
from inferno.quantization.skips import HEAD, Skips, read_skips

METHOD = "fp8"
SCHEMES = ("dynamic", "static")

_READ = (
    "quant_method activation_scheme weight_block_size fmt scale_fmt modules_to_not_convert ignored_layers "
    "modules_to_convert kv_cache_scheme"
)
# dequantize is for who loads without float8; the others tell of experts, and of the writer.
_INFORMATIONAL = "dequantize expert_dtype version is_checkpoint_fp8_serialized"
_KNOWN = frozenset((_READ + " " + _INFORMATIONAL).split())


def read(fields: Fields) -> Claims:
    """The claims of a quantization_config of fp8. Raises ConfigError and UnsupportedError."""
    refuse_unknown(fields, _KNOWN)
    _refuse_other_arithmetic(fields)
    block = _block(fields)
    dynamic = _dynamic(fields)
    if block is None:
        weights = QuantArgs(8, "float")
        inputs = QuantArgs(8, "float", strategy="token" if dynamic else "tensor", dynamic=dynamic)
    else:
        weights = QuantArgs(8, "float", strategy="block", block_structure=block)
        inputs = QuantArgs(8, "float", strategy="group", group_size=block[1], dynamic=True)
        if not dynamic:
            raise UnsupportedError(
                f'{fields.where}: activation_scheme must be "dynamic" beside weight_block_size; got "static"'
            )
    claim = Claim(METHOD, "", weights, inputs, fields.values, fields.where)
    none = Skips(())
    skips = [read_skips(fields, key) or none for key in ("modules_to_not_convert", "ignored_layers")]

    def of(module: str) -> Claim | None:
        # No server runs the head in float8, whether a list names it or not.
        return None if module == HEAD or any(module in names for names in skips) else claim

    cache = fields.get("kv_cache_scheme")
    findings = () if cache is None else (kv_cache_finding(fields.where, "8-bit float"),)
    return Claims(of, findings)


def _block(fields: Fields) -> tuple[int, int] | None:
    value = fields.get("weight_block_size")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 < n < 2**31 for n in value):
        raise fields.bad("weight_block_size", "two positive integers, [rows, columns], or null", value)
    return value[0], value[1]


def _dynamic(fields: Fields) -> bool:
    scheme = fields.string("activation_scheme", "dynamic").lower()
    if scheme not in SCHEMES:
        raise fields.bad("activation_scheme", '"dynamic" or "static"', fields.get("activation_scheme"))
    return scheme == "dynamic"


def _refuse_other_arithmetic(fields: Fields) -> None:
    fmt = fields.string("fmt", "e4m3")
    if fmt not in ("e4m3", "float8_e4m3fn"):
        raise UnsupportedError(f"{fields.where}: fmt must be e4m3; got {show(fmt)}")
    scale_fmt = fields.string("scale_fmt", "float")
    if scale_fmt != "float":
        raise UnsupportedError(
            f'{fields.where}: scale_fmt must be absent or "float", for Inferno does not round scales of activations to '
            f"powers of two; got {show(scale_fmt)}"
        )
    if fields.get("modules_to_convert") is not None:
        raise UnsupportedError(
            f"{fields.where}: modules_to_convert must be null, for Inferno runs float8 in linear layers alone; got "
            f"{show(fields.get('modules_to_convert'))}"
        )
