"""The whole rule by which a token is chosen, each tier against NumPy float64 (tests/helpers/numpy_sampler.py)."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numpy_sampler as reference
from inferno import _core

SIZES = [1, 7, 8, 9, 131, 49152, 128256]
SEED = 0x0123456789ABCDEF


def random_logits(n: int, seed: int = 0, spread: float = 4.0) -> np.ndarray:
    """Float32, 4 bytes past an alignment of 64."""
    room = np.empty(n + 17, np.float32)
    start = (-room.ctypes.data // 4) % 16 + 1
    x = room[start : start + n]
    x[:] = np.random.default_rng(seed).standard_normal(n) * spread
    return x


def tied_logits(n: int, seed: int = 0) -> np.ndarray:
    """Few distinct values, both zeros, and -infinity."""
    values = np.array([-np.inf, -2.0, -0.0, 0.0, 0.5, 1.0, 1.5], np.float32)
    x = np.random.default_rng(seed).choice(values, n)
    x[n // 2] = 1.5
    return x


def sampler(x: np.ndarray, isa: str, **rule: float) -> _core.Sampler:
    return _core.Sampler(len(x), isa=isa, **rule)


# Greedy


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("make", [random_logits, tied_logits])
def test_temperature_zero_is_argmax_whatever_else_is_asked(isa: str, n: int, make) -> None:
    x = make(n)
    for rule in ({}, {"top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 9}):
        s = sampler(x, isa, temperature=0.0, **rule)
        assert [s.sample(x, position) for position in range(3)] == [x.argmax()] * 3
        ids, probabilities = s.distribution(x)
        assert (ids.tolist(), probabilities.tolist()) == ([x.argmax()], [1.0])


# Penalties


@pytest.mark.parametrize(
    "strengths",
    [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.7},
        {"frequency_penalty": 0.7},
        {"presence_penalty": 1.1},
        {"frequency_penalty": -2.0, "presence_penalty": 2.0},
        {"repetition_penalty": 1.2, "frequency_penalty": 0.3, "presence_penalty": -0.4},
    ],
)
@pytest.mark.parametrize("n", [40, 131])
def test_penalties_match_the_reference_through_a_generation(isa: str, n: int, strengths: dict[str, float]) -> None:
    prompt = [3, 0, 3, 5]
    short = {name.split("_")[0]: value for name, value in strengths.items()}
    greedy = _core.Sampler(n, temperature=0.0, isa=isa, **strengths)
    drawing = _core.Sampler(n, top_k=1, isa=isa, **strengths)
    greedy.observe_prompt(prompt[:1])
    greedy.observe_prompt(prompt[1:])
    drawing.observe_prompt(prompt)
    output: list[int] = []
    unpenalized: list[int] = []
    for position in range(30):
        # The same few tokens lead at every step, on both sides of 0, were it not for the penalties.
        x = random_logits(n, seed=99, spread=0.3) + random_logits(n, seed=position, spread=0.2)
        expected = int(reference.penalized(x, prompt, output, **short).argmax())
        assert greedy.sample(x, position) == drawing.sample(x, position) == expected
        output.append(expected)
        unpenalized.append(int(x.argmax()))
    assert output != unpenalized


def test_frequency_and_presence_leave_the_prompt_alone(isa: str) -> None:
    x = np.array([1.0, 0.9, 0.8], np.float32)
    s = _core.Sampler(3, temperature=0.0, frequency_penalty=2.0, presence_penalty=2.0, isa=isa)
    s.observe_prompt([0, 0, 0])
    assert [s.sample(x, i) for i in range(4)] == [0, 1, 2, 0]


def test_repetition_divides_positive_and_multiplies_negative_logits(isa: str) -> None:
    x = np.array([2.0, -1.0, 0.0, -np.inf, 0.5], np.float32)
    s = _core.Sampler(5, repetition_penalty=2.0, isa=isa)
    s.observe_prompt([0, 1, 2, 3])
    _, probabilities = s.distribution(x)
    expected = reference.weights(np.array([1.0, -2.0, 0.0, -np.inf, 0.5], np.float32), 1.0)
    np.testing.assert_allclose(probabilities, expected / expected.sum(), rtol=reference.cdf_error(5), atol=2.0**-40)


# Which tokens are left


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("make", [random_logits, tied_logits])
@pytest.mark.parametrize("top_k", [1, 2, 3, 50, 64, 2004, 2005, 60000])
def test_top_k_leaves_exactly_k(isa: str, n: int, make, top_k: int) -> None:
    x = make(n)
    ids, _ = sampler(x, isa, top_k=top_k).distribution(x)
    if top_k >= n:  # off: everything is left, what is at -infinity with probability 0
        np.testing.assert_array_equal(ids, np.arange(n))
    else:
        np.testing.assert_array_equal(ids, reference.kept_by_min_p_and_top_k(x, 1.0, top_k, 0.0))
        assert len(ids) == min(top_k, np.isfinite(x).sum())


def test_top_k_leaves_fewer_where_fewer_are_finite(isa: str) -> None:
    x = np.full(1000, -np.inf, np.float32)
    x[[3, 500, 501]] = [1, -2, 1]
    for top_k in (4, 16, 17, 999):
        ids, _ = sampler(x, isa, top_k=top_k).distribution(x)
        assert ids.tolist() == [3, 500, 501]


@pytest.mark.parametrize("top_k", [0, -1, 131, 1 << 40])
def test_top_k_is_off(isa: str, top_k: int) -> None:
    x = random_logits(131)
    ids, _ = sampler(x, isa, top_k=top_k).distribution(x)
    np.testing.assert_array_equal(ids, np.arange(131))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("make", [random_logits, tied_logits])
@pytest.mark.parametrize("min_p", [1e-9, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.3, 1.7])
def test_min_p_is_relative_to_the_likeliest(isa: str, n: int, make, min_p: float, temperature: float) -> None:
    x = make(n)
    ids, _ = sampler(x, isa, min_p=min_p, temperature=temperature).distribution(x)
    np.testing.assert_array_equal(ids, reference.kept_by_min_p_and_top_k(x, temperature, 0, min_p))


@pytest.mark.parametrize("min_p", [0.1, 0.5, 0.123456789])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_min_p_decides_between_neighbouring_floats(isa: str, min_p: float, temperature: float) -> None:
    peak = np.float32(3.3)
    bound = float(peak) + temperature * math.log(min_p)
    near = np.float32(bound)
    x = np.array([np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9)), peak], np.float32)
    ids, _ = sampler(x, isa, min_p=min_p, temperature=temperature).distribution(x)
    np.testing.assert_array_equal(ids, np.flatnonzero(x.astype(np.float64) >= bound))
    assert 2 <= len(ids) <= 3


@pytest.mark.parametrize("n", [131, 49152])
@pytest.mark.parametrize(("min_p", "top_k"), [(0.2, 3), (0.2, 40), (0.9, 40), (1e-6, 700)])
def test_min_p_and_top_k_together(isa: str, n: int, min_p: float, top_k: int) -> None:
    for make in (random_logits, tied_logits):
        x = make(n)
        ids, _ = sampler(x, isa, min_p=min_p, top_k=top_k, temperature=0.8).distribution(x)
        np.testing.assert_array_equal(ids, reference.kept_by_min_p_and_top_k(x, 0.8, top_k, min_p))


def check_nucleus(x: np.ndarray, before: np.ndarray, kept: np.ndarray, temperature: float, top_p: float) -> None:
    """`kept` are the first of `before` by rank, just enough for top_p up to what rounding may decide."""
    ranked = before[reference.order(x[before])]
    np.testing.assert_array_equal(kept, np.sort(ranked[: len(kept)]))
    share = np.cumsum(reference.weights(x[ranked], temperature))
    share /= share[-1]
    slack = reference.cdf_error(len(x))
    assert share[len(kept) - 1] >= top_p - slack
    assert len(kept) == 1 or share[len(kept) - 2] < top_p + slack


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("top_p", [1e-9, 0.1, 0.5, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53])
@pytest.mark.parametrize("spread", [0.5, 4.0, 20.0])
def test_top_p_alone(isa: str, n: int, top_p: float, spread: float) -> None:
    x = random_logits(n, spread=spread)
    kept, _ = sampler(x, isa, top_p=top_p, temperature=0.9).distribution(x)
    check_nucleus(x, np.arange(n), kept, 0.9, top_p)


@pytest.mark.parametrize("n", [131, 49152, 128256])
@pytest.mark.parametrize(("top_k", "min_p"), [(50, 0.0), (0, 0.05), (20, 0.05), (3000, 0.0)])
def test_top_p_is_of_what_top_k_and_min_p_left(isa: str, n: int, top_k: int, min_p: float) -> None:
    for seed in range(3):
        x = random_logits(n, seed)
        before = reference.kept_by_min_p_and_top_k(x, 0.7, top_k, min_p)
        kept, _ = sampler(x, isa, top_k=top_k, min_p=min_p, top_p=0.6, temperature=0.7).distribution(x)
        check_nucleus(x, before, kept, 0.7, 0.6)


@pytest.mark.parametrize("n", [8, 64, 100, 128, 4096])
@pytest.mark.parametrize(("top_p", "share"), [(0.5, 0.5), (0.25, 0.25), (0.2500001, 0.2500001), (1e-9, 0.0)])
def test_top_p_among_equals_takes_the_lower_ids(isa: str, n: int, top_p: float, share: float) -> None:
    """Equal logits have a weight of exactly 1, so the count is exact too."""
    x = np.full(n, -1.25, np.float32)
    expected = max(1, math.ceil(share * n))
    for rule in ({}, {"top_k": n - 1}, {"min_p": 0.5}):
        before = n - 1 if "top_k" in rule else n
        kept, probabilities = sampler(x, isa, top_p=top_p, temperature=0.4, **rule).distribution(x)
        count = max(1, math.ceil(share * before)) if before != n else expected
        np.testing.assert_array_equal(kept, np.arange(count))
        np.testing.assert_array_equal(probabilities, 1 / count)


def test_top_p_stops_where_it_is_reached_exactly(isa: str) -> None:
    """The tokens at 0 hold the whole mass, all of which is asked for; those at -60 have none."""
    x = np.array([-60, 0, -60, 0, 0, -60], np.float32)
    for rule in ({}, {"top_k": 5}, {"min_p": 1e-300}):
        kept, _ = sampler(x, isa, top_p=1 - 2**-53, **rule).distribution(x)
        assert kept.tolist() == [1, 3, 4]


# The draw


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 131, 49152, 128256])
def test_among_equals_a_draw_is_exactly_the_generators(isa: str, n: int) -> None:
    """Equal logits: token floor(bits * n / 2^64), up to the edges of a token, which these draws stay clear of."""
    x = np.full(n, 2.5, np.float32)
    for rule in ({}, {"min_p": 0.5}):
        s = _core.Sampler(n, seed=SEED, sample=3, isa=isa, **rule)
        for position in [*range(100), 2**32 + 5, 2**62 + 1]:
            assert s.sample(x, position) == reference.random_bits(SEED, 3, position) * n >> 64


@pytest.mark.parametrize("rule", [{}, {"min_p": 0.5}])
@pytest.mark.parametrize(("n", "parts"), [(2, 2), (8, 8), (64, 4), (128, 2), (4096, 64)])
def test_a_draw_on_the_edge_between_two_tokens(isa: str, n: int, parts: int, rule: dict[str, float]) -> None:
    """An edge belongs to the token after it; the draw just below to the one before."""
    x = np.zeros(n, np.float32)
    for part in range(parts + 1):
        edge = part * (2**64 // parts)
        for bits, token in [(edge, part * n // parts), (edge - 1, part * n // parts - 1)]:
            if 0 <= bits < 2**64:
                sample, position = reference.draw_with_bits(bits, SEED)
                s = _core.Sampler(n, seed=SEED, sample=sample, isa=isa, **rule)
                assert s.sample(x, position) == token


@pytest.mark.parametrize("rule", [{}, {"min_p": 1e-300}, {"top_k": 199}, {"top_p": 0.999}])
def test_the_least_and_the_greatest_draw_fall_on_tokens_with_mass(isa: str, rule: dict[str, float]) -> None:
    x = np.full(200, -np.inf, np.float32)
    x[70:130] = 0
    x[[69, 130]] = -60  # likelier than -infinity, but without mass
    for bits, token in [(0, 70), (2**64 - 1, 129)]:
        sample, position = reference.draw_with_bits(bits, SEED)
        assert sampler(x, isa, seed=SEED, sample=sample, **rule).sample(x, position) == token


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"temperature": 0.6},
        {"top_k": 50, "top_p": 0.9},
        {"top_p": 0.9, "temperature": 0.6},
        {"min_p": 0.02},
        {"min_p": 0.001, "top_k": 200, "top_p": 0.95, "temperature": 1.5},
    ],
)
def test_a_draw_falls_where_the_reference_says(isa: str, n: int, rule: dict[str, float]) -> None:
    x = random_logits(n)
    temperature = rule.get("temperature", 1.0)
    s = sampler(x, isa, seed=SEED, sample=1, **rule)
    ids, probabilities = s.distribution(x)
    before = reference.kept_by_min_p_and_top_k(x, temperature, rule.get("top_k", 0), rule.get("min_p", 0.0))
    if "top_p" in rule:
        check_nucleus(x, before, ids, temperature, rule["top_p"])
    else:
        np.testing.assert_array_equal(ids, before)
    slack = reference.cdf_error(n)
    expected = reference.weights(x[ids], temperature)
    np.testing.assert_allclose(probabilities, expected / expected.sum(), rtol=slack, atol=2.0**-40)
    low, high = reference.draw_intervals(x, ids, temperature)
    for position in range(200):
        at = np.searchsorted(ids, s.sample(x, position))
        point = reference.random_bits(SEED, 1, position) / 2**64
        assert low[at] - slack <= point < high[at] + slack


@pytest.mark.parametrize("make", [random_logits, tied_logits])
def test_tokens_at_minus_infinity_never_come(isa: str, make) -> None:
    x = make(131)
    x[np.arange(131) % 3 != 0] = -np.inf
    for rule in ({}, {"top_p": 0.99}, {"top_k": 130}, {"min_p": 1e-300}):
        s = sampler(x, isa, temperature=5.0, **rule)
        assert all(s.sample(x, position) % 3 == 0 for position in range(300))


@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-6, 1e6, 1e38, 1e300])
def test_extreme_temperatures(isa: str, temperature: float) -> None:
    x = np.array([1.0, 5.0, -np.inf, 5.0, 4.9], np.float32)
    _, probabilities = sampler(x, isa, temperature=temperature).distribution(x)
    expected = [0, 0.5, 0, 0.5, 0] if temperature < 1 else [0.25, 0.25, 0, 0.25, 0.25]
    # 1 / 1e6 of the difference of 4 is 4e-6.
    np.testing.assert_allclose(probabilities, expected, atol=4e-6)


def test_extreme_logits(isa: str) -> None:
    x = np.array([3.4e38, -3.4e38, 3.4e38], np.float32)
    _, probabilities = sampler(x, isa).distribution(x)
    np.testing.assert_array_equal(probabilities, [0.5, 0, 0.5])


def test_a_draw_depends_on_seed_sample_and_position_alone(isa: str) -> None:
    x = random_logits(49152, spread=2.0)
    rule = {"top_p": 0.95, "isa": isa}

    def draws(positions: list[int], seed: int = SEED, sample: int = 2) -> dict[int, int]:
        s = _core.Sampler(len(x), seed=seed, sample=sample, **rule)
        return {position: s.sample(x, position) for position in positions}

    forward = draws(list(range(40)))
    larger = np.zeros(128256, np.float32)
    _core.Sampler(len(larger), isa=isa).sample(larger, 0)  # other contents in this thread's workspace
    assert draws(list(range(40))[::-1]) == forward
    assert draws([17]) == {17: forward[17]}
    with ThreadPoolExecutor(1) as other_thread:
        assert other_thread.submit(draws, list(range(40))).result() == forward
    for changed in (draws(list(range(40)), seed=SEED + (1 << 32)), draws(list(range(40)), sample=3)):
        assert sum(changed[p] == forward[p] for p in range(40)) < 5
    assert len(set(forward.values())) > 30


def test_tiers_agree_on_what_is_left() -> None:
    tiers = [name for name, available in _core.tiers().items() if available]
    x = random_logits(49152)
    for rule in ({"top_k": 50}, {"min_p": 0.01}, {"top_k": 300, "min_p": 0.001, "temperature": 1.4}):
        sets = [sampler(x, isa, **rule).distribution(x)[0].tolist() for isa in tiers]
        assert all(ids == sets[0] for ids in sets)


def test_draws_follow_the_distribution(isa: str) -> None:
    x = np.log(np.array([0.5, 0.25, 0.15, 0.06, 0.04], np.float32))
    s = _core.Sampler(5, seed=1, isa=isa)
    count = 20000
    seen = np.bincount([s.sample(x, position) for position in range(count)], minlength=5)
    p = np.exp(x.astype(np.float64))
    assert (np.abs(seen - count * p) < 4 * np.sqrt(count * p * (1 - p))).all()


def test_logits_are_not_modified(isa: str) -> None:
    x = random_logits(131)
    before = x.copy()
    x.flags.writeable = False
    s = sampler(x, isa, repetition_penalty=1.5, presence_penalty=1.0, top_k=9, top_p=0.8, min_p=0.01)
    s.observe_prompt(range(100))
    for position in range(20):
        s.sample(x, position, logprobs=3)
    np.testing.assert_array_equal(x, before)


def test_threads_may_share_a_sampler(isa: str) -> None:
    x = np.zeros(64, np.float32)
    s = _core.Sampler(64, temperature=0.0, frequency_penalty=0.01, isa=isa)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            tokens = list(pool.map(lambda position: s.sample(x, position), range(64 * 30)))
    finally:
        sys.setswitchinterval(switch)
    # The penalty leads greedy sampling round the vocabulary, so no count was lost.
    np.testing.assert_array_equal(np.bincount(tokens, minlength=64), 30)


# Log-probabilities


def log_softmax(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return wide - (wide.max() + np.log(np.exp(wide - wide.max()).sum()))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("make", [random_logits, tied_logits])
def test_logprobs_are_the_models_own(isa: str, n: int, make) -> None:
    x = make(n)
    s = sampler(x, isa, temperature=0.4, repetition_penalty=1.7, presence_penalty=1.5, top_k=40, seed=5)
    s.observe_prompt([0])
    expected = log_softmax(x)
    first = reference.order(x)
    for position, count in enumerate([0, 1, 5, 20]):
        token, logprob, top = s.sample(x, position, logprobs=count)
        # The logarithm turns a relative error of the sum into an absolute one.
        assert logprob == pytest.approx(expected[token], abs=reference.cdf_error(n))
        finite = min(count, int(np.isfinite(x).sum()))
        assert [i for i, _ in top] == first[:finite].tolist()
        np.testing.assert_allclose([p for _, p in top], expected[first[:finite]], rtol=0, atol=reference.cdf_error(n))


def test_logprobs_are_fewer_where_fewer_are_finite(isa: str) -> None:
    x = np.full(2000, -np.inf, np.float32)
    x[[3, 500, 1501]] = [1, -2, 1]
    for count in (2, 4, 20):
        _, _, top = sampler(x, isa).sample(x, 0, logprobs=count)
        assert [i for i, _ in top] == [3, 1501, 500][:count]


def test_asking_for_logprobs_changes_no_token(isa: str) -> None:
    x = random_logits(49152)
    plain, asking = (sampler(x, isa, top_p=0.9, frequency_penalty=0.5, seed=8) for _ in range(2))
    for position in range(50):
        assert plain.sample(x, position) == asking.sample(x, position, logprobs=5)[0]


# Errors


@pytest.mark.parametrize("n", [1, 9, 131])
@pytest.mark.parametrize("rule", [{"temperature": 0.0}, {}, {"top_k": 1}, {"presence_penalty": 1.0}])
def test_nan_is_an_error_wherever_it_is(isa: str, n: int, rule: dict[str, float]) -> None:
    for at in range(n):
        x = random_logits(n)
        x[at] = np.nan
        s = sampler(x, isa, **rule)
        s.observe_prompt([at])
        message = rf"Sampler.sample: logits must be finite or -infinity; the model produced NaN for token {at}$"
        with pytest.raises(ValueError, match=message):
            s.sample(x, 0)


@pytest.mark.parametrize("rule", [{"temperature": 0.0}, {}])
def test_infinite_logits(isa: str, rule: dict[str, float]) -> None:
    x = np.full(9, -np.inf, np.float32)
    with pytest.raises(ValueError, match=r"at least one of them finite; got -infinity for every token"):
        sampler(x, isa, **rule).sample(x, 0)
    x[8] = np.inf
    with pytest.raises(ValueError, match=r"finite or -infinity; got \+infinity for token 8"):
        sampler(x, isa, **rule).sample(x, 0)


def test_a_refused_sample_counts_no_token(isa: str) -> None:
    s = _core.Sampler(2, temperature=0.0, presence_penalty=2.0, isa=isa)
    with pytest.raises(ValueError, match="NaN"):
        s.sample(np.array([np.nan, 0.0], np.float32), 0)
    assert s.sample(np.array([1.0, 0.0], np.float32), 0) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 0}, r"vocab_size must be in \[1, 8388608\]; got 0"),
        ({"vocab_size": 2**23 + 1}, r"vocab_size must be in \[1, 8388608\]; got 8388609"),
        ({"temperature": -0.5}, r"temperature must be finite and at least 0; got -0.5"),
        ({"temperature": math.nan}, r"temperature must be finite and at least 0; got nan"),
        ({"temperature": math.inf}, r"temperature must be finite and at least 0; got inf"),
        ({"top_k": -2}, r"top_k must be at least 1, or 0 or -1 for off; got -2"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]; got 0.0"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\]; got 1.5"),
        ({"top_p": math.nan}, r"top_p must be in \(0, 1\]; got nan"),
        ({"min_p": -0.1}, r"min_p must be in \[0.0, 1.0\]; got -0.1"),
        ({"min_p": math.nan}, r"min_p must be in \[0.0, 1.0\]; got nan"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty must be above 0, finite and within float32; got 0.0"),
        ({"repetition_penalty": 1e-60}, r"repetition_penalty must be above 0, finite and within float32; got 1e-60"),
        ({"repetition_penalty": math.inf}, r"repetition_penalty must be above 0, finite and within float32; got inf"),
        ({"presence_penalty": 2.5}, r"presence_penalty must be in \[-2.0, 2.0\]; got 2.5"),
        ({"frequency_penalty": math.nan}, r"frequency_penalty must be in \[-2.0, 2.0\]; got nan"),
        ({"seed": -1}, r"seed must be in \[0, 2\^64\); got -1"),
        ({"seed": 2**64}, r"seed must be in \[0, 2\^64\); got 18446744073709551616"),
        ({"sample": -1}, r"sample must be at least 0; got -1"),
        ({"isa": "mmx"}, r"isa=mmx: this CPU has no mmx in this build"),
    ],
)
def test_errors_of_the_rule(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.Sampler(**{"vocab_size": 8, **arguments})


def test_errors_of_the_calls() -> None:
    x = np.zeros(8, np.float32)
    s = _core.Sampler(8, seed=2**64 - 1)
    cases = [
        (lambda: s.sample(x, -1), "Sampler.sample: position must be at least 0; got -1"),
        (lambda: s.sample(x, 0, logprobs=21), r"Sampler.sample: logprobs must be in \[0, 20\], or -1 for none; got 21"),
        (lambda: s.sample(x, 0, logprobs=-2), r"logprobs must be in \[0, 20\], or -1 for none; got -2"),
        (lambda: s.sample(x[:7], 0), r"Sampler.sample: logits must be \(8,\) to match vocab_size; got \(7,\) float32"),
        (lambda: s.sample(x[None], 0), r"Sampler.sample: logits must be a contiguous, aligned 1-d array of float32"),
        (lambda: s.distribution(x.astype(np.float16)), r"Sampler.distribution: logits must be .* got \(8,\) float16"),
        (lambda: s.observe_prompt([0, 8]), r"Sampler.observe_prompt: ids must be in \[0, 8\); got 8"),
        (lambda: s.observe_prompt([-1]), r"Sampler.observe_prompt: ids must be in \[0, 8\); got -1"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
