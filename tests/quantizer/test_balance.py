"""Factors of least error: below SmoothQuant's of any strength, and where gradient descent should end."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.quantizer.balance import Channels, Sample, balanced, by_strength


def site(seed: int, tokens: int = 200, rows: int = 90, channels: int = 40):
    """Inputs with a few large channels, weights with others, as (inputs, weights)."""
    generator = np.random.default_rng(seed)
    scale = np.exp(generator.standard_normal(channels))
    scale[:3] *= 20
    inputs = generator.standard_t(4, (tokens, channels)) * scale
    weights = generator.standard_normal((rows, channels)) * np.exp(0.5 * generator.standard_normal(channels))
    return inputs, weights


def known(inputs, weights):
    channels = Channels(np.abs(inputs).max(0), (inputs**2).mean(0), np.abs(weights).max(0), (weights**2).mean(0))
    return channels, Sample((inputs**2).astype(np.float32), (weights**2).astype(np.float32))


def error(inputs, weights, factors) -> float:
    """The module's E, written anew."""
    x, w = (inputs / factors) ** 2, (weights * factors) ** 2
    return x.max(1).sum() / 127**2 * w.sum() + w.max(1).sum() / 127.5**2 * x.sum()


@pytest.mark.parametrize("seed", range(5))
def test_errs_less_than_any_one_strength(seed):
    inputs, weights = site(seed)
    channels, sample = known(inputs, weights)
    strengths = [by_strength(channels, strength) for strength in np.linspace(0, 1, 21)]
    best = min(error(inputs, weights, factors) for factors in strengths)
    found = error(inputs, weights, balanced(channels, sample))
    assert found < 1.02 * best
    assert found < 0.5 * error(inputs, weights, np.ones(40))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_predicted_happens(seed):
    """Rounding to int8 with the factors found errs as E says, within a tenth, and E falls as the true error does."""
    inputs, weights = site(seed, tokens=400, rows=300, channels=200)
    channels, sample = known(inputs, weights)

    def measured(factors) -> float:
        x, w = inputs / factors, weights * factors
        x_scale, w_scale = np.abs(x).max(1, keepdims=True) / 127, np.abs(w).max(1, keepdims=True) / 127.5
        rounded = np.rint(x / x_scale) * x_scale @ (np.rint(w / w_scale) * w_scale).T
        return float(((rounded - inputs @ weights.T) ** 2).sum())

    for factors in (np.ones(200), by_strength(channels, 0.5), balanced(channels, sample)):
        assert measured(factors) == pytest.approx(error(inputs, weights, factors) / 12, rel=0.15)


def test_factors_depend_on_no_common_scale():
    inputs, weights = site(7)
    found = balanced(*known(inputs, weights))
    assert np.log(found).mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(balanced(*known(1000 * inputs, 0.01 * weights)), found, rtol=1e-4)


@pytest.mark.parametrize("empty", ["inputs", "weights", "both"])
def test_channels_of_zeros(empty):
    inputs, weights = site(3)
    if empty != "weights":
        inputs[:, 5:9] = 0
    if empty != "inputs":
        weights[:, 8:12] = 0
    channels, sample = known(inputs, weights)
    for found in (balanced(channels, sample), by_strength(channels, 0.5)):
        assert np.isfinite(found).all()
        assert (found > 0).all()


@pytest.mark.parametrize("zero", ["inputs", "weights"])
def test_nothing_but_zeros(zero):
    inputs, weights = site(3)
    channels, sample = known(inputs * (zero != "inputs"), weights * (zero != "weights"))
    for found in (balanced(channels, sample), by_strength(channels, 0.5)):
        assert np.isfinite(found).all()
        assert (found > 0).all()


def test_strength_zero_and_one():
    channels, _ = known(*site(4))
    flat = by_strength(channels, 0.0) * channels.w_max
    np.testing.assert_allclose(flat, flat[0])
    flat = by_strength(channels, 1.0) / channels.x_max
    np.testing.assert_allclose(flat, flat[0])
