"""bitsandbytes' NF4 and FP4: two codes to a byte, w = quant_map[code] * absmax of its block.

`weight` U8 [out * in / 2, 1] is the matrix row after row, the first of two codes in the high half. A block is
`blocksize` elements in that order; here it must lie within a row. `weight.absmax` is F32 for each block, or U8 where it
is quantized itself ("double quantization"): nested_quant_map[code] * nested_absmax of 256 blocks, plus an offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import show_name
from inferno.quantization.activation import Activation
from inferno.quantization.quant_state import MAX_STATE_BYTES, QuantState, check_levels, read_state
from inferno.quantization.scales import check_absmax, check_finite
from inferno.quantization.scheme import Parts

if TYPE_CHECKING:
    from inferno import _core
    from inferno.quantization.claims import Claim

_TYPES = ("nf4", "fp4")
# What bitsandbytes can be asked for; first the one that it takes unasked.
_BLOCKSIZES = (64, 32, 128, 256, 512, 1024, 2048, 4096)
_NESTED_BLOCKSIZE = 256


@dataclass(frozen=True)
class BitsAndBytes4Bit:
    """`quant_type`: "nf4" or "fp4". `nested`: absmax is quantized. `state_bytes`: of the tensor of JSON."""

    quant_type: str
    blocksize: int
    nested: bool
    state_bytes: int
    activation: Activation | None = None
    name: str = "bitsandbytes-4bit"
    operation: str = "matmul_coded"
    weight_type: str = "LUT4"

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        blocks = n * k // self.blocksize
        specs = {
            "weight": TensorSpec((n * k // 2, 1), dtypes=("U8",), also=((1, n * k // 2),)),
            "weight.absmax": TensorSpec((blocks,), dtypes=("U8",) if self.nested else ("F32",)),
            "weight.quant_map": TensorSpec((16,), dtypes=("F32",)),
            self._state: TensorSpec((self.state_bytes,), dtypes=("U8",)),
        }
        if self.nested:
            specs["weight.nested_absmax"] = TensorSpec((-(-blocks // _NESTED_BLOCKSIZE),), dtypes=("F32",))
            specs["weight.nested_quant_map"] = TensorSpec((256,), dtypes=("F32",))
        return specs

    @property
    def _state(self) -> str:
        return f"weight.quant_state.bitsandbytes__{self.quant_type}"

    def check(self, parts: Parts, n: int, k: int) -> None:
        nested = _NESTED_BLOCKSIZE if self.nested else None
        read_state(parts[self._state]).check(QuantState(self.quant_type, self.blocksize, (n, k), nested))
        check_levels(parts["weight.quant_map"], self.quant_type)
        if self.nested:
            check_absmax(parts["weight.nested_absmax"])
            check_finite(parts["weight.nested_quant_map"])
        else:
            check_absmax(parts["weight.absmax"])

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        from inferno import _core

        block, levels = (1, self.blocksize), parts["weight.quant_map"].array
        codes, absmax = parts["weight"].array, parts["weight.absmax"].array
        if not self.nested:
            return _core.CodedWeight("lut4", codes, n, k, absmax, block=block, levels=levels), None
        weight = _core.CodedWeight(
            "lut4",
            codes,
            n,
            k,
            absmax,
            block=block,
            levels=levels,
            nested_levels=parts["weight.nested_quant_map"].array,
            nested_scales=parts["weight.nested_absmax"].array,
            nested_block=_NESTED_BLOCKSIZE,
            nested_offset=read_state(parts[self._state]).nested_offset,
        )
        return weight, None


def scheme(claim: Claim, parts: Mapping[str, AnyTensor], n: int, k: int, where: str) -> BitsAndBytes4Bit:
    """The scheme that a claim and a layer's tensors agree on. UnsupportedError if it cannot run.

    CheckpointError if the tensor that describes the others is missing or large, or absmax fits no size of blocks.
    """
    if claim.format not in _TYPES:
        raise UnsupportedError(f"{where}: load_in_4bit must be true where U8 weights with absmax are stored")
    weight = parts["weight"]
    stored = [name for name in _TYPES if f"weight.quant_state.bitsandbytes__{name}" in parts]
    if len(stored) != 1:
        raise CheckpointError(
            f"{weight.file}: {show_name(weight.name)} must have one of .quant_state.bitsandbytes__nf4 and "
            f".quant_state.bitsandbytes__fp4 beside it; got {'both' if stored else 'neither'}; save the model again "
            "with a recent bitsandbytes"
        )
    if claim.format != stored[0]:
        raise UnsupportedError(
            f"{where}: bnb_4bit_quant_type must agree with the tensors, which say {stored[0]}; got {claim.format}"
        )
    state = parts[f"weight.quant_state.bitsandbytes__{stored[0]}"]
    if state.nbytes > MAX_STATE_BYTES:
        raise CheckpointError(
            f"{state.file}: {show_name(state.name)} must be at most {MAX_STATE_BYTES} bytes; got {state.nbytes}"
        )
    absmax = parts["weight.absmax"]
    return BitsAndBytes4Bit(stored[0], _blocksize(absmax, n, k, where), absmax.dtype == "U8", state.nbytes)


def _blocksize(absmax: AnyTensor, n: int, k: int, where: str) -> int:
    """The size of the blocks of which there are so many. Their JSON says it too, and is held against this later."""
    count = absmax.shape[0] if len(absmax.shape) == 1 else 0
    fitting = [size for size in _BLOCKSIZES if -(-n * k // size) == count]
    within = [size for size in fitting if k % size == 0]
    if within:
        return within[0]
    if fitting:
        raise UnsupportedError(
            f"{where}: in_features must be a multiple of the block size, {fitting[0]}, so that no block lies in two "
            f"rows; got {k}"
        )
    raise CheckpointError(
        f"{absmax.file}: {show_name(absmax.name)} must have one element for each block of {n} x {k} codes, "
        f"{n * k // _BLOCKSIZES[0]} for blocks of {_BLOCKSIZES[0]}; got {list(absmax.shape)}"
    )
