"""What a machine was measured to do: typed, interpolated between the sizes that were measured, and as JSON."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Rate:
    """Something per second: the median of several measurements, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Rate:
        """Of at least one measurement."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, low, high)

    def between(self, other: Rate, part: float) -> Rate:
        """The rate `part` of the way to another."""
        pairs = zip((self.median, self.low, self.high), (other.median, other.low, other.high), strict=True)
        return Rate(*(a + (b - a) * part for a, b in pairs))


@dataclass(frozen=True)
class AttentionRates:
    """Attention over one type of cache.

    decode_alone   bytes of keys and values per second, one token, a query head for each KV head
    decode_shared  the same with SHARED_HEADS query heads for each KV head
    prefill        multiply-adds per second, 256 tokens at once
    """

    decode_alone: Rate
    decode_shared: Rate
    prefill: Rate


# Products of codes with codes: rounded activations, measured against integer multiply-adds.
_OF_CODES = "xI8"


def rate_name(operation: str, weight_type: str) -> str:
    """The name under which Limits has the speed of a matmul: by an operation and a stored type of capability.py.

    "BF16" or "U4" is a matmul of float32 with such weights; "I8xI8" one of int8 weights with int8 activations.
    """
    return weight_type + _OF_CODES if operation == "matmul_int8" else weight_type


def of_codes(name: str) -> bool:
    """Whether a rate name is that of a matmul of codes with codes."""
    return name.endswith(_OF_CODES)


# Query heads for each KV head in AttentionRates.decode_shared.
SHARED_HEADS = 8

# By how much the quartiles of a steady machine's peaks may differ, and a kernel exceed its peak.
_STEADY = 1.4
# The share of CPU time below which other programs have taken part of the machine.
_OWN_CPUS = 0.9


@dataclass(frozen=True)
class Limits:
    """How fast this CPU runs this build's kernels with `threads` threads of the tier `isa`.

    key             what the figures hold for: CPU, tier, threads, version, build
    measured        when, as ISO 8601 in UTC
    read_bandwidth  bytes per second, streaming a mapped file with the best of the patterns
    read_pattern    that pattern's name, one of _core.READ_PATTERNS
    fma_peak        float32 multiply-adds per second, on registers
    madd_peak       multiply-adds of 16-bit integers into 32 bits per second, on registers
    call_seconds    one call of a step program, Python's part of it too
    stage_seconds   a stage of the step program that has next to nothing to do: a barrier
    gemv            rate_name -> row length k -> bytes of weights per second, one token
    gemm            rate_name -> row length k -> multiply-adds per second, 256 tokens
    attention       cache type (f32, f16, bf16) -> rates
    rows            elements per second that the operations between matmuls (norms, rotations, cache) go through
    cpu_share       of the threads' time, what the system gave them while they measured; 1 where nobody else computed
    """

    key: Mapping[str, str]
    measured: str
    read_bandwidth: Rate
    read_pattern: str
    fma_peak: Rate
    madd_peak: Rate
    call_seconds: float
    stage_seconds: float
    gemv: Mapping[str, Mapping[int, Rate]]
    gemm: Mapping[str, Mapping[int, Rate]]
    attention: Mapping[str, AttentionRates]
    rows: Rate
    cpu_share: float = 1.0

    @property
    def steady(self) -> bool:
        """Whether the threads had their CPUs to themselves, and the figures agree with each other.

        The spread alone would not tell: a machine that is busy throughout gives figures that agree, all too low.
        """
        if self.cpu_share < _OWN_CPUS:
            return False
        peaks = (self.read_bandwidth, self.fma_peak, self.madd_peak)
        alike = all(peak.high <= _STEADY * peak.low for peak in peaks)
        return (
            alike
            and all(_best(rates) <= _STEADY * self.read_bandwidth.median for rates in self.gemv.values())
            and all(_best(rates) <= _STEADY * self.peak(name).median for name, rates in self.gemm.items())
        )

    def peak(self, name: str) -> Rate:
        """The multiply-adds per second that no matmul of this rate name can exceed."""
        return self.madd_peak if of_codes(name) else self.fma_peak

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the rate names whose speed was not measured, each once."""
        return [name for name in dict.fromkeys(names) if name not in self.gemv or name not in self.gemm]

    @property
    def threads(self) -> int:
        return int(self.key["threads"])

    @property
    def isa(self) -> str:
        return self.key["isa"]

    def gemv_rate(self, dtype: str, k: int) -> Rate:
        """Bytes of weights per second for rows of k and one token. KeyError: no such type."""
        return interpolated(self.gemv[dtype], k)

    def gemm_rate(self, dtype: str, k: int) -> Rate:
        """Multiply-adds per second for rows of k and 256 tokens. KeyError: no such type."""
        return interpolated(self.gemm[dtype], k)

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and values, for json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Limits:
        """What as_json gave. Raises ValueError for anything else, numbers that are no positive ones among it."""
        try:
            return _limits(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"limits: must be as Limits.as_json writes them; got {type(error).__name__}") from None


def interpolated(rates: Mapping[int, Rate], k: int) -> Rate:
    """The rate at k, linear in log k; beyond the measured ends, the end's."""
    known = sorted(rates)
    place = bisect_left(known, k)
    if place == len(known):
        return rates[known[-1]]
    if known[place] == k or place == 0:
        return rates[known[place]]
    below, above = known[place - 1], known[place]
    return rates[below].between(rates[above], math.log(k / below) / math.log(above / below))


def _limits(data: Any) -> Limits:
    key = {str(name): str(value) for name, value in data["key"].items()}
    int(key["threads"])
    return Limits(
        key=key,
        measured=str(data["measured"]),
        read_bandwidth=_rate(data["read_bandwidth"]),
        read_pattern=str(data["read_pattern"]),
        fma_peak=_rate(data["fma_peak"]),
        madd_peak=_rate(data["madd_peak"]),
        call_seconds=_positive(data["call_seconds"]),
        stage_seconds=_positive(data["stage_seconds"]),
        gemv=_by_length(data["gemv"]),
        gemm=_by_length(data["gemm"]),
        attention={str(name): _attention(rates) for name, rates in data["attention"].items()},
        rows=_rate(data["rows"]),
        cpu_share=_positive(data["cpu_share"]),
    )


def _best(rates: Mapping[int, Rate]) -> float:
    return max(rate.median for rate in rates.values())


def _by_length(data: Any) -> dict[str, dict[int, Rate]]:
    tables = {str(dtype): {int(k): _rate(rate) for k, rate in rates.items()} for dtype, rates in data.items()}
    if not all(table and min(table) > 0 for table in tables.values()):
        raise ValueError("limits: every dtype must have rates for positive row lengths")
    return tables


def _attention(data: Any) -> AttentionRates:
    return AttentionRates(_rate(data["decode_alone"]), _rate(data["decode_shared"]), _rate(data["prefill"]))


def _rate(data: Any) -> Rate:
    return Rate(_positive(data["median"]), _positive(data["low"]), _positive(data["high"]))


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError("limits: a number must be positive and finite")
    return float(value)
