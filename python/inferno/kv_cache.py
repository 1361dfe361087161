"""Keys and values of all layers, in pages.

A block holds KV_BLOCK consecutive positions of one sequence in every layer. Memory is reserved for the whole context at
once but touched only where a block is used. Layout of a layer: csrc/kernels/attention.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferno._core import KV_BLOCK
from inferno.errors import ContextLengthError, UsageError

# BF16 is seen as uint16, which NumPy has.
KV_CACHE_TYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(np.uint16),
}


def check_kv_cache_type(name: str) -> np.dtype[Any]:
    """The NumPy type of a cache type's name. Raises UsageError for an unknown one."""
    if name not in KV_CACHE_TYPES:
        raise UsageError(f"kv_cache_type: must be one of {', '.join(KV_CACHE_TYPES)}; got {name!r}")
    return KV_CACHE_TYPES[name]


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, kv_cache_type: str) -> int:
    """Bytes of keys and values that one position takes in all layers."""
    return 2 * layers * kv_heads * head_dim * check_kv_cache_type(kv_cache_type).itemsize


class KvCache:
    """The pages of a model and which of them are free.

    `layers[i]` is (keys, values) of layer i: (blocks, kv_heads, head_dim, KV_BLOCK) and (blocks, kv_heads, KV_BLOCK,
    head_dim).
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, positions: int, kv_cache_type: str) -> None:
        dtype = check_kv_cache_type(kv_cache_type)
        self.blocks = -(-positions // KV_BLOCK)
        self.positions = positions
        self.layers: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = [
            (
                np.zeros((self.blocks, kv_heads, head_dim, KV_BLOCK), dtype),
                np.zeros((self.blocks, kv_heads, KV_BLOCK, head_dim), dtype),
            )
            for _ in range(layers)
        ]
        self._free = list(range(self.blocks - 1, -1, -1))

    @property
    def nbytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)

    @property
    def free_blocks(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """A free block's number. Raises ContextLengthError if there is none."""
        if not self._free:
            raise ContextLengthError(
                f"KV cache: all {self.blocks} blocks of {KV_BLOCK} positions are in use; release a sequence, or load "
                "the model with a larger ctx_size"
            )
        return self._free.pop()

    def give_back(self, block: int) -> None:
        self._free.append(block)


class Sequence:
    """The cached tokens of one conversation: `length` of them, in the blocks of `block_table`."""

    def __init__(self, cache: KvCache, ctx_size: int) -> None:
        self._cache = cache
        self._ctx_size = ctx_size
        self._blocks: list[int] = []
        self.block_table = np.zeros(-(-ctx_size // KV_BLOCK), np.int32)
        self.length = 0

    def reserve(self, tokens: int) -> None:
        """Makes room for `tokens` more. Raises ContextLengthError beyond the context or the cache."""
        end = self.length + tokens
        if end > self._ctx_size:
            raise ContextLengthError(
                f"sequence: must fit a context of {self._ctx_size} tokens; got {end}; shorten it, or raise the context "
                "(-c, ctx_size) up to what the model allows"
            )
        while len(self._blocks) * KV_BLOCK < end:
            block = self._cache.take()
            self.block_table[len(self._blocks)] = block
            self._blocks.append(block)

    def release(self) -> None:
        """Gives the blocks back; the sequence is empty then."""
        while self._blocks:
            self._cache.give_back(self._blocks.pop())
        self.length = 0
