"""W8A8 beside BF16 of the same shape: `pytest bench/test_bench_quantized.py`. Needs 5 GB of memory, once 3.4 of disk.

The two models take turns in one process, and so do the machine's limits: a neighbour's burst meets all of them alike.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import steps
from inferno.hardware import usable_cpus
from steps import Step

ROUNDS = 21


@dataclass
class Rounds:
    """Seconds of the step in BF16 and in W8A8, and the limit of the latter, round by round."""

    plain: list[float] = field(default_factory=list)
    coded: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step.work()
    return time.perf_counter() - start


def in_turn(plain: Step, coded: Step, rounds: int) -> Rounds:
    """Each round both steps, first one and then the other begins, around the limit of the machine."""
    found = Rounds()
    plain.work()
    coded.work()
    for i in range(rounds):
        order = [(plain, found.plain), (coded, found.coded)]
        (first, its), (second, others) = order if i % 2 else reversed(order)
        its.append(seconds(first))
        found.limits.append(coded.limit())
        others.append(seconds(second))
    return found


def tell(benchmark, report: list[str], coded: Step, found: Rounds, what: str, unit: str) -> None:
    faster = sorted(plain / own for plain, own in zip(found.plain, found.coded, strict=True))
    shares = sorted(coded.amount / own / limit for own, limit in zip(found.coded, found.limits, strict=True))
    ratio, share, limit = (statistics.median(values) for values in (faster, shares, found.limits))
    benchmark.extra_info.update(ratio=ratio, share=share, limit=limit)
    report.append(
        f"{coded.tokens / statistics.median(found.coded):.1f} tokens/s, {ratio:.2f} times BF16's "
        f"{coded.tokens / statistics.median(found.plain):.1f} (rounds {faster[0]:.2f} to {faster[-1]:.2f}); "
        f"{100 * share:.0f} % of {what} ({limit / 1e9:.1f} {unit}; rounds {100 * shares[0]:.0f} to "
        f"{100 * shares[-1]:.0f} %)"
    )


@pytest.mark.parametrize("threads", sorted({1, usable_cpus()}))
def test_decode(benchmark, report, tinyllama: Path, tinyllama_w8a8: Path, threads: int) -> None:
    """One token after another, against the speed at which the same threads read the same mapped weights."""
    plain, coded = (steps.decode(steps.load(folder, threads)) for folder in (tinyllama, tinyllama_w8a8))
    tell(benchmark, report, coded, in_turn(plain, coded, ROUNDS), "the read bandwidth", "GB/s")
    benchmark.pedantic(coded.work, rounds=3)


@pytest.mark.parametrize("threads", sorted({1, usable_cpus()}))
def test_prefill(benchmark, report, tinyllama: Path, tinyllama_w8a8: Path, threads: int) -> None:
    """256 tokens, against vpmaddwd and vpaddd on registers."""
    plain, coded = (steps.prefill(steps.load(folder, threads)) for folder in (tinyllama, tinyllama_w8a8))
    tell(benchmark, report, coded, in_turn(plain, coded, ROUNDS // 2), "the int8 peak", "G multiply-adds/s")
    benchmark.pedantic(coded.work, rounds=2)
