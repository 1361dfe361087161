"""Running operations of step programs and taking their time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from inferno import _core
from inferno._core import KV_BLOCK
from inferno.hardware.stand_in import Pages

# One measurement: something per second.
Probe = Callable[[], float]

# BF16 is seen as uint16, which NumPy has.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(np.uint16),
}

PROMPT_TOKENS = 256
TRIALS = 3  # runs that tell how much to do for a given time
STRIP = 24  # columns of a matmul's work item: csrc/program.h


class Bench:
    """Runs operations of step programs on `threads` threads, and knows what a call costs before it does anything."""

    def __init__(self, threads: int, isa: str, pages: Pages) -> None:
        self.threads = threads
        self.isa = isa
        self.pages = pages
        self.call_seconds = 0.0
        self._wanted = self._given = 0.0  # seconds of CPU time that the threads could use, and those that they had
        empty = record_stages(self.program(), 1)
        self.call_seconds = median(self.seconds(empty, 0, 1) for _ in range(101))

    @property
    def cpu_share(self) -> float:
        """Of the threads' time under `counted`, the part that the system gave them."""
        return self._given / self._wanted if self._wanted and self._given else 1.0

    def counted(self, probe: Probe) -> float:
        """Runs a probe that keeps every thread computing, and counts the CPU time that the threads got."""
        wall, cpu = perf_counter(), process_time()
        found = probe()
        self._given += process_time() - cpu
        self._wanted += self.threads * (perf_counter() - wall)
        return found

    def program(self) -> _core.Program:
        return _core.Program(self.isa)

    def seconds(self, program: _core.Program, first: int, last: int, tokens: int = 1, position: int = 0) -> float:
        """What operations [first, last) take for `tokens` tokens from `position` on, without the call itself."""
        blocks = -(-(position + tokens) // KV_BLOCK)
        batch = (
            np.zeros(tokens, np.int32),
            np.array([tokens], np.int32),
            np.array([position], np.int32),
            np.arange(blocks, dtype=np.int32)[None],
            np.zeros(1, np.int32),
        )
        start = perf_counter()
        program.run(*batch, threads=self.threads, first=first, last=last)
        seconds = perf_counter() - start
        return max(seconds - self.call_seconds, seconds / 2)


def record_stages(program: _core.Program, stages: int) -> _core.Program:
    """Stages that have next to nothing to do."""
    program.buffer("x", STRIP)
    for _ in range(stages):
        program.rmsnorm("x", "x", np.ones(STRIP, np.float32), 1e-5)
    return program


def cycle(first: int, count: int) -> Iterator[int]:
    while True:
        yield from range(first, first + count)


def turn(bench: Bench, program: _core.Program, operation: int, tokens: int) -> float:
    return bench.seconds(program, operation, operation + 1, tokens)
