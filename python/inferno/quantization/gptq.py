"""GPTQ: weights of 4 or 8 bits in int32 words, packed along the input features, which share scales in groups.

`qweight` I32 [in * bits / 32, out], `qzeros` I32 [groups, out * bits / 32], `scales` [groups, out]:
w[j, p] = (q - zero) * scale of group g_idx[p], or p // group_size without g_idx. The first format (checkpoint_format
gptq) stores zero - 1, to which AutoGPTQ adds 1 without keeping to the bits, so that a stored 15 means 16; gptq_v2
stores the zero itself. Symmetric models store zeros like others, and they count as stored. Scales may be negative:
AutoRound, which writes this format too, gives them the sign of the largest weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import show
from inferno.quantization.activation import Activation
from inferno.quantization.blocks import Blocks
from inferno.quantization.order import check_order, in_order
from inferno.quantization.scales import SCALE_TYPES, check_signed_scales, check_zero_bias, refuse_value
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

_BITS = (4, 8)
# checkpoint_format -> what is added to a stored zero point.
_FORMATS = {"gptq": 1, "gptq_v2": 0}


@dataclass(frozen=True)
class Gptq:
    """`bits`: of a code. `blocks`: groups, or channels. `added`: to stored zero points. `desc_act`: g_idx is needed."""

    bits: int
    blocks: Blocks
    added: int
    desc_act: bool
    activation: Activation | None = None
    name: str = "gptq"
    operation: str = "matmul_coded"

    @property
    def weight_type(self) -> str:
        return f"GPTQ{self.bits}"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        words, groups = 32 // self.bits, self.blocks.counts(n, k)[1]
        return {
            "qweight": TensorSpec((k // words, n), dtypes=("I32",)),
            "qzeros": TensorSpec((groups, n // words), dtypes=("I32",)),
            "scales": TensorSpec((groups, n), dtypes=SCALE_TYPES),
            "g_idx": TensorSpec((k,), dtypes=("I32",), optional=not self.desc_act),
            # AutoGPTQ wrote one for each layer, of zeros where the model has none.
            "bias": TensorSpec((n,), dtypes=SCALE_TYPES, optional=True),
        }

    def check(self, parts: Parts, n: int, k: int) -> None:
        check_signed_scales(parts["scales"])
        if "bias" in parts:
            check_zero_bias(parts["bias"])
        order = parts.get("g_idx")
        if order is None:
            return
        check_order(order, self.blocks.counts(n, k)[1])
        if not self.desc_act and not in_order(order, self.blocks.of(n, k)[1]):
            refuse_value(order, "name one group after the other where desc_act is false", "another order")

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        weight = _core.CodedWeight(
            f"gptq{self.bits}",
            parts["qweight"].array,
            n,
            k,
            parts["scales"].array,
            block=self.blocks.of(n, k),
            zeros=parts["qzeros"].array,
            zero=self.added,
            block_of=parts["g_idx"].array if "g_idx" in parts else None,
        )
        return weight, None


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> Gptq:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run.

    CheckpointError if the order of the columns is missing.
    """
    args = claim.weights
    assert args is not None
    if args.type != "int" or args.num_bits not in _BITS:
        raise UnsupportedError(f"{where}: bits must be 4 or 8 where quant_method is gptq; got {args.num_bits}")
    form = claim.format or "gptq"
    if form not in _FORMATS:
        raise UnsupportedError(f"{where}: checkpoint_format must be gptq or gptq_v2; got {show(form)}")
    blocks = Blocks.claimed(claim)
    if blocks.strategy not in ("group", "channel"):
        raise UnsupportedError(f"{where}: scales must stand for groups or channels; got {blocks}")
    words = 32 // args.num_bits
    for what, size in (("in_features", k), ("out_features", n)):
        if size % words:
            raise UnsupportedError(
                f"{where}: {what} must be a multiple of {words}, which an int32 holds of {args.num_bits} bits; got "
                f"{size}"
            )
    desc_act = args.actorder == "group" and blocks.strategy == "group"
    if desc_act and "g_idx" not in parts:
        raise CheckpointError(
            f"{where}: g_idx must be there where desc_act is true; it is missing, and the groups of the columns with "
            "it; fetch or quantize the model again"
        )
    return Gptq(args.num_bits, blocks, _FORMATS[form], desc_act)
