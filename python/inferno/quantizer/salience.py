"""How much to raise each column of a weight before few bits round it: the factors for which outputs err least.

Columns that meet large inputs count for more. Multiplied by s, their inputs divided by it, they are rounded more finely
at the expense of the others in their group (AWQ: Lin et al., 2023). If inputs are taken for uncorrelated, the squared
error of all outputs together is, but for a constant,

    E(s) = sum_j mean_t(x_tj^2) / s_j^2 sum_i (Q(w_ij s_j) - w_ij s_j)^2

where Q rounds to codes and back. The least of the family

    log s_j = a log rms_t x_tj - b log rms_i w_ij

is taken, a and b of each site's own. AWQ has b = 0, and the mean of |x_tj|.
"""

from __future__ import annotations

import numpy as np

from inferno.quantizer.balance import Channels, raised
from inferno.quantizer.codes import round_rows
from inferno.quantizer.samples import spread
from inferno.quantizer.sites import Site
from inferno.quantizer.stored import Float64, widen

_INPUT_POWERS = tuple(i / 6 for i in range(6))
_WEIGHT_POWERS = tuple(i / 4 for i in range(4))


def salient(channels: Channels, rows: Float64, site: Site, *, bits: int, group: int, dtype: str) -> Float64:
    """The factors (channels,) of least error for some rows (rows, k) of the site's weights, of geometric mean 1."""
    x, w = np.log(raised(np.sqrt(channels.x_square))), np.log(raised(np.sqrt(channels.w_square)))
    least, best = np.inf, np.ones_like(x)
    for a in _INPUT_POWERS:
        for b in _WEIGHT_POWERS:
            log_s = a * x - b * w
            factors: Float64 = np.exp(log_s - log_s.mean())
            columns = spread(factors, site)
            error = _error(rows * columns, spread(channels.x_square, site) / columns**2, bits, group, dtype)
            if error < least:
                least, best = error, factors
    return best


def _error(weights: Float64, importance: Float64, bits: int, group: int, dtype: str) -> float:
    found = round_rows(weights, bits, group, dtype)
    steps = np.repeat(widen(found.scales, dtype), group, axis=1)
    return float((((found.codes * steps - weights) ** 2).sum(axis=0) * importance).sum())
