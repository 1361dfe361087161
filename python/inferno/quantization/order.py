"""The order of groups (g_idx): which group of scales each column of a weight belongs to."""

from __future__ import annotations

import numpy as np

from inferno.checkpoint.tensor import Tensor
from inferno.quantization.scales import refuse_value


def check_order(order: Tensor, groups: int) -> None:
    """Raises CheckpointError unless every column's group is one of `groups`."""
    array = order.array.reshape(-1)
    wrong = (array < 0) | (array >= groups)
    if wrong.any():
        first = int(np.argmax(wrong))
        refuse_value(order, f"hold groups in [0, {groups})", f"{int(array[first])} at {first}", int(wrong.sum()))


def in_order(order: Tensor, group_size: int) -> bool:
    """Whether columns lie group after group, as they do without an order."""
    array = order.array.reshape(-1)
    return bool((array == np.arange(array.size) // group_size).all())
