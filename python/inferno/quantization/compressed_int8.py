"""compressed-tensors' int-quantized: I8 weights [out, in], most often with int8 activations (W8A8).

w = (q - zero_point) * scale. The scale stands for a channel [out, 1], the tensor [1], a group [out, in / g] or a block
[ceil(out / bh), ceil(in / bw)]; zero points, where there are any, have its shape. Codes of fewer bits lie in I8 too.
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
from inferno.quantization.scales import SCALE_TYPES, check_scales, check_symmetric
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim


@dataclass(frozen=True)
class CompressedInt8:
    """`blocks`: what shares a scale. `zero_points`: weights have them."""

    blocks: Blocks
    zero_points: bool
    activation: Activation | None
    name: str = "int-quantized"
    weight_type: str = "I8"

    @property
    def operation(self) -> str:
        return "matmul_coded" if self.activation is None else "matmul_int8"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        shape, *also = self.blocks.shapes(n, k)
        specs = {
            "weight": TensorSpec((n, k), dtypes=("I8",)),
            "weight_scale": TensorSpec(shape, dtypes=SCALE_TYPES, also=tuple(also)),
            **input_tensors(self.activation),
        }
        # Old writers store the zeros of symmetric weights too.
        zeros = TensorSpec(shape, dtypes=("I8",), also=tuple(also), optional=not self.zero_points)
        return {**specs, "weight_zero_point": zeros}

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_scales(parts["weight_scale"])
        if not self.zero_points:
            check_symmetric(parts)
        check_inputs(self.activation, parts)

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        zeros = parts["weight_zero_point"].array if self.zero_points else None
        weight = _core.CodedWeight(
            "i8", parts["weight"].array, n, k, parts["weight_scale"].array, block=self.blocks.of(n, k), zeros=zeros
        )
        return weight, bound_inputs(self.activation, parts)


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> CompressedInt8:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run."""
    args = claim.weights
    assert args is not None
    if args.type != "int":
        raise UnsupportedError(
            f"{where}: weights must be int where I8 weights are stored; got {args.num_bits}-bit {args.type}"
        )
    zero_points = not args.symmetric
    activation = int8_inputs(claim)
    blocks = Blocks.claimed(claim)
    refuse_overflow(blocks.of(n, k)[1], activation, 255 if zero_points else 128, where)
    return CompressedInt8(blocks, zero_points, activation)
