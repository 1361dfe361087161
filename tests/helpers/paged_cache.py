"""A layer's paged KV cache as the kernels lay it out, built and read by NumPy alone."""

from __future__ import annotations

import numpy as np

BLOCK = 32
CODES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


def empty(blocks: int, kv_heads: int, head_dim: int, kind: str, fill: int = 0x7FFF) -> tuple[np.ndarray, np.ndarray]:
    """Keys (blocks, kv_heads, head_dim, BLOCK) and values (blocks, kv_heads, BLOCK, head_dim).

    Every 16 bits are `fill`: 0x7FFF is a NaN in each type, so that one slot read too many shows.
    """
    shapes = (blocks, kv_heads, head_dim, BLOCK), (blocks, kv_heads, BLOCK, head_dim)
    halves = 2 if kind == "f32" else 1
    keys, values = (
        np.full(int(np.prod(shape)) * halves, fill, np.uint16).view(CODES[kind]).reshape(shape) for shape in shapes
    )
    return keys, values


def put(
    cache: tuple[np.ndarray, np.ndarray], table: list[int], first_position: int, k: np.ndarray, v: np.ndarray
) -> None:
    """Stores the codes k and v, each (tokens, kv_heads, head_dim) in the cache's type, from first_position on."""
    keys, values = cache
    for position, key, value in zip(range(first_position, first_position + len(k)), k, v, strict=True):
        block, slot = table[position // BLOCK], position % BLOCK
        keys[block, :, :, slot] = key
        values[block, :, slot, :] = value
