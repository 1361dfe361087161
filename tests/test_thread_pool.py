"""The thread pool: forks, more threads than CPUs, several callers, sleep when idle, and life after an error."""

from __future__ import annotations

import multiprocessing
import threading
import time
import warnings

import numpy as np
import pytest

from children import in_child
from inferno import _core
from kernel_arrays import bits

WIDTH = 96


class Chain:
    """A program of many short stages: embedding, then one matmul after another, each waiting for the last."""

    def __init__(self, seed: int = 0, links: int = 20, width: int = WIDTH) -> None:
        rng = np.random.default_rng(seed)
        self.program = _core.Program()
        for name in ("x0", "x1"):
            self.program.buffer(name, width)
        self.program.embedding("x0", rng.standard_normal((7, width), dtype=np.float32))
        for link in range(links):
            w = rng.standard_normal((width, width), dtype=np.float32) / np.float32(width**0.5)
            self.program.matmul(f"x{1 - link % 2}", f"x{link % 2}", w)

    def run(self, threads: int, tokens: int = 9) -> np.ndarray:
        ids = np.arange(tokens, dtype=np.int32) % 7
        one, none = np.array([tokens], np.int32), np.empty(0, np.int32)
        table = np.zeros((1, -(-tokens // 32)), np.int32)
        self.program.run(ids, one, np.zeros(1, np.int32), table, none, threads=threads)
        return bits(self.program.read("x0"))


@pytest.mark.parametrize("threads", [2, 3, 16, 64])
def test_any_number_of_threads_gives_equal_bits(threads: int) -> None:
    """Also more than there are CPUs: those that wait must let those that work run."""
    chain = Chain()
    expected = chain.run(1)
    for _ in range(10):
        np.testing.assert_array_equal(chain.run(threads), expected)


def test_regions_may_shrink_and_grow() -> None:
    chain = Chain()
    expected = chain.run(1)
    for threads in [4, 1, 2, 7, 3, 2, 8, 1, 5] * 5:
        np.testing.assert_array_equal(chain.run(threads), expected)


def test_forked_child_computes_the_same_and_so_does_its_parent() -> None:
    chain = Chain()
    expected = chain.run(4)

    def child() -> None:
        for threads in (4, 1, 6):
            np.testing.assert_array_equal(chain.run(threads), expected)

        def grandchild() -> None:
            np.testing.assert_array_equal(chain.run(3), expected)

        assert in_child(grandchild) == 0

    for _ in range(5):
        assert in_child(child) == 0
        np.testing.assert_array_equal(chain.run(4), expected)


def test_multiprocessing_with_fork() -> None:
    chain = Chain()
    expected = chain.run(3)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def child() -> None:
        results.put(chain.run(3))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, in newer Pythons
        processes = [context.Process(target=child) for _ in range(2)]
        for process in processes:
            process.start()
    for _ in processes:
        np.testing.assert_array_equal(results.get(timeout=60), expected)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    np.testing.assert_array_equal(chain.run(3), expected)


def test_forks_while_another_thread_computes() -> None:
    """The child owns no half-finished region: its own programs run."""
    busy, mine = Chain(1, width=600), Chain(2)  # the one is in a region nearly all the time
    expected, busy_expected = mine.run(2), busy.run(2)
    stop = threading.Event()
    wrong: list[str] = []

    def work() -> None:
        while not stop.is_set():
            if not np.array_equal(busy.run(2), busy_expected):
                wrong.append("the parent's other thread got other bits")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(20):
            assert in_child(lambda: np.testing.assert_array_equal(mine.run(2), expected)) == 0
    finally:
        stop.set()
        worker.join(60)
    assert not worker.is_alive()
    assert wrong == []


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_two_callers_at_once(threads: int) -> None:
    """Regions take turns: two programs on two Python threads neither deadlock nor mix."""
    chains = [Chain(seed) for seed in range(2)]
    expected = [chain.run(1) for chain in chains]
    equal: list[bool] = []

    def work(chain: Chain, bits_of_one: np.ndarray, count: int) -> None:
        equal.extend(np.array_equal(chain.run(count), bits_of_one) for _ in range(50))

    callers = [
        threading.Thread(target=work, args=(chain, want, threads + index), daemon=True)
        for index, (chain, want) in enumerate(zip(chains, expected, strict=True))
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive(), "deadlock"
    assert equal == [True] * 100


def test_workers_sleep_when_idle() -> None:
    """They spin for a fraction of a millisecond; 50 ms leaves room for the interpreter and a slow machine."""
    Chain().run(4)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


def test_an_error_leaves_the_pool_usable() -> None:
    chain = Chain()
    expected = chain.run(4)
    for _ in range(3):
        with pytest.raises(ValueError, match="token ids must be in"):
            chain.program.run(
                np.array([7], np.int32),
                np.ones(1, np.int32),
                np.zeros(1, np.int32),
                np.zeros((1, 1), np.int32),
                np.empty(0, np.int32),
                threads=4,
            )
        np.testing.assert_array_equal(chain.run(4), expected)


def test_other_python_threads_run_meanwhile() -> None:
    """The GIL is released for the whole run: a Python thread gets to run well inside one long call."""
    chain = Chain(links=2, width=3000)
    chain.run(1)
    moments: list[float] = []
    done = threading.Event()

    def note() -> None:
        while not done.is_set():
            moments.append(time.perf_counter())
            time.sleep(0.001)

    noter = threading.Thread(target=note)
    noter.start()
    start = time.perf_counter()
    chain.run(1, tokens=600)
    end = time.perf_counter()
    done.set()
    noter.join(60)
    margin = (end - start) / 10
    assert any(start + margin < moment < end - margin for moment in moments), f"none in {end - start:.3f} s"
