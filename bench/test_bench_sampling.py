"""What choosing a token costs: run with `pytest bench/test_bench_sampling.py`.

Logits are random, with twenty tokens above the rest, as a language model's are. Each call draws at a new position.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from inferno import _core

VOCABULARIES = [49152, 128256]  # SmolLM2's, Llama 3's
RULES = {
    "greedy": {"temperature": 0.0},
    "plain": {},
    "top_k 50, top_p 0.9": {"top_k": 50, "top_p": 0.9},
    "top_p 0.9": {"top_p": 0.9},
    "min_p 0.05": {"min_p": 0.05},
    "top_k 50, penalties": {"top_k": 50, "repetition_penalty": 1.1, "frequency_penalty": 0.1},
    "top_p 0.9, temperature 2": {"top_p": 0.9, "temperature": 2.0},  # so flat that half the vocabulary is left
}

pytestmark = pytest.mark.parametrize("n", VOCABULARIES)


def logits(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n).astype(np.float32) * np.float32(2.5)
    x[rng.integers(0, n, 20)] += np.linspace(8, 14, 20, dtype=np.float32)
    return x


def test_argmax(benchmark: BenchmarkFixture, isa: str, n: int) -> None:
    benchmark(_core.argmax, logits(n), isa=isa)


@pytest.mark.parametrize("rule", RULES)
def test_sample(benchmark: BenchmarkFixture, isa: str, n: int, rule: str) -> None:
    x, positions = logits(n), itertools.count()
    sampler = _core.Sampler(n, isa=isa, **RULES[rule])
    sampler.observe_prompt(range(1000))
    benchmark(lambda: sampler.sample(x, next(positions)))


def test_sample_with_20_logprobs(benchmark: BenchmarkFixture, isa: str, n: int) -> None:
    x, positions = logits(n), itertools.count()
    sampler = _core.Sampler(n, temperature=0.0, isa=isa)
    benchmark(lambda: sampler.sample(x, next(positions), logprobs=20))
