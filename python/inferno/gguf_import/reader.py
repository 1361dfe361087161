"""Reads the container of a GGUF file: metadata and where each tensor lies.

Layout: ggml's docs/gguf.md, versions 2 and 3.
An own reader, because a broken file must end in an error rather than in an endless loop or a read past the end: every
length is checked against the file before anything is allocated. What the bytes of a tensor mean is left to the
package `gguf`.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.errors import CheckpointError, UnsupportedError

# ggml's type number -> (name, elements in a block, bytes of a block), for the types that are imported.
BLOCK_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}

# Metadata value types by number; 8 is a string, 9 an array.
_SCALARS: dict[int, str] = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
_MAX_DIMS = 4  # GGML_MAX_DIMS


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as it lies in the file: `rows` is uint8 [rows, bytes of a row], a read-only view on the map."""

    name: str
    block_type: str
    shape: tuple[int, ...]  # outermost first, as NumPy and safetensors count
    rows: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class GgufFile:
    """Metadata (numbers, str, bool, lists of str, NumPy arrays) and tensors by name."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def read_gguf(path: Path) -> GgufFile:
    """Maps `path` and reads its header.

    Raises CheckpointError if it is no GGUF, damaged or cut short; UnsupportedError for what is valid but not imported:
    big-endian files, version 1, one part of several, a tensor type outside BLOCK_TYPES.
    """
    try:
        with path.open("rb") as file:
            head = file.read(24)
            if len(head) < 24 or head[:4] != b"GGUF":
                raise CheckpointError(f"{path}: must be a GGUF file; it does not begin with the bytes 'GGUF'")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    cursor = _Cursor(path, data)
    tensor_count, metadata_count = _counts(cursor)
    metadata = _read_metadata(cursor, metadata_count)
    if metadata.get("split.count", 1) not in (0, 1):
        raise UnsupportedError(
            f"{path}: is one part of a GGUF split into {metadata['split.count']}; merge the parts first "
            "(llama-gguf-split --merge FIRST_PART OUT.gguf)"
        )
    return GgufFile(path, metadata, _read_tensors(cursor, tensor_count, _alignment(path, metadata)))


class _Cursor:
    """A position in the mapped file; each read checks that the file is long enough."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.at = 0

    def claim(self, size: int, what: str) -> int:
        """The position before `size` bytes, which are stepped over."""
        start = self.at
        if size > len(self.data) - start:
            raise CheckpointError(
                f"{self.path}: {what} needs {size} bytes at offset {start}, but the file ends at {len(self.data)}; "
                "it is damaged or was not downloaded completely"
            )
        self.at += size
        return start

    def number(self, code: str, what: str) -> int:
        value: int = struct.unpack_from(code, self.data, self.claim(struct.calcsize(code), what))[0]
        return value

    def string(self, what: str) -> str:
        size = self.number("<Q", what)
        start = self.claim(size, what)
        try:
            return str(self.data[start : start + size], "utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.path}: {what} must be UTF-8; {error}") from error


def _counts(cursor: _Cursor) -> tuple[int, int]:
    cursor.claim(4, "the magic")
    version = cursor.number("<I", "the version")
    if version & 0xFFFF == 0:
        raise UnsupportedError(f"{cursor.path}: is a big-endian GGUF; Inferno imports little-endian ones only")
    if version not in (2, 3):
        raise UnsupportedError(f"{cursor.path}: GGUF version must be 2 or 3; got {version}")
    return cursor.number("<Q", "the tensor count"), cursor.number("<Q", "the metadata count")


def _read_metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for _ in range(count):
        key = cursor.string("a metadata key")
        if key in metadata:
            raise CheckpointError(f"{cursor.path}: metadata key {key!r} must occur once; it occurs again")
        metadata[key] = _read_value(cursor, key, cursor.number("<I", f"the type of {key}"))
    return metadata


def _read_value(cursor: _Cursor, key: str, kind: int) -> Any:
    if kind == _STRING:
        return cursor.string(key)
    if kind == _ARRAY:
        element, length = cursor.number("<I", key), cursor.number("<Q", key)
        if element == _STRING:
            return _read_strings(cursor, key, length)
        return _read_scalars(cursor, key, element, length)
    return _read_scalars(cursor, key, kind, 1)[0].item()


def _read_strings(cursor: _Cursor, key: str, length: int) -> list[str]:
    if length * 8 > len(cursor.data) - cursor.at:  # each string takes at least its length field
        cursor.claim(length * 8, f"{key} with {length} strings")
    return [cursor.string(key) for _ in range(length)]


def _read_scalars(cursor: _Cursor, key: str, kind: int, length: int) -> npt.NDArray[Any]:
    if kind not in _SCALARS:
        raise CheckpointError(
            f"{cursor.path}: metadata {key} has a value of type {kind}, which GGUF does not define here"
        )
    dtype = np.dtype(_SCALARS[kind])
    start = cursor.claim(length * dtype.itemsize, key)
    return np.frombuffer(cursor.data, dtype, length, start)


def _alignment(path: Path, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise CheckpointError(f"{path}: general.alignment must be a power of two; got {alignment!r}")
    return alignment


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> dict[str, GgufTensor]:
    infos: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(count):
        name = cursor.string("a tensor name")
        if name in infos:
            raise CheckpointError(f"{cursor.path}: tensor {name!r} must occur once; it occurs again")
        n_dims = cursor.number("<I", name)
        if not 1 <= n_dims <= _MAX_DIMS:
            raise CheckpointError(f"{cursor.path}: tensor {name} must have 1 to {_MAX_DIMS} dimensions; got {n_dims}")
        dims = [cursor.number("<Q", name) for _ in range(n_dims)]
        infos[name] = (tuple(reversed(dims)), cursor.number("<I", name), cursor.number("<Q", name))
    base = -(-cursor.at // alignment) * alignment
    return {name: _view(cursor, name, base + offset, shape, kind) for name, (shape, kind, offset) in infos.items()}


def _view(cursor: _Cursor, name: str, start: int, shape: tuple[int, ...], kind: int) -> GgufTensor:
    if kind not in BLOCK_TYPES:
        known = ", ".join(block_type for block_type, _, _ in BLOCK_TYPES.values())
        raise UnsupportedError(
            f"{cursor.path}: tensor {name} must be stored as one of {known}; got {_type_name(kind)}. "
            "Take a file in another quantization of the same model"
        )
    block_type, block, block_bytes = BLOCK_TYPES[kind]
    if shape[-1] % block:
        raise CheckpointError(
            f"{cursor.path}: tensor {name}: rows of {block_type} must be a multiple of {block} long; got {shape[-1]}"
        )
    row_bytes = shape[-1] // block * block_bytes
    rows = prod(shape[:-1])
    cursor.at = start
    cursor.claim(rows * row_bytes, f"tensor {name}")
    flat = np.frombuffer(cursor.data, np.uint8, rows * row_bytes, start)
    return GgufTensor(name, block_type, shape, flat.reshape(rows, row_bytes))


def _type_name(kind: int) -> str:
    from gguf import GGMLQuantizationType

    try:
        return str(GGMLQuantizationType(kind).name)
    except ValueError:
        return f"type {kind}, which ggml does not define"
