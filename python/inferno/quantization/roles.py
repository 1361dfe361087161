"""Which arguments weights may have, and which inputs: the ones that have a kernel."""

from __future__ import annotations

from inferno.errors import ConfigError, UnsupportedError
from inferno.quantization.args import QuantArgs

_FLOAT_BITS = 8
_INPUT_BITS = 8


def check_weights(args: QuantArgs, where: str) -> None:
    """Raises UnsupportedError for weights that no kernel takes; `where` names their arguments."""
    if args.dynamic:
        raise UnsupportedError(f"{where}: dynamic must be false, for scales of weights are stored; got true")
    if args.strategy not in ("tensor", "channel", "group", "block"):
        raise UnsupportedError(
            f"{where}: strategy must be tensor, channel, group or block for weights; got {args.strategy}"
        )
    if args.type == "float":
        _check_float(args, where)
    elif args.num_bits > 8:
        raise UnsupportedError(f"{where}: num_bits must be at most 8 for the type int; got {args.num_bits}")


def check_inputs(args: QuantArgs, where: str) -> None:
    """Raises UnsupportedError for inputs that no kernel rounds so; `where` names their arguments."""
    if args.actorder is not None:
        raise ConfigError(f'{where}: actorder must be null for inputs; got "{args.actorder}"')
    if args.type == "float":
        _check_float(args, where)
    elif args.num_bits != _INPUT_BITS:
        raise UnsupportedError(f"{where}: num_bits must be {_INPUT_BITS} for inputs; got {args.num_bits}")
    if args.dynamic and args.strategy == "tensor":
        raise UnsupportedError(
            f"{where}: strategy must be token where dynamic is true, for one scale of a whole batch would let a row "
            "depend on the others; got tensor; quantize the model with the strategy token (FP8_DYNAMIC, W8A8)"
        )
    if args.strategy == "token" and not args.dynamic:
        raise ConfigError(f"{where}: dynamic must be true for the strategy token; got false")
    grouped = args.type == "float" and args.dynamic and args.strategy == "group"
    if not grouped and args.strategy not in ("tensor", "token"):
        raise UnsupportedError(
            f"{where}: strategy must be tensor (static), token (dynamic) or, for the type float, group (dynamic) for "
            f"inputs; got {args.strategy} ({'dynamic' if args.dynamic else 'static'})"
        )


def _check_float(args: QuantArgs, where: str) -> None:
    if args.num_bits != _FLOAT_BITS:
        raise UnsupportedError(
            f"{where}: num_bits must be {_FLOAT_BITS} for the type float; got {args.num_bits}: Inferno does not "
            "implement NVFP4, MXFP4 and their kin"
        )
    if not args.symmetric:
        raise UnsupportedError(f"{where}: symmetric must be true for the type float; got false")
