"""What SamplingParams accepts, what it refuses, and what applies once the model's defaults are joined in."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from inferno import SamplingParams
from inferno.config.generation import GenerationDefaults
from inferno.engine.sampling import MAX_SEED, resolve_sampling
from inferno.errors import InfernoError, UsageError

NOTHING = GenerationDefaults()
NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**400, True, "1", [1.0], 1j]
NO_INTEGERS = [1.0, math.nan, True, "1", [1]]


def refused(name: str, value: object) -> str:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**{name: value})
    assert isinstance(caught.value, InfernoError)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "good", "bad", "expected"),
    [
        ("temperature", [0, 0.0, 1e-30, 2, 1e30], [-0.1], "a finite number at least 0;"),
        ("top_p", [1e-9, 0.5, 1], [0, -0.1, 1.1], "a finite number above 0 and at most 1;"),
        ("min_p", [0, 0.5, 1], [-0.1, 1.1], "a finite number at least 0 and at most 1;"),
        ("repetition_penalty", [0.1, 1, 3], [0, -1], "a finite number above 0;"),
        ("presence_penalty", [-2, 0, 2], [-2.1, 2.1], "a finite number at least -2 and at most 2;"),
        ("frequency_penalty", [-2, 0, 2], [-2.1, 2.1], "a finite number at least -2 and at most 2;"),
    ],
)
def test_numbers(name, good, bad, expected):
    for value in [*good, *(np.float32(g) for g in good if g == 0 or 1e-9 < g < 10), Fraction(1, 2)]:
        assert getattr(SamplingParams(**{name: value}), name) == float(value)
    for value in [*bad, *NO_NUMBERS]:
        message = refused(name, value)
        assert message.startswith(f"SamplingParams: {name} must be {expected} got ")


@pytest.mark.parametrize(
    ("name", "good", "bad", "expected"),
    [
        ("n", [1, 7], [0, -1], "an integer of at least 1;"),
        ("top_k", [-1, 0, 1, 2**31 - 1], [-2, 2**31], "an integer from -1 to 2147483647;"),
        ("seed", [0, 2**63, MAX_SEED], [-1, MAX_SEED + 1], f"an integer from 0 to {MAX_SEED};"),
        ("max_tokens", [1, 10**9], [0, -1], "an integer of at least 1;"),
        ("logprobs", [0, 20], [-1, 21], "an integer from 0 to 20;"),
    ],
)
def test_integers(name, good, bad, expected):
    for value in [*good, np.int64(1)]:
        stored = getattr(SamplingParams(**{name: value}), name)
        assert stored == value
        assert type(stored) is int
    for value in [*bad, *NO_INTEGERS]:
        message = refused(name, value)
        assert message.startswith(f"SamplingParams: {name} must be {expected} got ")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("stop", "", "stop must be a text that is not empty, or a list of them; got ''"),
        ("stop", ["a", ""], "stop must be a text that is not empty, or a list of them; got ['a', '']"),
        ("stop", [1], "stop must be a text that is not empty, or a list of them; got [1]"),
        ("stop", b"a", "stop must be a list; got b'a'"),
        ("stop", 3, "stop must be a list; got 3"),
        ("stop_token_ids", "12", "stop_token_ids must be a list; got '12'"),
        ("stop_token_ids", [1, -1], "stop_token_ids must be an integer of at least 0; got -1"),
        ("stop_token_ids", [1.0], "stop_token_ids must be an integer of at least 0; got 1.0"),
        ("ignore_eos", 1, "ignore_eos must be True or False; got 1"),
        ("skip_special_tokens", None, "skip_special_tokens must be True or False; got None"),
        ("seed", "x" * 500, "got '" + "x" * 56 + "..."),
    ],
)
def test_other_refusals(name, value, expected):
    assert expected in refused(name, value)


def test_stops_become_tuples():
    assert SamplingParams(stop="a").stop == ("a",)
    assert SamplingParams(stop=["a", "b"], stop_token_ids={5, 3}) == SamplingParams(
        stop=("a", "b"), stop_token_ids=[3, 5]
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().n = 2


def test_nothing_said_is_plain_sampling():
    resolved = resolve_sampling(SamplingParams(), NOTHING, frozenset({2}))
    assert (resolved.temperature, resolved.top_p, resolved.top_k, resolved.min_p) == (1.0, 1.0, 0, 0.0)
    assert resolved.repetition_penalty == 1.0
    assert resolved.end_token_ids == {2}


def test_the_model_speaks_where_the_caller_is_silent():
    defaults = GenerationDefaults(
        do_sample=True, temperature=0.6, top_k=40, top_p=0.9, min_p=0.1, repetition_penalty=1.2
    )
    resolved = resolve_sampling(SamplingParams(), defaults, frozenset())
    assert (resolved.temperature, resolved.top_p, resolved.top_k, resolved.min_p) == (0.6, 0.9, 40, 0.1)
    assert resolved.repetition_penalty == 1.2
    own = SamplingParams(temperature=0.1, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
    resolved = resolve_sampling(own, defaults, frozenset())
    assert (resolved.temperature, resolved.top_p, resolved.top_k, resolved.min_p) == (0.1, 1.0, 0, 0.0)
    assert resolved.repetition_penalty == 1.0


def test_do_sample_false_is_greedy_unless_a_temperature_is_given():
    defaults = GenerationDefaults(do_sample=False, temperature=0.6)
    assert resolve_sampling(SamplingParams(), defaults, frozenset()).temperature == 0
    assert resolve_sampling(SamplingParams(temperature=0.5), defaults, frozenset()).temperature == 0.5


def test_a_top_p_of_zero_in_the_file_keeps_one_token():
    resolved = resolve_sampling(SamplingParams(), GenerationDefaults(top_p=0.0), frozenset())
    assert 0 < resolved.top_p < 1e-6


def test_a_seed_is_drawn_where_something_is_drawn():
    seeds = {resolve_sampling(SamplingParams(), NOTHING, frozenset()).seed for _ in range(20)}
    assert len(seeds) > 1
    assert all(isinstance(seed, int) and 0 <= seed <= MAX_SEED for seed in seeds)
    assert resolve_sampling(SamplingParams(temperature=0), NOTHING, frozenset()).seed is None
    assert resolve_sampling(SamplingParams(temperature=0, seed=7), NOTHING, frozenset()).seed == 7


def test_several_greedy_completions_are_refused():
    with pytest.raises(UsageError, match=r"n must be 1 at temperature 0.*got 3; set a temperature above 0"):
        resolve_sampling(SamplingParams(n=3, temperature=0), NOTHING, frozenset())


def test_end_tokens_can_be_ignored():
    resolved = resolve_sampling(SamplingParams(ignore_eos=True, stop_token_ids=[5]), NOTHING, frozenset({2}))
    assert resolved.end_token_ids == frozenset()
    assert resolved.stop_token_ids == {5}
