"""A fingerprint of the weights in a safetensors file, whatever the order and the header's layout."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def weights_digest(path: Path) -> str:
    """SHA-256 over name, dtype, shape and bytes of each tensor, in the order of the names."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name in sorted(header):
            begin, end = header[name]["data_offsets"]
            digest.update(f"{name} {header[name]['dtype']} {header[name]['shape']} ".encode())
            file.seek(8 + length + begin)
            digest.update(file.read(end - begin))
    return digest.hexdigest()
