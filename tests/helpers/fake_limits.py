"""Limits of a made-up machine, in round numbers."""

from __future__ import annotations

from inferno.hardware import AttentionRates, Limits, Rate


def rate(median: float, spread: float = 1.0) -> Rate:
    return Rate(median, median / spread, median * spread)


def make_limits(threads: int = 1, spread: float = 1.0, **changes: object) -> Limits:
    """10 GB/s for every matrix, 100 G multiply-adds/s, 5 GB/s of cache; overheads that are next to nothing."""
    attention = AttentionRates(rate(5e9, spread), rate(1e9, spread), rate(50e9, spread))
    fields: dict[str, object] = {
        "key": {"cpu": "made up", "isa": "scalar", "threads": str(threads), "version": "0", "build": "0"},
        "measured": "2026-01-01T00:00:00+00:00",
        "read_bandwidth": rate(10e9, spread),
        "read_pattern": "2-streams",
        "fma_peak": rate(100e9, spread),
        "madd_peak": rate(200e9, spread),
        "call_seconds": 1e-15,
        "stage_seconds": 1e-15,
        "gemv": {dtype: {256: rate(10e9, spread), 4096: rate(10e9, spread)} for dtype in ("F32", "F16", "BF16")},
        "gemm": {dtype: {256: rate(100e9, spread)} for dtype in ("F32", "F16", "BF16")},
        "attention": dict.fromkeys(("f32", "f16", "bf16"), attention),
        "rows": rate(1e18, spread),
        "cpu_share": 1.0,
    }
    return Limits(**{**fields, **changes})  # type: ignore[arg-type]
