"""A file of torch.save as read-only views: a zip archive of a pickle that describes tensors, and of their storages.

Nothing of it is run. Entries: `<name>/data.pkl`, the pickle; `<name>/data/<key>`, the bytes of a storage as they lie in
memory; `<name>/byteorder` in files of PyTorch 2.1 and later; some others that say nothing about values. Format:
PyTorch's torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inferno.checkpoint.dtypes import DTYPES
from inferno.checkpoint.header import MAX_DIMENSIONS
from inferno.checkpoint.plain_pickle import MAX_PICKLE_BYTES, Builder, load_plain
from inferno.checkpoint.safetensors_file import map_file
from inferno.checkpoint.tensor import Tensor
from inferno.checkpoint.zip_directory import ZipEntry, read_directory, refuse_compressed
from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import open_regular, read_up_to, refuse_lfs_pointer, show_name, show_some

_STORAGES = {
    "torch.FloatStorage": "F32",
    "torch.DoubleStorage": "F64",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.ComplexFloatStorage": "C64",
}
_AGAIN = "download it again"
_MAGICS = (
    (
        b"\x80",
        UnsupportedError,
        "a pickle as PyTorch wrote it before 1.6; load and save it once more with a later PyTorch, on a machine that "
        "you can spare, for reading it can run code",
    ),
    (b"<", CheckpointError, "a web page; it may need a login or another address; download the file itself"),
    (b"GGUF", CheckpointError, "a GGUF file; import it with `inferno import MODEL.gguf OUT`"),
)


class _StorageType(NamedTuple):
    dtype: str


class _Storage(NamedTuple):
    """`offset` in the file, in bytes."""

    dtype: str
    offset: int
    elements: int


class _Stored(NamedTuple):
    """A tensor before it has a name. `offset` in the file, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def open_torch_zip(path: Path) -> dict[str, Tensor]:
    """Maps a file that torch.save wrote of a dict of tensors: its tensors by name, in the order of their data.

    Only the directory and the pickle are read. Raises CheckpointError if the file cannot be read or is damaged,
    UnsupportedError if it holds anything but tensors (above all code, by name), a tensor that is not contiguous,
    compressed entries, or is a TorchScript archive.
    """
    where = str(path)
    fd, size = open_regular(path, CheckpointError)
    try:
        _refuse_others(read_up_to(fd, 64), size, path)
        entries = read_directory(fd, size, where)
        prefix = _find_prefix(entries, where)
        refuse_compressed(entries, where)
        _check_byte_order(fd, entries.get(f"{prefix}byteorder"), where)
        pickle = entries[f"{prefix}data.pkl"]
        if pickle.size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"{where}: data.pkl must be at most {MAX_PICKLE_BYTES} bytes; got {pickle.size}")
        raw = read_up_to(fd, pickle.size, pickle.offset)
        mapped = map_file(fd, size, path)
    finally:
        os.close(fd)
    archive = _Archive(entries, prefix, where)
    value = load_plain(raw, f"{where}: data.pkl", archive.known(), archive.storage)
    found = sorted(_tensors_of(value, where).items(), key=lambda item: item[1].offset)
    return {
        name: Tensor(name, t.dtype, t.shape, _nbytes(t.dtype, t.shape), path, mapped, t.offset) for name, t in found
    }


