"""Unsigned 8-bit weights: U8 [out, in] with a zero point in the codes' own domain, w = (q - zero_point) * scale.

compressed-tensors has no format of that name: its int-quantized layers are I8. The config declares them as int, 8 bits,
not symmetric. The scale stands for a channel [out, 1] or [out], or for the tensor [1] or []; the zero point, U8 or I8,
has its shape, or is one for the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import UnsupportedError
from inferno.quantization.activation import Activation
from inferno.quantization.blocks import Blocks
from inferno.quantization.inputs import bound_inputs, check_inputs, input_tensors, int8_inputs, refuse_overflow
from inferno.quantization.scales import SCALE_TYPES, check_scales
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

# |q - zero_point|: 0 to 255 against a zero point of the same range, or of int8.
_LARGEST = {"U8": 255, "I8": 255 + 128}
_ONE = ((1,), (), (1, 1))


@dataclass(frozen=True)
class UnsignedInt8:
    """`blocks`: what shares a scale."""

    blocks: Blocks
    activation: Activation | None
    name: str = "uint8"
    weight_type: str = "U8"

    @property
    def operation(self) -> str:
        return "matmul_coded" if self.activation is None else "matmul_int8"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        shape, *also = self.blocks.shapes(n, k)
        return {
            "weight": TensorSpec((n, k), dtypes=("U8",)),
            "weight_scale": TensorSpec(shape, dtypes=SCALE_TYPES, also=tuple(also)),
            "weight_zero_point": TensorSpec(
                shape, dtypes=("U8", "I8"), also=(*also, *(one for one in _ONE if one not in (shape, *also)))
            ),
            **input_tensors(self.activation),
        }

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_scales(parts["weight_scale"])
        check_inputs(self.activation, parts)

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        zeros = parts["weight_zero_point"].array
        constant = int(zeros.reshape(-1)[0]) if zeros.size == 1 else 0
        weight = _core.CodedWeight(
            "u8",
            parts["weight"].array,
            n,
            k,
            parts["weight_scale"].array,
            block=self.blocks.of(n, k),
            zeros=None if zeros.size == 1 else zeros,
            zero=constant,
        )
        return weight, bound_inputs(self.activation, parts)


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> UnsignedInt8:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run."""
    args = claim.weights
    assert args is not None
    if args.type != "int" or args.num_bits != 8 or args.symmetric:
        symmetric = "symmetric " if args.symmetric else ""
        raise UnsupportedError(
            f"{where}: weights must be 8-bit int and not symmetric where U8 weights are stored; got {symmetric}"
            f"{args.num_bits}-bit {args.type}"
        )
    activation = int8_inputs(claim)
    refuse_overflow(k, activation, _LARGEST[parts["weight_zero_point"].dtype], where)
    return UnsignedInt8(Blocks.claimed(claim), activation)
