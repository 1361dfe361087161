"""The forecast beside what is then measured: `pytest bench/test_bench_forecast.py`. Needs 3 GB of memory."""

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


def forecast_of(folder: Path, threads: int) -> Forecast:
    """From limits that are measured now: the machine may be another one than a minute ago."""
    plan = make_plan(analyze_folder(folder), threads=threads, ctx_size=steps.CONTEXT)
    limits = hardware.limits(plan.threads, plan.isa, measure_again=True)
    return forecast(workload(plan), limits, hardware.available_memory())


def run(model: Model, prompt: int) -> tuple[float, float]:
    """Tokens per second of reading a prompt, and of DECODED tokens after it."""
    sequence = model.new_sequence()
    start = time.perf_counter()
    model.prefill(sequence, np.ones(prompt, np.int32))
    between = time.perf_counter()
    for _ in range(DECODED):
        model.forward(sequence, [5])
    end = time.perf_counter()
    sequence.release()
    return prompt / (between - start), DECODED / (end - between)


def line(what: str, pairs: list[tuple[float, float]]) -> str:
    ratios = [measured / expected for measured, expected in pairs]
    measured, expected = (statistics.median(values) for values in zip(*pairs, strict=True))
    return (
        f"{what}: forecast {expected:.1f} tokens/s, measured {measured:.1f}, ratio {statistics.median(ratios):.2f} "
        f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
    )


@pytest.mark.parametrize("threads", sorted({1, hardware.usable_cpus()}))
@pytest.mark.parametrize("folder", ["tinyllama", "demo"])
def test_forecast(benchmark, report, request, folder, threads):
    """Each round forecasts, then runs."""
    path = request.getfixturevalue(folder)
    model = steps.load(path, threads)
    run(model, 8)
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        expected = forecast_of(path, threads)
        for prompt in PROMPTS:
            read, decoded = run(model, prompt)
            middle = expected.decode_at(prompt + DECODED // 2)
            found.setdefault(f"decode after {prompt} tokens", []).append((decoded, middle.expected))
            found.setdefault(f"prompt of {prompt} tokens", []).append((read, expected.prefill_of(prompt).expected))
    for what, pairs in found.items():
        ratios = [measured / forecasted for measured, forecasted in pairs]
        benchmark.extra_info[what] = statistics.median(ratios)
        report.append(line(what, pairs))
    benchmark.pedantic(lambda: model.forward(model.new_sequence(), [5]), rounds=1)
