"""A safetensors writer of a few lines, for the dtypes that NumPy lacks: BF16 travels as uint16."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NUMPY_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def to_stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Rounds to nearest even to `dtype`; BF16 gives its upper 16 bits as uint16. Finite values only."""
    if dtype != "BF16":
        return values.astype(NUMPY_DTYPES[dtype])
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widen(stored: np.ndarray, dtype: str) -> np.ndarray:
    """The exact float64 values of what `to_stored` gave."""
    if dtype != "BF16":
        return stored.astype(np.float64)
    return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """Writes `tensors`, all of one dtype, in the order given. The header is padded so that the data lie at 8 bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, stored in tensors.items():
        begin, end = end, end + stored.nbytes
        header[name] = {"dtype": dtype, "shape": list(stored.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for stored in tensors.values():
            file.write(np.ascontiguousarray(stored).tobytes())
