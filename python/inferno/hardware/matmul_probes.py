"""The speed of matmuls with weights of every stored type: for one token, and for a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inferno import _core
from inferno.hardware.bench import DTYPES, PROMPT_TOKENS, STRIP, TRIALS, Bench, Probe, cycle, turn
from inferno.hardware.code_matrices import CODED
from inferno.hardware.rates import of_codes

_GEMV_SECONDS, _GEMM_SECONDS = 2e-3, 6e-3


def matmul_probes(bench: Bench, name: str, lengths: Sequence[int]) -> Iterator[tuple[tuple[str, ...], Probe]]:
    """One token's bytes per second and a prompt's multiply-adds per second, for each length of rows."""
    for k in lengths:
        gemv, nbytes = matmul_probe(bench, name, k, 1, _GEMV_SECONDS), element_bytes(bench, name, k)
        yield ("gemv", name, str(k)), lambda probe=gemv, nbytes=nbytes: nbytes * probe()  # type: ignore[misc]
        yield ("gemm", name, str(k)), matmul_probe(bench, name, k, PROMPT_TOKENS, _GEMM_SECONDS)


def element_bytes(bench: Bench, name: str, k: int) -> float:
    """Bytes that an element of a matrix with rows of k takes, its share of the scales among them."""
    if name in DTYPES:
        return DTYPES[name].itemsize
    return CODED[name](bench.pages, STRIP, k).nbytes / (STRIP * k)


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


def _record_matmul(bench: Bench, program: _core.Program, name: str, x: str, n: int, k: int) -> None:
    if name in DTYPES:
        program.matmul("y", x, bench.pages.take(DTYPES[name], n, k))
        return
    multiply = program.matmul_int8 if of_codes(name) else program.matmul_coded
    multiply("y", x, CODED[name](bench.pages, n, k))


def matmul_probe(bench: Bench, name: str, k: int, tokens: int, seconds: float) -> Probe:
    """Multiply-adds per second of a matmul for `tokens` tokens with rows of k, as many as take about `seconds`."""
    element = element_bytes(bench, name, k)
    largest = max(1, int(bench.pages.bytes.size // 4 // (k * element)) // STRIP) * STRIP
    strips = STRIP * bench.threads  # a strip for each thread
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
            # The best of a few: one that was held up would set a size that measures little but the call.
            rate = n * k * tokens / min(bench.seconds(program, first, first + 1, tokens) for _ in range(TRIALS))
            n = min(max(1, round(rate * seconds / (k * tokens * strips))) * strips, largest)
    turns = cycle(first, places)
    return lambda: n * k * tokens / turn(bench, program, next(turns), tokens)
