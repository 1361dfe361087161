"""Pages that stand in for a model's weights while a machine is measured."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.hardware.memory import memory
from inferno.hardware.topology import caches

Bytes = npt.NDArray[np.uint8]

_SMALLEST, _LARGEST = 64 << 20, 512 << 20


class Pages:
    """Pages of a mapped file, as a model's weights are: twice what caches hold, if memory allows.

    The file has no name, so it is gone with the process however that ends, and nothing is written to it: a hole takes
    no disk space. Its bytes are zeros; no kernel's speed depends on them.
    """

    def __init__(self, size: int | None = None) -> None:
        self.bytes = _mapped(_size() if size is None else size)
        self._next = 0

    def take(self, dtype: np.dtype[Any], *shape: int) -> npt.NDArray[Any]:
        """An array on the next pages. Going round through all of them makes what was read last come up last."""
        nbytes = dtype.itemsize * int(np.prod(shape))
        if self._next + nbytes > self.bytes.size:
            self._next = 0
        taken = self.bytes[self._next : self._next + nbytes]
        self._next += -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        return taken.view(dtype).reshape(shape)


def _mapped(size: int) -> Bytes:
    for folder in _folders():
        try:
            # A file system that lies in memory takes room even for what is only read.
            if os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize < 2 * size:
                continue
            with tempfile.TemporaryFile(dir=folder) as file:
                file.truncate(size)
                # Attention wants a cache that it could write to: the map is private, and no page is ever written.
                return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY), np.uint8)
        except OSError:
            continue
    return np.full(size, 0, np.uint8)


def _size() -> int:
    held = max((cache.size * cache.count for cache in caches()), default=0)
    wanted = min(max(2 * held, _LARGEST // 2), _LARGEST)
    allowed = (memory().available or _LARGEST) // 4
    return max(min(wanted, allowed), _SMALLEST) // mmap.PAGESIZE * mmap.PAGESIZE


def _folders() -> list[Path]:
    from inferno.cache import make_cache_folder
    from inferno.errors import InfernoError

    try:
        return [make_cache_folder(), Path(tempfile.gettempdir())]
    except InfernoError:
        return [Path(tempfile.gettempdir())]
