"""Inputs rounded to float8 e4m3fn: what compressed-tensors' configs claim of them, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferno.errors import UnsupportedError
from inferno.quantization.activation import Activation

if TYPE_CHECKING:
    from inferno.quantization.claims import Claim


def fp8_inputs(claim: Claim) -> Activation | None:
    """The rule for 8-bit float inputs: dynamic for each token or each group of columns, or static for the tensor.

    None if inputs stay as they are. Raises UnsupportedError for what a row cannot decide for itself, or for inputs of
    another type.
    """
    args = claim.inputs
    if args is None:
        return None
    if args.type != "float" or args.num_bits != 8:
        raise UnsupportedError(
            f"{claim.where}: input_activations must be 8-bit float, or null; got {args.num_bits}-bit {args.type}"
        )
    if not args.symmetric:
        raise UnsupportedError(f"{claim.where}: input_activations must be symmetric where they are float")
    if args.dynamic is True and args.strategy == "token":
        return Activation("e4m3")
    if args.dynamic is True and args.strategy == "group" and args.group_size is not None and args.group_size > 0:
        return Activation("e4m3", group=args.group_size)
    if args.dynamic is False and args.strategy == "tensor":
        return Activation("e4m3", dynamic=False)
    how = "dynamic" if args.dynamic else "static"
    raise UnsupportedError(
        f"{claim.where}: input_activations must be dynamic per token or per group, or static per tensor; got {how} per "
        f"{args.strategy}"
    )
