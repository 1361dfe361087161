"""Statistics of inputs, gathered in pieces, and a sample of them on the disk."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.quantizer.samples import SampleFile, SiteStatistics, shared, spread, spread_evenly
from inferno.quantizer.sites import Site

PLAIN = Site(0, "norm", ("a", "b"), True, "x")
# Three query heads share each key-value head's channels, four of them.
SHARED = Site(0, "v_proj", ("o_proj",), False, "attended", heads=3, width=4)


@pytest.mark.parametrize(("site", "channels"), [(PLAIN, 24), (SHARED, 8)])
def test_statistics_in_pieces(site, channels):
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((50, 24)).astype(np.float32)
    weights = generator.uniform(0.1, 2, 50)
    found = SiteStatistics(channels)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        found.add(inputs[rows], weights[rows], site)
    groups = inputs.astype(np.float64).reshape(50, 2, 3, 4) if site is SHARED else inputs.reshape(50, 1, 1, 24)
    np.testing.assert_allclose(found.x_max, np.abs(groups).max((0, 2)).reshape(-1), rtol=1e-6)
    squares = (groups.astype(np.float64) ** 2).sum(2).reshape(50, -1)
    np.testing.assert_allclose(found.x_square, (squares * weights[:, None]).mean(0), rtol=1e-5)


def test_spread_is_the_inverse_of_sharing():
    factors = np.arange(8.0)
    features = spread(factors, SHARED)
    np.testing.assert_array_equal(shared(features[None], SHARED)[0], np.stack([factors.reshape(2, 4)] * 3, axis=1))
    np.testing.assert_array_equal(spread(np.arange(24.0), PLAIN), np.arange(24.0))


def test_rows_come_back(tmp_path):
    generator = np.random.default_rng(0)
    rows = {PLAIN: generator.standard_normal((9, 24)), SHARED: generator.standard_normal((9, 8))}
    with SampleFile(tmp_path, {PLAIN: 24, SHARED: 8}, 9) as sample:
        assert list(tmp_path.iterdir()) == []
        for begin, end in ((0, 4), (4, 4), (4, 9)):
            for site, values in rows.items():
                sample.add(site, values[begin:end].astype(np.float32))
        for site, values in rows.items():
            np.testing.assert_array_equal(sample.read(site), values.astype(np.float32))


def test_no_more_rows_than_there_is_room(tmp_path):
    with SampleFile(tmp_path, {PLAIN: 2, SHARED: 2}, 3) as sample:
        sample.add(SHARED, np.ones((3, 2), np.float32))
        sample.add(PLAIN, np.full((5, 2), 2, np.float32))
        assert sample.read(PLAIN).tolist() == [[2, 2]] * 3
        assert sample.read(SHARED).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(("total", "wanted"), [(0, 5), (3, 5), (5, 5), (17, 5), (1000, 256)])
def test_spread_evenly(total, wanted):
    found = list(spread_evenly(total, wanted))
    assert len(found) == min(total, wanted)
    assert found == sorted(set(found))
    assert all(0 <= index < total for index in found)
    if total > wanted:
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1
