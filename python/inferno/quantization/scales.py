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
    wrong = ~(np.isfinite(scales) & (scales > 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        refuse_value(tensor, "hold positive, finite scales", f"{scales[first]:g} at {first}", int(wrong.sum()))


def check_symmetric(parts: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError if weights that the config calls symmetric have zero points other than 0."""
    zeros = parts.get("weight_zero_point")
    if zeros is not None and zeros.array.any():
        wrong = zeros.array.reshape(-1) != 0
        first = int(np.argmax(wrong))
        got = f"{int(zeros.array.reshape(-1)[first])} at {first}"
        refuse_value(zeros, "be zero where the config says that weights are symmetric", got, int(wrong.sum()))


def refuse_value(tensor: Tensor, must: str, got: str, count: int = 1) -> None:
    """Raises CheckpointError for a value of a side tensor; `count` of them are wrong."""
    more = f" and {count - 1} more" if count > 1 else ""
    raise CheckpointError(
        f"{tensor.file}: {show_name(tensor.name)} must {must}; got {got}{more}; the file is damaged or was written "
        "wrongly: fetch or quantize the model again"
    )
