"""The forecast beside what is then measured: `pytest bench/test_bench_forecast.py`. Needs 3 GB of memory.

Other programs that compute falsify forecast and run, each in either direction. So each round tells the smaller share of
CPU time that the two got, and the median is given twice: of all rounds, and of those that had their CPUs to themselves.
Whether a round counts as such is decided by that share alone, never by its ratio.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest

import steps
from inferno import hardware
from inferno.analysis import analyze_folder, make_plan
from inferno.analysis.forecast import Forecast, forecast, workload
from inferno.models import Model

ROUNDS = 5
PROMPTS = (8, 256, 960)
DECODED = 24
QUIET = 0.95  # of the CPU time that the threads could use


def forecast_of(folder: Path, threads: int) -> Forecast:
    """From limits that are measured now: the machine may be another one than a minute ago."""
    plan = make_plan(analyze_folder(folder), threads=threads, ctx_size=steps.CONTEXT)
    work = workload(plan)
    limits = hardware.limits(plan.threads, plan.isa, types=work.types, measure_again=True)
    return forecast(work, limits, hardware.available_memory())


def run(model: Model, prompt: int) -> tuple[float, float, float]:
    """Tokens per second of reading a prompt, and of DECODED tokens after it; the share of CPU time before and after."""
    before = cpu_share(model.threads)
    sequence = model.new_sequence()
    start = time.perf_counter()
    model.prefill(sequence, np.ones(prompt, np.int32))
    between = time.perf_counter()
    for _ in range(DECODED):
        model.forward(sequence, [5])
    end = time.perf_counter()
    sequence.release()
    return prompt / (between - start), DECODED / (end - between), min(before, cpu_share(model.threads))


def cpu_share(threads: int) -> float:
    """Of the threads' time in a computation that never waits, what the system gave them."""
    wall, cpu = time.perf_counter(), time.process_time()
    hardware.fma_peak(threads, "", rounds=20_000_000)
    return (time.process_time() - cpu) / (threads * (time.perf_counter() - wall))


def line(what: str, rounds: list[tuple[float, float, float]]) -> str:
    """Rounds of (measured, forecast, share of CPU time)."""
    ratios = [measured / expected for measured, expected, _ in rounds]
    quiet = [ratio for ratio, (_, _, share) in zip(ratios, rounds, strict=True) if share >= QUIET]
    told = ", ".join(f"{ratio:.2f} at {100 * share:.0f} %" for ratio, (_, _, share) in zip(ratios, rounds, strict=True))
    middle = f"{statistics.median(quiet):.2f}" if quiet else "none"
    return (
        f"{what}: measured over forecast {statistics.median(ratios):.2f} in all {len(ratios)} rounds, {middle} in the "
        f"{len(quiet)} quiet ones (ratio at CPU share: {told})"
    )


@pytest.mark.parametrize("threads", sorted({1, hardware.usable_cpus()}))
@pytest.mark.parametrize("folder", ["tinyllama", "tinyllama_w8a8", "demo"])
def test_forecast(benchmark, report, request, folder, threads):
    """Each round forecasts, then runs."""
    path = request.getfixturevalue(folder)
    model = steps.load(path, threads)
    run(model, 8)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(ROUNDS):
        expected = forecast_of(path, threads)
        for prompt in PROMPTS:
            read, decoded, share = run(model, prompt)
            share = min(share, expected.limits.cpu_share)
            middle = expected.decode_at(prompt + DECODED // 2)
            found.setdefault(f"decode after {prompt} tokens", []).append((decoded, middle.expected, share))
            found.setdefault(f"prompt of {prompt} tokens", []).append(
                (read, expected.prefill_of(prompt).expected, share)
            )
    for what, rounds in found.items():
        benchmark.extra_info[what] = rounds
        report.append(line(what, rounds))
    benchmark.pedantic(lambda: model.forward(model.new_sequence(), [5]), rounds=1)
