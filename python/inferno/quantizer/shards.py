"""Safetensors files written piece by piece: every offset is known before the first byte, so tensors come in any order.

Within a file, wider types come first, as the official writer has it: readers view bytes as numbers, which needs each
tensor at a multiple of its element's size. Files beyond the limit become model-00001-of-00002.safetensors, ..., and
an index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.checkpoint.dtypes import DTYPES
from inferno.model_folder import INDEX, SINGLE

# What transformers calls a shard: few files, and none that is a burden to fetch again.
SHARD_BYTES = 5_000_000_000
# The format asks for 8; cache lines and vector loads like 64.
_DATA_ALIGNMENT = 64


@dataclass(frozen=True)
class Entry:
    """A tensor to write: its name, safetensors' name of its type, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype].bits // 8


@dataclass(frozen=True)
class Shard:
    """A file to write: its name, and the tensors in it."""

    file: str
    entries: tuple[Entry, ...]


def plan_shards(groups: Iterable[Sequence[Entry]], limit: int = SHARD_BYTES) -> list[Shard]:
    """The files for these tensors, in order. Tensors of a group share a file; one beyond the limit has its own."""
    files: list[list[Entry]] = [[]]
    held = 0
    for group in groups:
        size = sum(entry.nbytes for entry in group)
        if files[-1] and held + size > limit:
            files.append([])
            held = 0
        files[-1].extend(group)
        held += size
    if len(files) == 1:
        return [Shard(SINGLE, tuple(files[0]))]
    count = len(files)
    return [
        Shard(f"model-{number:05d}-of-{count:05d}.safetensors", tuple(entries))
        for number, entries in enumerate(files, 1)
    ]


def write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Writes model.safetensors.index.json, if there is more than one file."""
    if len(shards) == 1:
        return
    total = sum(entry.nbytes for shard in shards for entry in shard.entries)
    weight_map = {entry.name: shard.file for shard in shards for entry in shard.entries}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


class ShardFile:
    """One safetensors file while it is written: `write` adds the next piece of a tensor. A context manager."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        """Makes the file, reserves its whole length on the disk, and writes the header. OSError as the system says."""
        header, self._begin = _header(shard.entries)
        self._end = {entry.name: self._begin[entry.name] + entry.nbytes for entry in shard.entries}
        self._next = dict(self._begin)
        self._path = folder / shard.file
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            # A disk that is too small shows now, not after an hour.
            os.posix_fallocate(self._fd, 0, max([len(header), *self._end.values()]))
            self._put(memoryview(header), 0)
        except BaseException:
            os.close(self._fd)
            raise

    def write(self, name: str, piece: npt.NDArray[Any]) -> None:
        """Writes the next bytes of a tensor. ValueError beyond its end."""
        offset = self._next[name]
        if offset + piece.nbytes > self._end[name]:
            raise ValueError(
                f"{self._path}: {name} must end at {self._end[name]}; got {piece.nbytes} bytes at {offset}"
            )
        self._put(as_bytes(piece), offset)
        self._next[name] = offset + piece.nbytes

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            os.close(self._fd)

    def _finish(self) -> None:
        short = [name for name, end in self._end.items() if self._next[name] != end]
        if short:
            raise ValueError(f"{self._path}: {short[0]} must be written to its end")
        os.fsync(self._fd)  # the folder is renamed into place next; it must not arrive there empty

    def _put(self, data: memoryview, offset: int) -> None:
        while data.nbytes:
            done = os.pwrite(self._fd, data, offset)
            data, offset = data[done:], offset + done


def as_bytes(array: npt.NDArray[Any]) -> memoryview:
    """The bytes of an array; a copy only if it is not contiguous. None of an empty one."""
    return np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file, and has it reach the disk."""
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a small file, and has it reach the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _header(entries: Sequence[Entry]) -> tuple[bytes, dict[str, int]]:
    """The header, and where each tensor begins in the file."""
    ordered = sorted(entries, key=lambda entry: -DTYPES[entry.dtype].bits)
    # transformers refuses files without this key.
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    begins: dict[str, int] = {}
    for entry in ordered:
        begins[entry.name] = offset
        table[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.nbytes],
        }
        offset += entry.nbytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _DATA_ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    return head, {name: len(head) + begin for name, begin in begins.items()}
