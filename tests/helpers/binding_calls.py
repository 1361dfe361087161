"""Arguments that functions of the extension take, made anew for each call: for tests that change one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def f32(*shape: int) -> np.ndarray:
    """Numbers of which neighbours differ, at most 1."""
    return np.cos(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "embedding": lambda: {"out": f32(2, 3), "ids": ids(0, 4), "table": f32(5, 3)},
    "rmsnorm": lambda: {"out": f32(2, 3), "x": f32(2, 3), "weight": f32(3), "eps": 1e-5},
    "silu_mul": lambda: {"out": f32(3), "gate": f32(3), "up": f32(3)},
    "rope_angles": lambda: {"out": f32(2, 6), "positions": ids(0, 1), "inv_freq": f32(3), "factor": 1.0},
    "rope": lambda: {"out": f32(2, 3, 4), "x": f32(2, 3, 4), "angles": f32(2, 4)},
    "kv_write": lambda: {
        "keys": f32(2, 3, 4, 32),
        "values": f32(2, 3, 32, 4),
        "block_table": ids(1, 0),
        "first_position": 31,
        "k": f32(2, 3, 4),
        "v": f32(2, 3, 4),
    },
    "attention": lambda: {
        "out": f32(2, 6, 4),
        "q": f32(2, 6, 4),
        "keys": f32(2, 3, 4, 32),
        "values": f32(2, 3, 32, 4),
        "block_table": ids(1, 0),
        "first_position": 31,
        "scale": 1.0,
    },
}
