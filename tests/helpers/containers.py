"""Safetensors files byte by byte, so that a test can break any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def container(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A file: the header's length, the header (JSON unless it is bytes), the data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def write_f32(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> Path:
    """A file of tensors in the order given, whose data are the bytes 0, 1, 2, ... modulo 251."""
    header: dict[str, Any] = {}
    end = 0
    size = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "F64": 8, "F8_E4M3": 1}[dtype]
    for name, shape in shapes.items():
        nbytes = size
        for n in shape:
            nbytes *= n
        header[name] = entry(dtype, list(shape), end, end + nbytes)
        end += nbytes
    path.write_bytes(container(header, bytes(i % 251 for i in range(end))))
    return path
