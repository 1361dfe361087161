"""Factors before four bits: less error than without, and where it must be little."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.quantizer.balance import Channels
from inferno.quantizer.codes import round_rows
from inferno.quantizer.salience import salient
from inferno.quantizer.sites import Site
from inferno.quantizer.stored import widen

PLAIN = Site(0, "made", ("taken",), True, "x")
SHARED = Site(0, "made", ("taken",), False, "attended", heads=2, width=8)
GROUP = 32


def known(seed: int, site: Site):
    """Inputs a few of whose channels are large, and weights: (x_square (k,), weights (rows, k), Channels)."""
    generator = np.random.default_rng(seed)
    square = np.exp(2 * generator.standard_normal(64))
    square[[3, 40]] *= 400
    weights = generator.standard_normal((50, 64))
    if site.heads == 1:
        return square, weights, Channels(np.sqrt(square), square, np.abs(weights).max(0), (weights**2).mean(0))
    summed, largest = (
        found.reshape(-1, site.heads, site.width) for found in (square, (weights**2).mean(0))
    )  # of channels that share a factor
    square = np.repeat(summed.sum(1)[:, None], site.heads, axis=1).reshape(-1)
    shared = summed.sum(1).reshape(-1), largest.sum(1).reshape(-1)
    return square, weights, Channels(np.sqrt(shared[0]), shared[0], np.sqrt(shared[1]), shared[1])


def output_error(square, weights, factors) -> float:
    found = round_rows(weights * factors, 4, GROUP, "F32")
    restored = found.codes * np.repeat(widen(found.scales, "F32"), GROUP, axis=1) / factors
    return float((((restored - weights) ** 2).sum(0) * square).sum())


@pytest.mark.parametrize("site", [PLAIN, SHARED], ids=["one", "shared"])
@pytest.mark.parametrize("seed", range(4))
def test_errs_less(seed, site):
    square, weights, channels = known(seed, site)
    found = salient(channels, weights, site, bits=4, group=GROUP, dtype="F32")
    assert np.log(found).mean() == pytest.approx(0, abs=1e-9)
    factors = np.repeat(found.reshape(-1, 1, site.width), site.heads, axis=1).reshape(-1)
    error = output_error(square, weights, factors)
    assert error < 0.9 * output_error(square, weights, np.ones(64))
    awq = np.repeat(np.sqrt(channels.x_square).reshape(-1, 1, site.width), site.heads, axis=1).reshape(-1)
    assert all(error <= output_error(square, weights, awq**power) * (1 + 1e-4) for power in (1 / 6, 1 / 3, 0.5))


def test_large_inputs_are_rounded_finely():
    _, weights, channels = known(0, PLAIN)
    found = salient(channels, weights, PLAIN, bits=4, group=GROUP, dtype="F32")
    assert found[[3, 40]].min() > 1.25 * np.median(found)


@pytest.mark.parametrize("zero", ["inputs", "weights", "some"])
def test_zeros(zero):
    square, weights, _ = known(1, PLAIN)
    if zero == "some":
        square[5:9] = 0
        weights[:, 7:12] = 0
    square, weights = square * (zero != "inputs"), weights * (zero != "weights")
    channels = Channels(np.sqrt(square), square, np.abs(weights).max(0), (weights**2).mean(0))
    found = salient(channels, weights, PLAIN, bits=4, group=GROUP, dtype="F32")
    assert np.isfinite(found).all()
    assert (found > 0).all()
