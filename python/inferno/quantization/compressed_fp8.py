"""Weights in float8 e4m3fn [out, in], w = q * scale: compressed-tensors' float-quantized, and quant_method fp8.

The scale stands for the tensor [1], a channel [out, 1], a group or a block [ceil(out / bh), ceil(in / bw)]. Models of
quant_method fp8 with blocks call it weight_scale_inv, yet multiply by it like the others. Inputs stay as they are, or
are rounded to the same type: with a scale for each token or each group of columns, or one that is stored.
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
from inferno.quantization.fp8_inputs import fp8_inputs
from inferno.quantization.inputs import bound_inputs, check_inputs, input_tensors
from inferno.quantization.scales import SCALE_TYPES, check_scales, check_symmetric
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

_SCALES = {"float-quantized": "weight_scale", "fp8-block": "weight_scale_inv"}
# Old writers store the zeros of symmetric quantization too.
_ZEROS = ("F8_E4M3", "I8")


@dataclass(frozen=True)
class CompressedFp8:
    """`blocks`: what shares a scale. `name` also tells what the scales are called."""

    blocks: Blocks
    activation: Activation | None
    name: str = "float-quantized"
    operation: str = "matmul_coded"
    weight_type: str = "E4M3"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        shape, *also = self.blocks.shapes(n, k)
        specs = {
            "weight": TensorSpec((n, k), dtypes=("F8_E4M3",)),
            _SCALES[self.name]: TensorSpec(shape, dtypes=SCALE_TYPES, also=tuple(also)),
            **input_tensors(self.activation),
        }
        if self.name == "fp8-block":
            return specs
        specs["weight_zero_point"] = TensorSpec(shape, True, _ZEROS, tuple(also))
        if self.activation is not None and not self.activation.dynamic:
            specs["input_zero_point"] = TensorSpec((1,), True, _ZEROS, ((), (1, 1)))
        return specs

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_scales(parts[_SCALES[self.name]])
        check_symmetric(parts)
        check_inputs(self.activation, parts)

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        weight = _core.CodedWeight(
            "e4m3", parts["weight"].array, n, k, parts[_SCALES[self.name]].array, block=self.blocks.of(n, k)
        )
        return weight, bound_inputs(self.activation, parts)


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> CompressedFp8:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run."""
    args = claim.weights
    assert args is not None
    if args.type != "float" or args.num_bits != 8 or not args.symmetric:
        symmetric = "" if args.symmetric else " with zero points"
        raise UnsupportedError(
            f"{where}: weights must be 8-bit float and symmetric where F8_E4M3 weights are stored; got "
            f"{args.num_bits}-bit {args.type}{symmetric}"
        )
    blocks = Blocks.claimed(claim)
    name = "fp8-block" if "weight_scale_inv" in parts else "float-quantized"
    return CompressedFp8(blocks, fp8_inputs(claim), name)
