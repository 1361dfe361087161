"""Whole steps: `pytest bench/test_bench_model.py`. Needs 3 GB of memory and, once, 2.2 GB of disk."""

from __future__ import annotations

import statistics
import threading
import time

import numpy as np
import pytest

import steps
from inferno.hardware import usable_cpus
from steps import Step


def against_limit(benchmark, report: list[str], step: Step, rounds: int, what: str, unit: str) -> None:
    """Times the step, each round right after the machine's limit."""
    limits: list[float] = []
    step.work()
    benchmark.pedantic(step.work, setup=lambda: limits.append(step.limit()), rounds=rounds)
    seconds = benchmark.stats.stats.data
    shares = [step.amount / s / limit for s, limit in zip(seconds, limits, strict=True)]
    share, limit = statistics.median(shares), statistics.median(limits)
    benchmark.extra_info.update(share=share, limit=limit)
    report.append(
        f"{step.tokens / statistics.median(seconds):.1f} tokens/s, {100 * share:.0f} % of {what} "
        f"({limit / 1e9:.1f} {unit}; rounds {100 * min(shares):.0f} to {100 * max(shares):.0f} %)"
    )


@pytest.mark.parametrize("threads", sorted({1, usable_cpus()}))
@pytest.mark.parametrize("folder", ["tinyllama", "demo"])
def test_decode(benchmark, report, request, folder, threads):
    """One token, against the speed at which the same threads read the same mapped weights."""
    model = steps.load(request.getfixturevalue(folder), threads)
    against_limit(benchmark, report, steps.decode(model), 21, "the read bandwidth", "GB/s")


@pytest.mark.parametrize("threads", sorted({1, usable_cpus()}))
@pytest.mark.parametrize("folder", ["tinyllama", "demo"])
def test_prefill(benchmark, report, request, folder, threads):
    """256 tokens, against multiply-adds on registers."""
    model = steps.load(request.getfixturevalue(folder), threads)
    against_limit(benchmark, report, steps.prefill(model), 11, "the FMA peak", "G multiply-adds/s")


class BusyThread:
    """A Python thread that never waits."""

    def __enter__(self) -> None:
        self.stop = False
        self.thread = threading.Thread(target=self.spin)
        self.thread.start()

    def __exit__(self, *exc: object) -> None:
        self.stop = True
        self.thread.join()

    def spin(self) -> None:
        while not self.stop:
            sum(range(100))


@pytest.mark.parametrize("threads", sorted({max(1, usable_cpus() - 1), usable_cpus()}))
def test_beside_a_busy_python_thread(benchmark, report, tinyllama, threads):
    """Steps with and without another Python thread that computes, in turn. Python needs a CPU too: with as many threads
    as CPUs the two share one, whatever the engine does.
    """
    model = steps.load(tinyllama, threads)
    sequence = model.new_sequence()

    def step() -> float:
        start = time.perf_counter()
        model.forward(sequence, [5])
        return time.perf_counter() - start

    step()
    alone, beside = [], []
    for _ in range(12):
        alone.append(statistics.median(step() for _ in range(3)))
        with BusyThread():
            beside.append(statistics.median(step() for _ in range(3)))
    ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    benchmark.extra_info["ratio"] = ratio
    report.append(f"a step takes {ratio:.2f} times as long beside a busy Python thread")
    benchmark.pedantic(step, rounds=5)


def test_python_share(benchmark, report, demo):
    """A step's time outside the program's one call: Python, the copy of the logits."""
    model = steps.load(demo)
    sequence = model.new_sequence()
    inside = 0.0
    run = model.program.run

    def timed_run(batch):
        nonlocal inside
        start = time.perf_counter()
        run(batch)
        inside += time.perf_counter() - start

    model.program.run = timed_run
    model.forward(sequence, np.arange(8, dtype=np.int32))
    inside, start = 0.0, time.perf_counter()
    benchmark.pedantic(lambda: model.forward(sequence, [5]), rounds=200)
    share = 1 - inside / (time.perf_counter() - start)
    benchmark.extra_info["python_share"] = share
    report.append(f"{100 * share:.1f} % of a step is spent outside the program")
