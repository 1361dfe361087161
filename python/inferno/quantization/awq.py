"""AutoAWQ's gemm version: weights of 4 bits in int32 words, packed along the output features in an order of their own.

`qweight` I32 [in, out / 8], `qzeros` I32 [in / group_size, out / 8], `scales` [in / group_size, out]:
w = (q - zero) * scale. The nibbles of a word, from the lowest bits up, are columns 0 2 4 6 1 3 5 7 of its eight. Zero
points are stored, and count as stored, also where the config says zero_point false. Scales may be negative: AutoRound,
which writes this format too, gives them the sign of the largest weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import UnsupportedError
from inferno.files import show
from inferno.quantization.activation import Activation
from inferno.quantization.blocks import Blocks
from inferno.quantization.scales import SCALE_TYPES, check_signed_scales
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

_PER_WORD = 8


@dataclass(frozen=True)
class Awq:
    """`blocks`: groups, or channels."""

    blocks: Blocks
    activation: Activation | None = None
    name: str = "awq"
    operation: str = "matmul_coded"
    weight_type: str = "AWQ4"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        groups = self.blocks.counts(n, k)[1]
        return {
            "qweight": TensorSpec((k, n // _PER_WORD), dtypes=("I32",)),
            "qzeros": TensorSpec((groups, n // _PER_WORD), dtypes=("I32",)),
            "scales": TensorSpec((groups, n), dtypes=SCALE_TYPES),
        }

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_signed_scales(parts["scales"])

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        weight = _core.CodedWeight(
            "awq4",
            parts["qweight"].array,
            n,
            k,
            parts["scales"].array,
            block=self.blocks.of(n, k),
            zeros=parts["qzeros"].array,
        )
        return weight, None


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> Awq:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run."""
    args = claim.weights
    assert args is not None
    if (claim.format or "gemm").lower() != "gemm":
        raise UnsupportedError(f"{where}: version must be gemm where quant_method is awq; got {show(claim.format)}")
    if args.type != "int" or args.num_bits != 4:
        raise UnsupportedError(f"{where}: bits must be 4 where quant_method is awq; got {args.num_bits}")
    blocks = Blocks.claimed(claim)
    if blocks.strategy not in ("group", "channel"):
        raise UnsupportedError(f"{where}: scales must stand for groups or channels; got {blocks}")
    if n % _PER_WORD:
        raise UnsupportedError(
            f"{where}: out_features must be a multiple of {_PER_WORD}, which an int32 holds of 4 bits; got {n}"
        )
    return Awq(blocks)
