"""What a text shows of the inputs of each site: statistics of every token, and the inputs of some of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from inferno.quantizer.shards import as_bytes
from inferno.quantizer.sites import Site
from inferno.quantizer.stored import Float64

Float32 = npt.NDArray[np.float32]


def shared(values: npt.NDArray[Any], site: Site) -> npt.NDArray[Any]:
    """Columns of (rows, k) by the factor that they share: (rows, groups, heads, width), of which axis 2 shares one."""
    return values.reshape(len(values), -1, site.heads, site.width)


def spread(factors: Float64, site: Site) -> Float64:
    """Factors (channels,) for each input feature (k,)."""
    repeated = np.repeat(factors.reshape(-1, 1, site.width), site.heads, axis=1)
    return repeated.reshape(-1)


class SiteStatistics:
    """x_max and x_square of balance.Channels, gathered window by window."""

    def __init__(self, channels: int) -> None:
        self.x_max = np.zeros(channels)
        self._total = np.zeros(channels)
        self._tokens = 0

    def add(self, inputs: Float32, weights: Float64, site: Site) -> None:
        """Takes inputs (tokens, k) into account, and what each token's squared error counts (tokens,)."""
        squares = shared(np.square(inputs), site)
        largest = squares.max(axis=(0, 2)).reshape(-1)
        self.x_max = np.maximum(self.x_max, np.sqrt(largest.astype(np.float64)))
        self._total += np.einsum("t,tghw->gw", weights, squares).reshape(-1)
        self._tokens += len(inputs)

    @property
    def x_square(self) -> Float64:
        return self._total / max(self._tokens, 1)


class SampleFile:
    """Rows of float32 for each site, in a file without a name: its memory is the disk's, and it vanishes by itself.

    A context manager. OSError as the system says, of a full disk too.
    """

    def __init__(self, folder: Path, widths: Mapping[Site, int], rows: int) -> None:
        """Room for `rows` rows for each site."""
        self._widths = dict(widths)
        sizes = [4 * rows * width for width in self._widths.values()]
        begins = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self._begin: dict[Site, int] = dict(zip(self._widths, begins[:-1], strict=True))
        self._rows = dict.fromkeys(self._widths, 0)
        self._limit = rows
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self.nbytes: int = begins[-1]

    def add(self, site: Site, rows: Float32) -> None:
        """Keeps rows (n, channels), as far as there is room."""
        kept = np.ascontiguousarray(rows[: self._limit - self._rows[site]], np.float32)
        data, offset = as_bytes(kept), self._offset(site)
        while data.nbytes:
            done = os.pwrite(self._file.fileno(), data, offset)
            data, offset = data[done:], offset + done
        self._rows[site] += len(kept)

    def read(self, site: Site) -> Float32:
        """The rows that were kept: (n, channels)."""
        width, count = self._widths[site], self._rows[site]
        data = os.pread(self._file.fileno(), 4 * count * width, self._begin[site])
        return np.frombuffer(data, np.float32).reshape(count, width)

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _offset(self, site: Site) -> int:
        return self._begin[site] + 4 * self._rows[site] * self._widths[site]


def spread_evenly(total: int, wanted: int) -> Sequence[int]:
    """At most `wanted` of the numbers below `total`, as evenly as they come."""
    return range(total) if total <= wanted else [index * total // wanted for index in range(wanted)]
