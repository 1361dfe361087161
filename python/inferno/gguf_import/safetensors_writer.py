"""Writes a safetensors file in one pass: the header, then the tensors in the order given, a block of rows at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt

from inferno.gguf_import.rounding import ITEMSIZE, FloatDtype

# The format asks for 8; cache lines and vector loads like 64.
_DATA_ALIGNMENT = 64


@dataclass(frozen=True)
class TensorEntry:
    """Name and shape of a tensor to write."""

    name: str
    shape: tuple[int, ...]


def write_safetensors(
    path: Path, entries: Iterable[TensorEntry], dtype: FloatDtype, blocks: Iterator[npt.NDArray[Any]]
) -> int:
    """Writes `path`, all tensors in `dtype`; returns its size in bytes.

    blocks: the values of all entries, one after the other, in row-major pieces of any length, already in `dtype`.
    Raises OSError as the system does (a full disk, say), ValueError if the blocks do not add up to the entries.
    """
    header, data_bytes = _header(entries, dtype)
    written = 0
    with path.open("wb") as file:
        file.write(header)
        for block in blocks:
            file.write(block.data)
            written += block.nbytes
        if written != data_bytes:
            raise ValueError(f"{path}: tensor data must be {data_bytes} bytes; got {written}")
        file.flush()
        os.fsync(file.fileno())  # the folder is renamed into place next; it must not arrive there empty
    return len(header) + data_bytes


def _header(entries: Iterable[TensorEntry], dtype: FloatDtype) -> tuple[bytes, int]:
    # transformers refuses files without this key.
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in entries:
        end = offset + prod(entry.shape) * ITEMSIZE[dtype]
        table[entry.name] = {"dtype": dtype, "shape": list(entry.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _DATA_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, offset
