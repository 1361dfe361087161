"""compressed-tensors' pack-quantized: weights of 8 or 4 bits in int32 words (W8A16, W4A16).

A row's codes lie in `weight_packed` I32 [out, ceil(in * bits / 32)], from the lowest bits up, as unsigned numbers:
w = (u - 2^(bits - 1) - zero_point) * scale. Zero points of groups and channels are packed likewise along the rows,
I32 [ceil(out * bits / 32), groups], so that w = (u - u_zero) * scale; one of the tensor is I8. `weight_g_idx` I32 [in]
(old models with actorder group) names the group of each column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import CheckpointError, UnsupportedError
from inferno.quantization.activation import Activation
from inferno.quantization.blocks import Blocks
from inferno.quantization.fp8_inputs import fp8_inputs
from inferno.quantization.inputs import bound_inputs, check_inputs, input_tensors
from inferno.quantization.order import check_order, in_order
from inferno.quantization.scales import SCALE_TYPES, check_scales, check_symmetric, refuse_value
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

_KINDS = {8: "u8", 4: "u4"}


def _words(count: int, bits: int) -> int:
    """int32 words for `count` codes: whole ones to a word, which for 4 and 8 bits is also the dense packing."""
    return -(-count * bits // 32)


@dataclass(frozen=True)
class CompressedPacked:
    """`bits`: of a code. `blocks`: what shares a scale. `zero_points`: weights have them. `shuffled`: by g_idx."""

    bits: int
    blocks: Blocks
    zero_points: bool
    shuffled: bool
    activation: Activation | None
    name: str = "pack-quantized"
    operation: str = "matmul_coded"

    @property
    def weight_type(self) -> str:
        return f"U{self.bits}"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        shape, *also = self.blocks.shapes(n, k)
        zeros = TensorSpec(shape, dtypes=("I8",), also=tuple(also), optional=not self.zero_points)
        if self._packed_zeros:
            zeros = TensorSpec((_words(n, self.bits), self.blocks.counts(n, k)[1]), dtypes=("I32",))
        return {
            "weight_packed": TensorSpec((n, _words(k, self.bits)), dtypes=("I32",)),
            "weight_scale": TensorSpec(shape, dtypes=SCALE_TYPES, also=tuple(also)),
            "weight_shape": TensorSpec((2,), dtypes=("I64", "I32")),
            "weight_zero_point": zeros,
            "weight_g_idx": TensorSpec((k,), dtypes=("I32",), optional=not self.shuffled),
            **input_tensors(self.activation),
        }

    @property
    def _packed_zeros(self) -> bool:
        return self.zero_points and self.blocks.strategy != "tensor"

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_scales(parts["weight_scale"])
        shape = [int(size) for size in parts["weight_shape"].array]
        if shape != [n, k]:
            refuse_value(parts["weight_shape"], f"be {[n, k]}, the weight's shape by config.json", str(shape))
        if not self.zero_points:
            check_symmetric(parts)
        elif not self._packed_zeros:
            self._check_zero(parts)
        order = parts.get("weight_g_idx")
        if order is not None and not (order.array == -1).all():
            check_order(order, self.blocks.counts(n, k)[1])
            if not self.shuffled and not in_order(order, self.blocks.of(n, k)[1]):
                refuse_value(order, "be in order where the config has no actorder of groups", "another")
        check_inputs(self.activation, parts)

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        order = parts.get("weight_g_idx")
        # compressed-tensors writes -1 for columns that have not been shuffled after all.
        shuffled = order is not None and self.shuffled and not (order.array == -1).all()
        zeros, zero = None, 1 << (self.bits - 1)
        if self._packed_zeros:
            zeros, zero = parts["weight_zero_point"].array, 0
        elif self.zero_points:
            zero += int(parts["weight_zero_point"].array.reshape(-1)[0])
        weight = _core.CodedWeight(
            _KINDS[self.bits],
            parts["weight_packed"].array,
            n,
            k,
            parts["weight_scale"].array,
            block=self.blocks.of(n, k),
            zeros=zeros,
            zero=zero,
            block_of=order.array if order is not None and shuffled else None,
        )
        return weight, bound_inputs(self.activation, parts)

    def _check_zero(self, parts: Parts) -> None:
        zero, half = int(parts["weight_zero_point"].array.reshape(-1)[0]), 1 << (self.bits - 1)
        if not -half <= zero < half:
            refuse_value(parts["weight_zero_point"], f"be in [{-half}, {half - 1}] for {self.bits} bits", str(zero))


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> CompressedPacked:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run.

    CheckpointError if the packed width is not that of so many bits, or the order of the columns is missing.
    """
    args = claim.weights
    assert args is not None
    if args.type != "int" or args.num_bits not in _KINDS:
        raise UnsupportedError(
            f"{where}: weights must be 4-bit or 8-bit int where they are packed; got {args.num_bits}-bit {args.type}"
        )
    if claim.inputs is not None and claim.inputs.type == "int":
        raise UnsupportedError(
            f"{where}: input_activations must be null or 8-bit float beside packed weights; got "
            f"{claim.inputs.num_bits}-bit int, for which compressed-tensors stores weights as I8 (int-quantized)"
        )
    blocks = Blocks.claimed(claim)
    packed = parts["weight_packed"]
    if blocks.strategy == "block" and not args.symmetric:
        raise UnsupportedError(f"{where}: packed zero points must stand for groups or channels; got blocks")
    if packed.shape != (n, _words(k, args.num_bits)):
        fits = [bits for bits in range(1, 9) if packed.shape in ((n, _words(k, bits)), (n, -(-k // (32 // bits))))]
        held = f"as for {' or '.join(map(str, fits))} bits" if fits else "which fits no packing"
        raise CheckpointError(
            f"{where}: num_bits must be that of the tensors: {n} x {k} codes of {args.num_bits} bits take a "
            f"weight_packed of {[n, _words(k, args.num_bits)]}; got {list(packed.shape)}, {held}; correct the "
            "config, or quantize the model again"
        )
    shuffled = args.actorder == "group"
    if shuffled and "weight_g_idx" not in parts:
        raise CheckpointError(
            f"{where}: weight_g_idx must be there where actorder is group; it is missing, and the groups of the "
            "columns with it; quantize the model again with actorder static"
        )
    return CompressedPacked(args.num_bits, blocks, not args.symmetric, shuffled, fp8_inputs(claim))