class _Archive:
    """Resolves what the pickle names against the archive's entries; every number is checked before it counts."""

    def __init__(self, entries: Mapping[str, ZipEntry], prefix: str, where: str) -> None:
        self.entries = entries
        self.prefix = prefix
        self.where = where

    def known(self) -> dict[str, object]:
        """All global names that may occur in the pickle."""
        builders = {
            "collections.OrderedDict": self.ordered_dict,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_parameter": self.parameter,
        }
        return {
            **{name: Builder(name, build) for name, build in builders.items()},
            **{name: _StorageType(dtype) for name, dtype in _STORAGES.items()},
        }

    def storage(self, pid: object) -> _Storage:
        """What a persistent id stands for: ("storage", type, key, device, number of elements)."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], _StorageType)):
            raise self._bad("a persistent id", "name a storage")
        _, kind, key, _, elements = pid
        if not isinstance(key, str) or not _is_count(elements):
            raise self._bad("a storage", "have a name and a number of elements")
        entry = self.entries.get(f"{self.prefix}data/{key}")
        if entry is None:
            raise CheckpointError(f"{self.where}: must hold the storage {show_name(key)}; got no such entry; {_AGAIN}")
        nbytes = _nbytes(kind.dtype, (elements,))
        if entry.size != nbytes:
            raise CheckpointError(
                f"{self.where}: storage {show_name(key)} must be {nbytes} bytes for {elements} x {kind.dtype}; got "
                f"{entry.size}; {_AGAIN}"
            )
        return _Storage(kind.dtype, entry.offset, elements)

    def tensor(self, args: tuple[Any, ...]) -> _Stored:
        """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]), counts in elements."""
        if len(args) not in (6, 7) or not isinstance(args[0], _Storage):
            raise self._bad("a tensor", "have a storage, an offset, a shape and strides")
        storage, offset, shape, strides = args[:4]
        if not _is_count(offset) or not _is_shape(shape) or not _are_strides(strides, len(shape)):
            raise self._bad("a tensor", "have an offset, a shape and strides of integers from 0 up")
        if not _is_contiguous(shape, strides):
            raise UnsupportedError(
                f"{self.where}: tensors must lie contiguous, row by row; got shape {list(shape)} with strides "
                f"{list(strides)}; save the model again, each tensor through .contiguous()"
            )
        elements = math.prod(shape)
        if elements > 0 and offset + elements > storage.elements:
            raise CheckpointError(
                f"{self.where}: tensors must lie in their storage of {storage.elements} elements; got shape "
                f"{list(shape)} at {offset}; {_AGAIN}"
            )
        width = DTYPES[storage.dtype].bits // 8
        # An empty tensor views no byte: its offset says nothing, and must not lead out of the file.
        return _Stored(storage.dtype, tuple(shape), storage.offset + (offset * width if elements else 0))

    def parameter(self, args: tuple[Any, ...]) -> _Stored:
        """_rebuild_parameter(data, requires_grad, hooks)."""
        if len(args) != 3 or not isinstance(args[0], _Stored):
            raise self._bad("a parameter", "have a tensor")
        return args[0]

    def ordered_dict(self, args: tuple[Any, ...]) -> dict[str, object]:
        if args:
            raise self._bad("an OrderedDict", "begin empty")
        return {}

    def _bad(self, what: str, must: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {what} of data.pkl must {must}; got something else; {_AGAIN}")


def _refuse_others(head: bytes, size: int, path: Path) -> None:
    refuse_lfs_pointer(path, head)
    for magic, error, what in _MAGICS:
        if head.startswith(magic):
            raise error(f"{path}: must be a zip archive, as torch.save writes it; got {what}")
    if not head.startswith(b"PK\3\4"):
        got = f"byte 0x{head[0]:02x}" if head else "an empty file"
        raise CheckpointError(f'{path}: must begin with "PK", as torch.save writes it; got {got}; {_AGAIN}')


def _find_prefix(entries: Mapping[str, ZipEntry], where: str) -> str:
    """The folder in the archive that holds data.pkl, with its slash."""
    folders = [name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(folders) != 1:
        some = show_some([show_name(name) for name in entries])
        raise CheckpointError(f"{where}: must hold one data.pkl, as torch.save writes it; got {some or 'no entries'}")
    prefix = folders[0]
    if f"{prefix}constants.pkl" in entries or any(name.startswith(f"{prefix}code/") for name in entries):
        raise UnsupportedError(
            f"{where}: must hold tensors and no code; got a TorchScript archive; save the model's state_dict() instead"
        )
    return prefix


def _check_byte_order(fd: int, entry: ZipEntry | None, where: str) -> None:
    # Files without the entry are older than PyTorch 2.1, which wrote little-endian on the machines that it ran on.
    order = b"little" if entry is None else read_up_to(fd, min(entry.size, 16), entry.offset)
    if order != b"little":
        raise UnsupportedError(f"{where}: byteorder must be little; got {show_name(order.decode('latin-1'))}")


def _tensors_of(value: object, where: str) -> dict[str, _Stored]:
    if not isinstance(value, dict):
        raise UnsupportedError(f"{where}: must hold a dict of tensors by name; got {_kind(value)}")
    for name, item in value.items():
        if not isinstance(item, _Stored):
            raise UnsupportedError(
                f"{where}: must hold a dict of tensors by name; got {_kind(item)} as {show_name(name)}; save the "
                "model's state_dict() alone"
            )
    return value


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return f"a dict of {show_some([show_name(name) for name in value])}" if value else "an empty dict"
    if isinstance(value, _Stored):
        return "one tensor"
    return f"a value of type {type(value).__name__.lstrip('_')}"


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements lie row by row without gaps, as torch counts it: a dimension of 1 may have any stride."""
    expected = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != expected:
            return 0 in shape
        expected *= n
    return True


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _is_shape(value: object) -> bool:
    """Whether it is a shape whose product, zeros counted as ones, NumPy can hold."""
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS or not all(_is_count(n) for n in value):
        return False
    return math.prod(n or 1 for n in value) < 2**59


def _are_strides(value: object, dimensions: int) -> bool:
    return isinstance(value, tuple) and len(value) == dimensions and all(_is_count(n) for n in value)


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * DTYPES[dtype].bits // 8
