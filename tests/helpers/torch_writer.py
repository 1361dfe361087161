"""A writer of torch.save's zip archives, from a tree of tensors, byte by byte, so that a test can break any of them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "F32": "FloatStorage",
    "F64": "DoubleStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
    "C64": "ComplexFloatStorage",
}


class Name:
    """A global name in a pickle, written as GLOBAL whether or not it can be imported here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """A call of a global name: GLOBAL, the arguments, REDUCE."""

    def __init__(self, module: str, name: str, *args: object) -> None:
        self.function, self.args = Name(module, name), args


class Stored:
    """A persistent id."""

    def __init__(self, *pid: object) -> None:
        self.pid = pid


def tensor(
    key: str, dtype: str, elements: int, shape: Iterable[int], strides: Iterable[int] | None = None, offset: int = 0
) -> Call:
    """A tensor on the storage `key` of `elements` numbers, contiguous unless strides are given."""
    shape = tuple(shape)
    if strides is None:
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    storage = Stored("storage", Name("torch", STORAGES[dtype]), key, "cpu", elements)
    hooks = Call("collections", "OrderedDict")
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, tuple(strides), False, hooks)


def dumps(value: object) -> bytes:
    """The pickle of a tree of the above and of plain values, in protocol 2, as torch.save writes it."""
    out = io.BytesIO()
    out.write(b"\x80\x02")
    _write(out, value)
    out.write(b".")
    return out.getvalue()


def _write(out: io.BytesIO, value: object) -> None:
    if isinstance(value, Name):
        out.write(f"c{value.module}\n{value.name}\n".encode())
    elif isinstance(value, Call):
        _write(out, value.function)
        _write(out, value.args)
        out.write(b"R")
    elif isinstance(value, Stored):
        _write(out, value.pid)
        out.write(b"Q")
    elif isinstance(value, tuple):
        out.write(b"(")
        for item in value:
            _write(out, item)
        out.write(b"t")
    elif isinstance(value, list):
        out.write(b"](")
        for item in value:
            _write(out, item)
        out.write(b"e")
    elif isinstance(value, dict):
        out.write(b"\x80\x02ccollections\nOrderedDict\n)R(" if isinstance(value, OrderedDict) else b"}(")
        for key, item in value.items():
            _write(out, key)
            _write(out, item)
        out.write(b"u")
    else:
        out.write(pickle.dumps(value, 2)[2:-1])


def archive(
    entries: Mapping[str, bytes], prefix: str = "archive", method: int = zipfile.ZIP_STORED, align: int = 64
) -> bytes:
    """A zip archive of the entries, their bytes aligned by padding in the local headers, as torch.save does it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in entries.items():
            info = zipfile.ZipInfo(f"{prefix}/{name}", (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            at = out.tell() + 30 + len(info.filename) + 4
            padding = -at % align
            info.extra = struct.pack("<2H", 0x4246, padding) + b"Z" * padding
            target.writestr(info, content)
            info.extra = b""  # torch.save has the padding in the local headers alone
    return out.getvalue()


def write_pth(path: Path, tensors: Mapping[str, tuple[str, np.ndarray]], prefix: str = "archive", **more: Any) -> Path:
    """Writes tensors by name, each (dtype, stored array), a storage for each."""
    tree = {
        name: tensor(str(i), dtype, stored.size, stored.shape)
        for i, (name, (dtype, stored)) in enumerate(tensors.items())
    }
    storages = {f"data/{i}": np.ascontiguousarray(stored).tobytes() for i, (_, stored) in enumerate(tensors.values())}
    path.write_bytes(archive({"data.pkl": dumps(tree), "byteorder": b"little", **storages}, prefix, **more))
    return path
