"""Measuring the machine's limits with the kernels and the step program that a model uses.

All rates are measured in turn, round after round, so that a neighbour's burst meets each of them alike, and a rate is
the median of its rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from time import perf_counter

import numpy as np

from inferno import _core
from inferno._core import KV_BLOCK
from inferno.hardware.bench import DTYPES, PROMPT_TOKENS, TRIALS, Bench, Probe, cycle, record_stages
from inferno.hardware.matmul_probes import matmul_probes
from inferno.hardware.rates import SHARED_HEADS, AttentionRates, Limits, Rate
from inferno.hardware.stand_in import Pages
from inferno.progress import Progress

ROW_LENGTHS = (128, 256, 576, 1024, 1536, 2048, 4096, 8192)

_ROUNDS = 9
_BUDGET = 3.5  # seconds for all rounds; the first one is finished whatever it takes
_READ_BYTES = 128 << 20
_PEAK_SECONDS, _ATTENTION_SECONDS = 20e-3, 3e-3
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
        bench = Bench(int(key["threads"]), key["isa"], pages or Pages())
        rates = _in_turn(dict(_probes(bench)), rounds, _BUDGET, progress)
    finally:
        progress.finish()
    return _limits(key, bench, rates)


def measure_types(
    known: Limits, types: Sequence[str], progress: Progress, rounds: int = _ROUNDS, pages: Pages | None = None
) -> Limits:
    """The known limits with these types of codes, each a name of code_matrices.CODED."""
    progress.start(_CODED_LABEL.format(", ".join(types)), rounds)
    try:
        bench = Bench(known.threads, known.isa, pages or Pages())
        _read_probe(bench, known.read_pattern)  # brings the pages into memory
        probes: dict[tuple[str, ...], Probe] = {("fma",): _fma_probe(bench)}  # counts the CPU time beside them
        for name in types:
            probes.update(matmul_probes(bench, name, CODED_LENGTHS))
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


def _limits(key: dict[str, str], bench: Bench, rates: dict[tuple[str, ...], Rate]) -> Limits:
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


def _probes(bench: Bench) -> Iterator[tuple[tuple[str, ...], Probe]]:
    for pattern in _core.READ_PATTERNS:
        yield ("read", pattern), _read_probe(bench, pattern)
    yield ("fma",), _fma_probe(bench)
    yield ("madd",), _peak_probe(bench, _core.madd_peak)
    yield ("stages",), _stage_probe(bench)
    for dtype in DTYPES:
        yield from matmul_probes(bench, dtype, ROW_LENGTHS)
        yield ("alone", dtype), _attention_probe(bench, dtype, 1)
        yield ("shared", dtype), _attention_probe(bench, dtype, SHARED_HEADS)
        yield ("prefill", dtype), _prompt_attention_probe(bench, dtype)
    yield ("rows",), _rows_probe(bench)


def _read_probe(bench: Bench, pattern: str) -> Probe:
    """Bytes per second of streaming the pages; the first call also brings them into memory."""
    places = max(1, bench.pages.bytes.size // _READ_BYTES)

    def measure() -> float:
        data = bench.pages.take(np.dtype(np.uint8), bench.pages.bytes.size // places)
        return _core.read_bandwidth(data, threads=bench.threads, isa=bench.isa, pattern=pattern)

    for _ in range(places):
        measure()
    return measure


def _fma_probe(bench: Bench) -> Probe:
    probe = _peak_probe(bench, _core.fma_peak)
    return lambda: bench.counted(probe)


def _peak_probe(bench: Bench, peak: Callable[..., float]) -> Probe:
    def measure(rounds: int) -> float:
        return peak(threads=bench.threads, rounds=rounds, isa=bench.isa)

    start = perf_counter()
    measure(20_000)
    rounds = max(20_000, int(20_000 * _PEAK_SECONDS / (perf_counter() - start)))
    return lambda: measure(rounds)


def _stage_probe(bench: Bench) -> Probe:
    """Stages per second."""
    program = record_stages(bench.program(), _STAGES)
    bench.seconds(program, 0, _STAGES)
    return lambda: _STAGES / bench.seconds(program, 0, _STAGES)


def _record_attention(bench: Bench, dtype: str, shared: int, layers: int) -> tuple[_core.Program, int]:
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


def _attention_probe(bench: Bench, dtype: str, shared: int) -> Probe:
    """Bytes of keys and values per second, for one token."""
    itemsize = DTYPES[dtype].itemsize
    nbytes = 2 * _POSITIONS * 2 * bench.threads * _HEAD_DIM * itemsize
    most = max(1, min(256, bench.pages.bytes.size // 2 // nbytes))
    program, _ = _record_attention(bench, dtype, shared, most)
    bench.seconds(program, 0, 2, 1, _POSITIONS - 1)
    one = min(bench.seconds(program, 1, 2, 1, _POSITIONS - 1) for _ in range(TRIALS))
    layers = max(1, min(most, round(_ATTENTION_SECONDS / one)))
    starts = cycle(0, most // layers)

    def measure() -> float:
        first = 1 + next(starts) * layers
        return layers * nbytes / bench.seconds(program, first, first + layers, 1, _POSITIONS - 1)

    return measure


def _prompt_attention_probe(bench: Bench, dtype: str) -> Probe:
    """Multiply-adds per second for a prompt's tokens, each with those before it."""
    program, kv_heads = _record_attention(bench, dtype, 1, 1)
    pairs = PROMPT_TOKENS * (PROMPT_TOKENS + 1) // 2
    bench.seconds(program, 0, 2, PROMPT_TOKENS)
    return lambda: 2 * pairs * kv_heads * _HEAD_DIM / bench.seconds(program, 1, 2, PROMPT_TOKENS)


def _rows_probe(bench: Bench) -> Probe:
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
