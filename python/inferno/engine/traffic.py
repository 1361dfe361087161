"""What a step reads from memory: the weights, nearly all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.checkpoint import AnyTensor, Checkpoint
from inferno.checkpoint.tied import EMBEDDING, HEAD


def tensors_per_step(ckpt: Checkpoint) -> list[AnyTensor]:
    """The tensors that one token's step reads whole. Of an embedding that is not the head as well it reads a row."""
    both = EMBEDDING in ckpt and HEAD in ckpt
    return [tensor for name, tensor in ckpt.items() if not (both and name == EMBEDDING)]


def memory_runs(tensors: Iterable[AnyTensor]) -> list[npt.NDArray[np.uint8]]:
    """The tensors' bytes where they are mapped, neighbours joined: few long arrays, which threads can share evenly."""
    by_file: dict[Any, list[npt.NDArray[Any]]] = {}
    for part in (part for tensor in tensors for part in tensor.parts):
        if part.nbytes:
            by_file.setdefault(part.file, []).append(part.array)
    runs = []
    for arrays in by_file.values():
        arrays.sort(key=_address)
        mapped = np.frombuffer(arrays[0].base, np.uint8)  # type: ignore[arg-type]  # base is the file's mmap
        start = end = _address(arrays[0]) - _address(mapped)
        for array in arrays:
            offset = _address(array) - _address(mapped)
            if offset != end:
                runs.append(mapped[start:end])
                start = offset
            end = offset + array.nbytes
        runs.append(mapped[start:end])
    return runs


def _address(array: npt.NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
