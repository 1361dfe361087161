"""The limits of a machine of round numbers, so that nothing has to be measured."""

from __future__ import annotations

from collections.abc import Mapping

from inferno.hardware import AttentionRates, Limits, Rate


def round_limits(key: Mapping[str, str] | None = None) -> Limits:
    """10^10 of everything each second, 10 % more or less; a microsecond for a call and for a stage."""
    rate = Rate(1e10, 0.9e10, 1.1e10)
    sizes = {64: rate, 4096: rate}
    types = ("F32", "F16", "BF16")
    return Limits(
        key=key or {"threads": "2", "isa": "scalar"},
        measured="2026-01-31T00:00:00+00:00",
        read_bandwidth=rate,
        read_pattern=None,
        fma_peak=rate,
        call_seconds=1e-6,
        stage_seconds=1e-6,
        gemv=dict.fromkeys(types, sizes),
        gemm=dict.fromkeys(types, sizes),
        attention=dict.fromkeys(("f32", "f16", "bf16"), AttentionRates(rate, rate, rate)),
        rows=rate,
    )
