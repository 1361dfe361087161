"""What quantization_config says of each linear layer.

Said is not stored: resolve.py holds a claim against the tensors, and believes neither where they disagree. What would
change the arithmetic and is not implemented is refused here, by name, before a weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show
from inferno.findings import Finding
from inferno.quantization.args import QuantArgs


@dataclass(frozen=True)
class Claim:
    """What is said of one layer.

    `method`: quant_method. `format`: how compressed-tensors lays the tensors out, GPTQ's checkpoint_format, AWQ's
    version, or bitsandbytes' "int8", "nf4", "fp4"; empty if it is not said. `weights`, `inputs`: how they are
    quantized; None if they are not. `settings`: the whole of quantization_config. `where`: its part that says so, for
    messages.
    """

    method: str
    format: str
    weights: QuantArgs | None
    inputs: QuantArgs | None
    settings: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class Claims:
    """What is said of every layer. `findings`: what is worth saying though the model runs."""

    rule: Callable[[str], Claim | None]
    findings: tuple[Finding, ...] = ()

    def of(self, module: str) -> Claim | None:
        """What is said of a linear layer ("model.layers.0.mlp.up_proj", "lm_head"); None if it is not quantized.

        Raises ConfigError where two parts of the config say different things of it.
        """
        return self.rule(module)


# quant_method -> the file of this folder that reads its settings.
_READERS: Mapping[str, str] = {
    "compressed-tensors": "claims_compressed",
    "gptq": "claims_gptq",
    "awq": "claims_awq",
    "bitsandbytes": "claims_bitsandbytes",
    "fp8": "claims_fp8",
}
_OTHERS = "get the model in compressed-tensors' form (W8A8, W4A16, FP8), as GPTQ or AWQ, or unquantized"
# What helps with a method that does not run, where more is known than the rest needs.
_REFUSED: Mapping[str, str] = {
    "fbgemm_fp8": "its inputs are clamped to activation_scale_ub, which no other FP8 form does; get the model in "
    "compressed-tensors' FP8_DYNAMIC form or unquantized",
    "modelopt": "get the model in compressed-tensors' FP8 form or unquantized",
    "quark": "get the model in compressed-tensors' form or unquantized",
    "auto-round": "export the model with AutoRound's format auto_gptq or auto_awq, or get it unquantized",
    "intel/auto-round": "export the model with AutoRound's format auto_gptq or auto_awq, or get it unquantized",
    "mxfp4": "get the model in compressed-tensors' W4A16 form or unquantized",
}


def read_claims(config: Mapping[str, Any], where: str) -> Claims:
    """The claims of a quantization_config; `where` names it in messages.

    Raises ConfigError for a value that makes no sense, UnsupportedError for a method or setting that does not run.
    """
    fields = Fields(config, where)
    method = fields.get("quant_method")
    if not isinstance(method, str):
        raise fields.bad("quant_method", f"one of {', '.join(_READERS)}", method)
    if method in _READERS:
        claims: Claims = import_module(f"inferno.quantization.{_READERS[method]}").read(fields)
        return claims
    repair = _REFUSED.get(method, _OTHERS)
    raise UnsupportedError(f"{where}: quant_method must be one of {', '.join(_READERS)}; got {show(method)}; {repair}")


def quantization_settings(config: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
    """What a config.json says of quantization, under the key of today or compressed-tensors' first one; None: nothing.

    The first, compression_config, did not have to name its method. transformers once wrote what belongs there one
    level down. Raises ConfigError if it is no object, or if both keys are given.
    """
    settings, old = config.get("quantization_config"), config.get("compression_config")
    if settings is not None and old is not None and settings != old:
        raise ConfigError(
            f"{where}: compression_config must be absent where quantization_config is given; got both; remove the one "
            "that the weights were not written with"
        )
    key = "quantization_config" if settings is not None else "compression_config"
    found = settings if settings is not None else old
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise Fields(config, where).bad(key, "an object or null", found)
    inner = found.get("quantization_config")
    if isinstance(inner, Mapping):
        found = {**{name: value for name, value in found.items() if name != "quantization_config"}, **inner}
    if key == "compression_config" and found.get("quant_method") is None:
        return {**found, "quant_method": "compressed-tensors"}
    return found
