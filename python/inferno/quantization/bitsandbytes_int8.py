"""bitsandbytes' LLM.int8: I8 weights [out, in], w = q * SCB / 127, and int8 inputs with outliers left out.

An input row is rounded by its absmax / 127 without its outliers, the columns where |x| reaches llm_int8_threshold; they
meet the widened weights in floating point. bitsandbytes looks for them in all rows of a batch at once; here each row
has its own, so that no row depends on its company: on one row at a time the two agree. SCB is the absmax of a row of
weights, 0 for a row of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import AnyTensor
from inferno.config.fields import Fields
from inferno.errors import ConfigError, UnsupportedError
from inferno.files import show_name
from inferno.quantization.activation import Activation
from inferno.quantization.inputs import SMALLEST_SCALE, refuse_overflow
from inferno.quantization.scales import check_absmax
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

_THRESHOLD = 6.0
# Beyond it nothing is an outlier: the largest number of half precision, in which bitsandbytes compares.
_LARGEST_THRESHOLD = 65504.0
# weight_format: the order that the codes were left in, by the GPU that they were saved from.
_ROWS = 0
_FORMATS = {1: "col32", 2: "col_turing", 3: "col_ampere"}


@dataclass(frozen=True)
class BitsAndBytesInt8:
    """`activation`: int8 with a threshold for outliers."""

    activation: Activation
    name: str = "bitsandbytes-int8"
    operation: str = "matmul_int8"
    weight_type: str = "I8"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        return {
            "weight": TensorSpec((n, k), dtypes=("I8",)),
            "SCB": TensorSpec((n,), dtypes=("F32",)),
            # Old versions knew no other order than by rows, and did not say it.
            "weight_format": TensorSpec((), dtypes=("U8",), also=((1,),), optional=True),
        }

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_absmax(parts["SCB"])
        tag = parts.get("weight_format")
        if tag is not None:
            value = int(tag.array.reshape(-1)[0])
            if value != _ROWS:
                raise UnsupportedError(
                    f"{tag.file}: {show_name(tag.name)} must be 0 (rows); got {value} "
                    f"({_FORMATS.get(value, 'no known format')}); save the model again with a recent bitsandbytes"
                )

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        weight = _core.CodedWeight(
            "i8", parts["weight"].array, n, k, parts["SCB"].array, block=(1, k), factor=1.0 / 127.0
        )
        return weight, self.activation


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> BitsAndBytesInt8:
    """The scheme that a claim and a layer's tensors agree on. ConfigError for a threshold that makes no sense."""
    if claim.format != "int8":
        raise UnsupportedError(f"{where}: load_in_8bit must be true where I8 weights with SCB are stored")
    threshold = Fields(claim.settings, where).number("llm_int8_threshold", _THRESHOLD, zero=True)
    if threshold and not SMALLEST_SCALE <= threshold <= _LARGEST_THRESHOLD:
        raise ConfigError(
            f"{where}: llm_int8_threshold must be 0, or from {SMALLEST_SCALE:g} to {_LARGEST_THRESHOLD:g}; got "
            f"{threshold:g}"
        )
    activation = Activation("int8", threshold=threshold, one_rule=True)
    refuse_overflow(k, activation, 128, where)
    return BitsAndBytesInt8(activation)
