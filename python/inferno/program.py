"""A recorded step, run whole in one C++ call, or operation by operation from Python ("eager").

Both give the same bits. Eager is for hooks, intermediate values and tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inferno.errors import UsageError

if TYPE_CHECKING:
    from inferno import _core

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
# hook(index, operation name, read), where read(buffer) copies a buffer's rows: (rows, width) float32
Hook = Callable[[int, str, Callable[[str], Float32]], None]


@dataclass(frozen=True)
class Batch:
    """The tokens of one step: sequence s brings lengths[s] of them, at positions starts[s] and on.

    token_ids: (tokens,); lengths, starts: (sequences,); block_tables: (sequences, blocks), the cache block of each
    KV_BLOCK positions; output_rows: the tokens whose logits are wanted.
    """

    token_ids: Int32
    lengths: Int32
    starts: Int32
    block_tables: Int32
    output_rows: Int32

    @property
    def arrays(self) -> tuple[Int32, Int32, Int32, Int32, Int32]:
        """In the order above, in which a recorded program takes them."""
        return self.token_ids, self.lengths, self.starts, self.block_tables, self.output_rows

    @classmethod
    def of_one(
        cls, token_ids: Sequence[int] | Int32, start: int, block_table: Int32, output_rows: Sequence[int]
    ) -> Batch:
        """A batch of one sequence's next tokens; both arrays are copied. Raises UsageError for ids beyond int32."""
        given = np.asarray(token_ids)
        ids = given.astype(np.int32) if given.dtype.kind in "iu" else np.empty(0, np.int32)
        if given.ndim != 1 or ids.shape != given.shape or not np.array_equal(ids, given):
            raise UsageError("token_ids: must be one row of integers from 0 to 2147483647; got other values")
        return cls(
            ids,
            np.array([ids.size], np.int32),
            np.array([start], np.int32),
            block_table.reshape(1, -1).copy(),
            np.array(output_rows, np.int32),
        )


@dataclass(frozen=True)
class Profile:
    """Where the time of a run went, in seconds.

    busy: (threads, operations), inside an operation. stages: (stages,), of each stage until all threads have left its
    barrier. stage_of: (operations,). wall: the whole call.
    """

    busy: npt.NDArray[np.float64]
    stages: npt.NDArray[np.float64]
    stage_of: npt.NDArray[np.uint64]
    wall: float


class Program:
    """Runs what a backend has recorded, on `threads` threads."""

    def __init__(self, recorded: _core.Program, threads: int) -> None:
        self._recorded = recorded
        self.threads = threads

    @property
    def operations(self) -> list[str]:
        """The operations' names, in order."""
        return self._recorded.operations

    @property
    def regions(self) -> int:
        """Parallel regions of the last run: one, and one more for each time that a long run looked up for Ctrl-C."""
        return self._recorded.regions

    @property
    def workspace_bytes(self) -> int:
        """Bytes of all buffers, as large as the largest batch so far made them."""
        return self._recorded.workspace_bytes

    def run(self, batch: Batch) -> None:
        """The whole step in one call, the GIL released. Raises ValueError for a batch that does not fit."""
        self._run(batch, 0, None)

    def profile(self, batch: Batch) -> Profile:
        """As run, with the clock read around each piece of work, which costs some tenths of a percent."""
        start = time.perf_counter()
        busy, stages, stage_of = self._recorded.profile(*batch.arrays, threads=self.threads)
        return Profile(np.multiply(busy, 1e-9), np.multiply(stages, 1e-9), stage_of, time.perf_counter() - start)

    def run_eager(self, batch: Batch, hook: Hook | None = None) -> None:
        """The same step, one call for each operation; `hook` is called after each."""
        for index, name in enumerate(self.operations):
            self._run(batch, index, index + 1)
            if hook is not None:
                hook(index, name, self.read)

    def read(self, buffer: str) -> Float32:
        """A copy of a buffer after the last run: (rows, width)."""
        return self._recorded.read(buffer)

    def read_into(self, buffer: str, out: Float32) -> None:
        """Copies a buffer after the last run into out: (rows, width), C-contiguous."""
        self._recorded.read_into(buffer, out)

    def _run(self, batch: Batch, first: int, last: int | None) -> None:
        self._recorded.run(*batch.arrays, threads=self.threads, first=first, last=last)
