"""Activations of compressed-tensors' layers: what the config claims of inputs, and the tensors of static ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferno.checkpoint.expected import TensorSpec
from inferno.errors import UnsupportedError
from inferno.quantization.activation import Activation
from inferno.quantization.scales import SCALE_TYPES, as_float32, check_scales, check_symmetric, refuse_value
from inferno.quantization.scheme import MAX_INT32, Parts

if TYPE_CHECKING:
    from inferno.quantization.claims import Claim


# The largest |code - zero| of an input.
_LARGEST_INPUT = 255
# The least float32 of full precision; the reciprocals of all above it are finite.
SMALLEST_SCALE = 2.0**-126


def _one(dtypes: tuple[str, ...], optional: bool = False) -> TensorSpec:
    """A single number, however it is wrapped."""
    return TensorSpec((1,), optional, dtypes, also=((), (1, 1)))


def int8_inputs(claim: Claim) -> Activation | None:
    """The rule for int8 inputs: dynamic for each token, or static for the tensor. None if inputs stay as they are.

    Raises UnsupportedError for what a row cannot decide for itself, or for other than 8 bits.
    """
    args = claim.inputs
    if args is None:
        return None
    if args.type != "int" or args.num_bits != 8:
        raise UnsupportedError(
            f"{claim.where}: input_activations must be 8-bit int beside int8 weights, or null; got {args.num_bits}-bit "
            f"{args.type}"
        )
    if args.dynamic is True and args.strategy == "token":
        return Activation("int8", symmetric=args.symmetric)
    if args.dynamic is False and args.strategy == "tensor":
        return Activation("int8", symmetric=args.symmetric, dynamic=False)
    how = "dynamic" if args.dynamic else "static"
    raise UnsupportedError(
        f"{claim.where}: input_activations must be dynamic per token or static per tensor; got {how} per "
        f"{args.strategy}"
    )


def refuse_overflow(columns: int, activation: Activation | None, largest_weight: int, where: str) -> None:
    """Raises UnsupportedError if a sum of products of codes could leave int32.

    columns: how many share a scale, so that their products are added before it. largest_weight: the largest |code -
    zero| of the weights. The kernel takes inputs for what they may be with a zero point, and so does this.
    """
    most = (MAX_INT32 - 1) // (_LARGEST_INPUT * largest_weight)
    if activation is not None and columns > most:
        raise UnsupportedError(
            f"{where}: at most {most} columns may share a scale, so that sums of int8 products fit 32 bits; got "
            f"{columns}"
        )


def input_tensors(activation: Activation | None) -> dict[str, TensorSpec]:
    """The tensors of a static rule."""
    if activation is None or activation.dynamic:
        return {}
    specs = {"input_scale": _one(SCALE_TYPES)}
    if activation.kind == "int8":
        specs["input_zero_point"] = _one(("I8",), activation.symmetric)
    return specs


def check_inputs(activation: Activation | None, parts: Parts) -> None:
    """Checks the values of the tensors of a static rule. Raises CheckpointError."""
    if activation is None or activation.dynamic:
        return
    check_scales(parts["input_scale"])
    if float(as_float32(parts["input_scale"]).reshape(-1)[0]) < SMALLEST_SCALE:
        got = f"{float(as_float32(parts['input_scale']).reshape(-1)[0]):g}"
        refuse_value(parts["input_scale"], f"be at least {SMALLEST_SCALE:g}, for its reciprocal to be finite", got)
    if activation.symmetric:
        check_symmetric(parts, "input")


def bound_inputs(activation: Activation | None, parts: Parts) -> Activation | None:
    """The rule with the static scale and zero point that are stored."""
    if activation is None or activation.dynamic:
        return activation
    scale = float(as_float32(parts["input_scale"]).reshape(-1)[0])
    zero = 0
    if not activation.symmetric:
        zero = int(parts["input_zero_point"].array.reshape(-1)[0])
    return Activation(activation.kind, symmetric=activation.symmetric, dynamic=False, scale=scale, zero=zero)
