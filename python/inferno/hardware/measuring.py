"""Measuring the machine's limits with the kernels and the step program that a model uses.

All rates are measured in turn, round after round, so that a neighbour's burst meets each of them alike, and a rate is
the median of its rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from inferno import _core
from inferno._core import KV_BLOCK
from inferno.hardware.code_matrices import CODED
from inferno.hardware.rates import SHARED_HEADS, AttentionRates, Limits, Rate, of_codes
from inferno.hardware.stand_in import Pages
from inferno.progress import Progress

# One measurement: something per second.
Probe = Callable[[], float]

# BF16 is seen as uint16, which NumPy has.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(np.uint16),
}
ROW_LENGTHS = (128, 256, 576, 1024, 1536, 2048, 4096, 8192)
PROMPT_TOKENS = 256

_ROUNDS = 9
_BUDGET = 3.5  # seconds for all rounds; the first one is finished whatever it takes
_READ_BYTES = 128 << 20
_FMA_SECONDS, _GEMV_SECONDS, _GEMM_SECONDS, _ATTENTION_SECONDS = 20e-3, 2e-3, 6e-3, 3e-3
_STRIP = 24  # columns of a matmul's work item: csrc/program.h
_HEAD_DIM = 64
_POSITIONS = 1024
_STAGES = 200
_LABEL = "Measuring this machine's speed (a few seconds, once)"

# Fewer lengths for types of codes: a model has one of them or two, and waits for the measurement.
CODED_LENGTHS = (256, 1024, 2048, 8192)
_CODED_LABEL = "Measuring this machine's speed with {} (once)"
_CODED_BUDGET = 0.4  # seconds for all rounds of a type


def measure(key: dict[str, str], progress: Progress, rounds: int = _ROUNDS, pages: Pages | None = None) -> Limits:
    """Measures everything, for the threads and the tier that `key` names; takes that many CPUs and some seconds."""
    progress.start(_LABEL, rounds)
    try:
        bench = _Bench(int(key["threads"]), key["isa"], pages or Pages())
        rates = _in_turn(dict(_probes(bench)), rounds, _BUDGET, progress)
    finally:
        progress.finish()
    return _limits(key, bench, rates)


def measure_types(
    known: Limits, types: Sequence[str], progress: Progress, rounds: int = _ROUNDS, pages: Pages | None = None
) -> Limits:
    """The known limits with these types of codes, each a name of CODED."""
    progress.start(_CODED_LABEL.format(", ".join(types)), rounds)
    try:
        bench = _Bench(known.threads, known.isa, pages or Pages())
        _read_probe(bench, known.read_pattern)  # brings the pages into memory
        probes: dict[tuple[str, ...], Probe] = {("fma",): _fma_probe(bench)}  # counts the CPU time beside them
        for name in types:
            probes.update(_matmul_probes(bench, name, CODED_LENGTHS))
        rates = _in_turn(probes, rounds, _CODED_BUDGET * len(types), progress)
    finally:
        progress.finish()
    tables = {
        kind: {name: {k: rates[kind, name, str(k)] for k in CODED_LENGTHS} for name in types}
        for kind in ("gemv", "gemm")
    }
    return replace(
        known,
        gemv={**known.gemv, **tables["gemv"]},
        gemm={**known.gemm, **tables["gemm"]},
        cpu_share=min(known.cpu_share, bench.cpu_share),
    )


def _in_turn(
    probes: dict[tuple[str, ...], Probe], rounds: int, budget: float, progress: Progress
) -> dict[tuple[str, ...], Rate]:
    """All probes, round after round, until the rounds are done or the seconds are spent; one round at least."""
    samples: dict[tuple[str, ...], list[float]] = {name: [] for name in probes}
    deadline = perf_counter() + budget
    for done in range(rounds):
        if done > 0 and perf_counter() > deadline:
            break
        for name, probe in probes.items():
            samples[name].append(probe())
        progress.advance(1)
    return {name: Rate.of(found) for name, found in samples.items()}


def _limits(key: dict[str, str], bench: _Bench, rates: dict[tuple[str, ...], Rate]) -> Limits:
    patterns = [name[1] for name in rates if name[0] == "read"]
    best = max(patterns, key=lambda pattern: rates["read", pattern].median)
    return Limits(
        key=key,
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        read_bandwidth=rates["read", best],
        read_pattern=best,
        fma_peak=rates["fma",],
        madd_peak=rates["madd",],
        call_seconds=bench.call_seconds,
        stage_seconds=1 / rates["stages",].median,
        gemv={dtype: {k: rates["gemv", dtype, str(k)] for k in ROW_LENGTHS} for dtype in DTYPES},
        gemm={dtype: {k: rates["gemm", dtype, str(k)] for k in ROW_LENGTHS} for dtype in DTYPES},
        attention={
            dtype.lower(): AttentionRates(*(rates[kind, dtype] for kind in ("alone", "shared", "prefill")))
            for dtype in DTYPES
        },
        rows=rates["rows",],
        cpu_share=bench.cpu_share,
    )


class _Bench:
    """Runs operations of step programs on `threads` threads, and knows what a call costs before it does anything."""

    def __init__(self, threads: int, isa: str, pages: Pages) -> None:
        self.threads = threads
        self.isa = isa
        self.pages = pages
        self.call_seconds = 0.0
        self._wanted = self._given = 0.0  # seconds of CPU time that the threads could use, and those that they had
        empty = _record_stages(self.program(), 1)
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


def _record_stages(program: _core.Program, stages: int) -> _core.Program:
    """Stages that have next to nothing to do."""
    program.buffer("x", _STRIP)
    for _ in range(stages):
        program.rmsnorm("x", "x", np.ones(_STRIP, np.float32), 1e-5)
    return program


def _probes(bench: _Bench) -> Iterator[tuple[tuple[str, ...], Probe]]:
    for pattern in _core.READ_PATTERNS:
        yield ("read", pattern), _read_probe(bench, pattern)
    yield ("fma",), _fma_probe(bench)
    yield ("madd",), _peak_probe(bench, _core.madd_peak)
    yield ("stages",), _stage_probe(bench)
    for dtype in DTYPES:
        yield from _matmul_probes(bench, dtype, ROW_LENGTHS)
        yield ("alone", dtype), _attention_probe(bench, dtype, 1)
        yield ("shared", dtype), _attention_probe(bench, dtype, SHARED_HEADS)
        yield ("prefill", dtype), _prompt_attention_probe(bench, dtype)
    yield ("rows",), _rows_probe(bench)


def _read_probe(bench: _Bench, pattern: str) -> Probe:
    """Bytes per second of streaming the pages; the first call also brings them into memory."""
    places = max(1, bench.pages.bytes.size // _READ_BYTES)

    def measure() -> float:
        data = bench.pages.take(np.dtype(np.uint8), bench.pages.bytes.size // places)
        return _core.read_bandwidth(data, threads=bench.threads, isa=bench.isa, pattern=pattern)

    for _ in range(places):
        measure()
    return measure


def _fma_probe(bench: _Bench) -> Probe:
    probe = _peak_probe(bench, _core.fma_peak)
    return lambda: bench.counted(probe)


def _peak_probe(bench: _Bench, peak: Callable[..., float]) -> Probe:
    def measure(rounds: int) -> float:
        return peak(threads=bench.threads, rounds=rounds, isa=bench.isa)

    start = perf_counter()
    measure(20_000)
    rounds = max(20_000, int(20_000 * _FMA_SECONDS / (perf_counter() - start)))
    return lambda: measure(rounds)


def _stage_probe(bench: _Bench) -> Probe:
    """Stages per second."""
    program = _record_stages(bench.program(), _STAGES)
    bench.seconds(program, 0, _STAGES)
    return lambda: _STAGES / bench.seconds(program, 0, _STAGES)


def _matmul_probes(bench: _Bench, name: str, lengths: Sequence[int]) -> Iterator[tuple[tuple[str, ...], Probe]]:
    """One token's bytes per second and a prompt's multiply-adds per second, for each length of rows."""
    for k in lengths:
        gemv, nbytes = _matmul_probe(bench, name, k, 1, _GEMV_SECONDS), _element_bytes(bench, name, k)
        yield ("gemv", name, str(k)), lambda probe=gemv, nbytes=nbytes: nbytes * probe()  # type: ignore[misc]
        yield ("gemm", name, str(k)), _matmul_probe(bench, name, k, PROMPT_TOKENS, _GEMM_SECONDS)


def _element_bytes(bench: _Bench, name: str, k: int) -> float:
    """Bytes that an element of a matrix with rows of k takes, its share of the scales among them."""
    if name in DTYPES:
        return DTYPES[name].itemsize
    return CODED[name](bench.pages, _STRIP, k).nbytes / (_STRIP * k)


def _record_input(program: _core.Program, name: str, k: int) -> str:
    """Records what a matmul of this name reads; the buffer."""
    program.buffer("x", k)
    # Without this the buffer holds what memory held, subnormal numbers perhaps, and those are slow.
    program.embedding("x", np.ones((1, k), np.float32))
    if not of_codes(name):
        return "x"
    program.buffer("codes", k, quantized=True)
    program.quantize("codes", "x", rule="absmax127")
    return "codes"


def _record_matmul(bench: _Bench, program: _core.Program, name: str, x: str, n: int, k: int) -> None:
    if name in DTYPES:
        program.matmul("y", x, bench.pages.take(DTYPES[name], n, k))
        return
    multiply = program.matmul_int8 if of_codes(name) else program.matmul_coded
    multiply("y", x, CODED[name](bench.pages, n, k))


def _matmul_probe(bench: _Bench, name: str, k: int, tokens: int, seconds: float) -> Probe:
    """Multiply-adds per second of a matmul for `tokens` tokens with rows of k, as many as take about `seconds`."""
    element = _element_bytes(bench, name, k)
    largest = max(1, int(bench.pages.bytes.size // 4 // (k * element)) // _STRIP) * _STRIP
    strips = _STRIP * bench.threads  # a strip for each thread
    program, n = bench.program(), min(strips * (16 if tokens == 1 else 1), largest)
    for trial in (True, False):
        program = bench.program()
        program.buffer("y", n)
        x = _record_input(program, name, k)
        first = len(program.operations)
        places = 1 if trial else max(1, min(64, int(bench.pages.bytes.size // (n * k * element))))
        for _ in range(places):
            _record_matmul(bench, program, name, x, n, k)
        bench.seconds(program, 0, first + 1, tokens)
        if trial:
            rate = n * k * tokens / bench.seconds(program, first, first + 1, tokens)
            n = min(max(1, round(rate * seconds / (k * tokens * strips))) * strips, largest)
    turns = _cycle(first, places)
    return lambda: n * k * tokens / _turn(bench, program, next(turns), tokens)


def _cycle(first: int, count: int) -> Iterator[int]:
    while True:
        yield from range(first, first + count)


def _turn(bench: _Bench, program: _core.Program, operation: int, tokens: int) -> float:
    return bench.seconds(program, operation, operation + 1, tokens)


def _record_attention(bench: _Bench, dtype: str, shared: int, layers: int) -> tuple[_core.Program, int]:
    """A program of `layers` attentions over caches of their own, and the KV heads of each."""
    kv_heads = 2 * bench.threads
    heads, blocks = shared * kv_heads, _POSITIONS // KV_BLOCK
    program = bench.program()
    for name in ("q", "out"):
        program.buffer(name, heads * _HEAD_DIM)
    program.embedding("q", np.ones((1, heads * _HEAD_DIM), np.float32))
    for _ in range(layers):
        keys = bench.pages.take(DTYPES[dtype], blocks, kv_heads, _HEAD_DIM, KV_BLOCK)
        values = bench.pages.take(DTYPES[dtype], blocks, kv_heads, KV_BLOCK, _HEAD_DIM)
        program.attention("out", "q", keys, values, _HEAD_DIM**-0.5)
    return program, kv_heads


def _attention_probe(bench: _Bench, dtype: str, shared: int) -> Probe:
    """Bytes of keys and values per second, for one token."""
    itemsize = DTYPES[dtype].itemsize
    nbytes = 2 * _POSITIONS * 2 * bench.threads * _HEAD_DIM * itemsize
    most = max(1, min(256, bench.pages.bytes.size // 2 // nbytes))
    program, _ = _record_attention(bench, dtype, shared, most)
    bench.seconds(program, 0, 2, 1, _POSITIONS - 1)
    one = bench.seconds(program, 1, 2, 1, _POSITIONS - 1)
    layers = max(1, min(most, round(_ATTENTION_SECONDS / one)))
    starts = _cycle(0, most // layers)

    def measure() -> float:
        first = 1 + next(starts) * layers
        return layers * nbytes / bench.seconds(program, first, first + layers, 1, _POSITIONS - 1)

    return measure


def _prompt_attention_probe(bench: _Bench, dtype: str) -> Probe:
    """Multiply-adds per second for a prompt's tokens, each with those before it."""
    program, kv_heads = _record_attention(bench, dtype, 1, 1)
    pairs = PROMPT_TOKENS * (PROMPT_TOKENS + 1) // 2
    bench.seconds(program, 0, 2, PROMPT_TOKENS)
    return lambda: 2 * pairs * kv_heads * _HEAD_DIM / bench.seconds(program, 1, 2, PROMPT_TOKENS)


def _rows_probe(bench: _Bench) -> Probe:
    """Elements per second of a norm, a rotation and a write to the cache, for a prompt's tokens."""
    width = 1024
    heads, blocks = width // _HEAD_DIM, PROMPT_TOKENS // KV_BLOCK
    keys = np.zeros((blocks, heads, _HEAD_DIM, KV_BLOCK), np.float16)
    values = np.zeros((blocks, heads, KV_BLOCK, _HEAD_DIM), np.float16)
    program = bench.program()
    program.buffer("x", width)
    program.buffer("angles", _HEAD_DIM)
    program.embedding("x", np.ones((1, width), np.float32))
    program.rope_angles("angles", np.ones(_HEAD_DIM // 2, np.float32), 1.0)
    program.rmsnorm("x", "x", np.ones(width, np.float32), 1e-5)
    program.rope("x", "x", "angles")
    program.kv_write("x", "x", keys, values)
    bench.seconds(program, 0, 5, PROMPT_TOKENS)
    # The norm's elements, the rotation's, and the two copies that the cache takes.
    return lambda: 4 * PROMPT_TOKENS * width / bench.seconds(program, 2, 5, PROMPT_TOKENS)
