"""How much of each input channel to move into the weights: the factors for which int8 errs least.

Inputs x are divided by s, channel by channel, and weights multiplied by it. What then is rounded errs by a uniform
step: a token's by its largest |x_j / s_j| / 127, a row's by its largest |w_ij s_j| / 127.5. To first order the squared
error of all outputs together is, but for a constant, E(s) = A B + C D with

    A = sum_t max_j (x_tj / s_j)^2 / 127^2        B = sum_ij (w_ij s_j)^2
    C = sum_i max_j (w_ij s_j)^2 / 127.5^2        D = sum_tj (x_tj / s_j)^2

SmoothQuant (Xiao et al., 2023) takes s_j = max_t|x_tj|^a / max_i|w_ij|^(1 - a), with one a for a model. Here

    log s_j = p log max_t|x_tj| + q log rms_t x_tj + r log rms_i w_ij

with p, q and r of each site's own: log E is convex in them, so gradient descent finds its one minimum. A factor of its
own for each channel does better on the text at hand and worse on another: of most channels a text shows the largest
inputs too rarely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inferno.quantizer.stored import Float64

Float32 = npt.NDArray[np.float32]

# Where SmoothQuant begins, and a fair guess for all sites that were looked at: p, q, r.
_BEGIN = (0.5, 0.1, -0.7)
_STEPS = 50
_RATE = 0.05
# Maxima are taken as norms of this power of the squares, which have a gradient everywhere.
_POWER = 8
# Channels that are never used, or have no weight, are taken for this share of the largest: their factor stays finite.
_LEAST = 1e-4


@dataclass(frozen=True)
class Channels:
    """What is known of a site's channels, (channels,) each.

    x_max, x_square: the largest input and the mean of squares over all tokens. w_max, w_square: the same of the weights
    over all rows. Of channels that share a factor, x_max and w_max are the largest, the squares are sums.
    """

    x_max: Float64
    x_square: Float64
    w_max: Float64
    w_square: Float64


@dataclass(frozen=True)
class Sample:
    """Squares of some tokens' inputs (tokens, channels) and of some rows of the weights (rows, channels).

    Of channels that share a factor, the largest. A token's squares are multiplied by what its error counts.
    """

    inputs: Float32
    weights: Float32


def balanced(channels: Channels, sample: Sample) -> Float64:
    """The factors (channels,) of least error, of geometric mean 1."""
    logs = np.stack([np.log(raised(channels.x_max))] + [
        np.log(raised(np.sqrt(square))) for square in (channels.x_square, channels.w_square)
    ])  # fmt: skip
    logs -= logs.mean(axis=1, keepdims=True)
    inputs, weights = (np.maximum(found, np.float32(1e-30)) for found in (sample.inputs, sample.weights))
    # Sums like A and C, over as many tokens and rows as these have.
    x_sum = channels.x_square * len(inputs) * (inputs.sum() / max(channels.x_square.sum() * len(inputs), 1e-30))
    w_sum = channels.w_square * len(weights)
    powers = np.array(_BEGIN)
    momentum, spread = np.zeros(3), np.zeros(3)
    for step in range(1, _STEPS + 1):
        s2 = np.exp(2 * (powers @ logs))
        x_largest, x_share = _soft_max(inputs / s2.astype(np.float32))
        w_largest, w_share = _soft_max(weights * s2.astype(np.float32))
        a, b = x_largest.sum() / 127**2, (w_sum * s2).sum()
        c, d = w_largest.sum() / 127.5**2, (x_sum / s2).sum()
        # d log E / d log s_j, from each of the four sums
        from_inputs = a * w_sum * s2 - (x_largest @ x_share) / 127**2 * b
        from_weights = (w_largest @ w_share) / 127.5**2 * d - c * x_sum / s2
        gradient = logs @ (2 * (from_inputs + from_weights) / (a * b + c * d))
        # Adam (Kingma and Ba, 2015), its rate falling to 0.
        momentum = 0.9 * momentum + 0.1 * gradient
        spread = 0.99 * spread + 0.01 * gradient**2
        mean, root = momentum / (1 - 0.9**step), np.sqrt(spread / (1 - 0.99**step))
        powers -= _RATE * (1 - (step - 1) / _STEPS) * mean / (root + 1e-9)
    factors: Float64 = np.exp(powers @ logs)
    return factors


def by_strength(channels: Channels, strength: float) -> Float64:
    """SmoothQuant's factors of one strength a, from 0 to 1, of geometric mean 1."""
    log_s = strength * np.log(raised(channels.x_max)) - (1 - strength) * np.log(raised(channels.w_max))
    factors: Float64 = np.exp(log_s - log_s.mean())
    return factors


def raised(values: Float64) -> Float64:
    """The values, the least of them a small share of the largest, so that each has a logarithm."""
    return np.maximum(values, max(_LEAST * float(values.max()), 1e-30))


def _soft_max(values: Float32) -> tuple[Float64, Float32]:
    """The norm of each row (rows,), a little above its maximum, and each element's share in it (rows, channels)."""
    largest = values.max(axis=1, keepdims=True)
    # What is far from the largest counts for nothing, and must not become denormal, which is slow.
    powers = np.maximum(values / largest, np.float32(1e-4))
    for _ in range(_POWER.bit_length() - 1):
        np.multiply(powers, powers, out=powers)
    total = powers.sum(axis=1, keepdims=True)
    powers /= total
    return (largest * total ** (1 / _POWER))[:, 0].astype(np.float64), powers
