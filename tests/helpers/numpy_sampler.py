"""How a token is chosen, once more, in NumPy float64 and Python integers: the oracle of the sampler's tests."""

from __future__ import annotations

import math

import numpy as np

# Of one weight, relative: three roundings to float32 (difference, 1 / temperature, product) of an exponent of at most
# 28 (beyond, a weight has no mass), and the exponential itself. Twice that, for the sum that divides it errs as well.
WEIGHT_ERROR = 2 * (3 * 28 + 8) * 2.0**-24


def cdf_error(n: int) -> float:
    """Of a share of the whole, when n masses are rounded to multiples of 2^-40."""
    return WEIGHT_ERROR + n * 2.0**-40


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox 4x32-10 as its paper defines it, on Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    mask = 2**32 - 1
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (product1 >> 32) ^ c1 ^ k0, product1 & mask, (product0 >> 32) ^ c3 ^ k1, product0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c0, c1, c2, c3


def random_bits(seed: int, sample: int, position: int) -> int:
    """The 64 bits of a draw."""
    mask = 2**32 - 1
    words = philox((position & mask, position >> 32, sample & mask, sample >> 32), (seed & mask, seed >> 32))
    return words[0] | words[1] << 32


def draw_with_bits(bits: int, seed: int) -> tuple[int, int]:
    """(sample, position) whose draw under this seed has these 64 bits: Philox is a bijection, and here it runs back."""
    mask = 2**32 - 1
    for free in range(1000):
        c0, c1, c2, c3 = bits & mask, bits >> 32, free, 0
        for step in reversed(range(10)):
            k0, k1 = ((seed & mask) + step * 0x9E3779B9) & mask, ((seed >> 32) + step * 0xBB67AE85) & mask
            before0, before2 = c3 * pow(0xD2511F53, -1, 2**32) & mask, c1 * pow(0xCD9E8D57, -1, 2**32) & mask
            c1, c3 = c0 ^ (0xCD9E8D57 * before2 >> 32) ^ k0, c2 ^ (0xD2511F53 * before0 >> 32) ^ k1
            c0, c2 = before0, before2
        sample, position = c2 | c3 << 32, c0 | c1 << 32
        if sample < 2**63 and position < 2**63:
            assert random_bits(seed, sample, position) == bits
            return sample, position
    raise AssertionError("no counter within 63 bits")


def penalized(
    logits: np.ndarray,
    prompt: list[int],
    output: list[int],
    repetition: float = 1.0,
    frequency: float = 0.0,
    presence: float = 0.0,
) -> np.ndarray:
    """Float32 throughout, as the sampler has it: equal bits are expected."""
    x = logits.astype(np.float32, copy=True)
    seen = sorted({*prompt, *output})
    x[seen] = np.where(x[seen] > 0, x[seen] / np.float32(repetition), x[seen] * np.float32(repetition))
    counts = np.bincount(output, minlength=len(x)).astype(np.float32)
    x -= np.float32(frequency) * counts
    return x - np.float32(presence) * (counts > 0).astype(np.float32)


def order(x: np.ndarray) -> np.ndarray:
    """Indices by descending logit, of equal ones the lower first."""
    return np.lexsort((np.arange(len(x)), -x.astype(np.float64)))


def weights(x: np.ndarray, temperature: float) -> np.ndarray:
    """float64, relative to the largest."""
    return np.exp((x.astype(np.float64) - x.astype(np.float64).max()) / temperature)


def kept_by_min_p_and_top_k(x: np.ndarray, temperature: float, top_k: int, min_p: float) -> np.ndarray:
    """Ids, ascending. Exact."""
    kept = np.flatnonzero(x > -np.inf)
    if min_p > 0:
        kept = np.flatnonzero(x.astype(np.float64) >= float(x.max()) + temperature * math.log(min_p))
    if top_k > 0:
        kept = np.sort(kept[order(x[kept])[:top_k]])
    return kept


def nucleus(x: np.ndarray, ids: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """Ids, ascending. At a boundary closer than cdf_error the sampler may decide otherwise."""
    ranked = ids[order(x[ids])]
    share = np.cumsum(weights(x[ranked], temperature))
    count = int(np.searchsorted(share, top_p * share[-1], side="left")) + 1
    return np.sort(ranked[:count])


def draw_intervals(x: np.ndarray, ids: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Where in [0, 1) a draw falls for each of these tokens: from, to."""
    share = np.cumsum(weights(x[ids], temperature))
    share /= share[-1]
    return np.concatenate([[0.0], share[:-1]]), share
