"""Scales and zero points of a layer, read for a check: few, and none of them is a weight."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError
from inferno.files import show_name

# What scales are stored in.
SCALE_TYPES = ("F32", "F16", "BF16")


def as_float32(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The values of an F32, F16 or BF16 tensor, widened exactly; a copy."""
    array = tensor.array
    if tensor.dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def check_scales(tensor: Tensor) -> None:
    """Raises CheckpointError unless every scale is a positive, finite number."""
    scales = as_float32(tensor).reshape(-1)
    _refuse_where(~(np.isfinite(scales) & (scales > 0)), scales, tensor, "hold positive, finite scales")


def check_signed_scales(tensor: Tensor) -> None:
    """Raises CheckpointError unless every scale is finite and not 0; it may be negative."""
    scales = as_float32(tensor).reshape(-1)
    _refuse_where(~(np.isfinite(scales) & (scales != 0)), scales, tensor, "hold finite scales other than 0")


def check_absmax(tensor: Tensor) -> None:
    """Raises CheckpointError unless every value is finite and at least 0, which is that of a block of zeros."""
    values = as_float32(tensor).reshape(-1)
    _refuse_where(~(np.isfinite(values) & (values >= 0)), values, tensor, "hold finite numbers of at least 0")


def check_finite(tensor: Tensor) -> None:
    """Raises CheckpointError for a NaN or an infinity."""
    values = as_float32(tensor).reshape(-1)
    _refuse_where(~np.isfinite(values), values, tensor, "hold finite numbers")


def _refuse_where(wrong: npt.NDArray[np.bool_], values: npt.NDArray[np.float32], tensor: Tensor, must: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        refuse_value(tensor, must, f"{values[first]:g} at {first}", int(wrong.sum()))


def check_symmetric(parts: Mapping[str, Tensor], of: str = "weight") -> None:
    """Raises CheckpointError if weights (or "input"s) that are called symmetric have zero points other than 0."""
    zeros = parts.get(f"{of}_zero_point")
    if zeros is None:
        return
    # F8_E4M3 is seen as bytes: 0x80 is -0
    wrong = (zeros.array.reshape(-1) & (0x7F if zeros.dtype == "F8_E4M3" else -1)) != 0
    if wrong.any():
        first = int(np.argmax(wrong))
        value = int(zeros.array.reshape(-1)[first])
        got = f"the code 0x{value:02x}" if zeros.dtype == "F8_E4M3" else str(value)
        must = f"be zero where the config says that {of}s are symmetric"
        refuse_value(zeros, must, f"{got} at {first}", int(wrong.sum()))


def check_zero_bias(bias: Tensor) -> None:
    """Raises CheckpointError for a bias that the model has not, unless it adds nothing."""
    wrong = as_float32(bias) != 0
    if wrong.any():
        first = int(np.argmax(wrong))
        must = "be zero where config.json gives the layer no bias"
        refuse_value(bias, must, f"{as_float32(bias)[first]:g} at {first}", int(wrong.sum()))


def refuse_value(tensor: Tensor, must: str, got: str, count: int = 1) -> None:
    """Raises CheckpointError for a value of a side tensor; `count` of them are wrong."""
    more = f" and {count - 1} more" if count > 1 else ""
    raise CheckpointError(
        f"{tensor.file}: {show_name(tensor.name)} must {must}; got {got}{more}; the file is damaged or was written "
        "wrongly: fetch or quantize the model again"
    )
