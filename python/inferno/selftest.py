"""The kernels of every tier on small random inputs: whether this build computes on this CPU what it should.

The scalar tier is held against NumPy in float64, every other tier against scalar. Where arithmetic is exact the results
must be equal; elsewhere each of the two may be off by the bound that follows from the roundings of its contract
(csrc/kernels), so together by twice that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inferno import _core
from inferno.selftest_case import Case, Float64
from inferno.selftest_cases import cases

REFERENCE_TIER = "scalar"


@dataclass(frozen=True)
class Check:
    """One operation on one tier. `detail` says how near it came, or what went wrong."""

    operation: str
    weight_type: str
    tier: str
    passed: bool
    detail: str


def run_selftest(tiers: tuple[str, ...] | None = None) -> list[Check]:
    """Every operation on `tiers` (None: all that this CPU runs); takes well under a second, on one thread."""
    if tiers is None:
        tiers = tuple(name for name, runs in _core.tiers().items() if runs)
    return [check(case, tier) for case in cases() for tier in tiers]


def check(case: Case, tier: str) -> Check:
    """One case on one tier; an exception is a failure with its text."""
    try:
        got = case.run(tier).astype(np.float64)
        if tier == REFERENCE_TIER:
            other, allowed = case.expected, case.bound
        else:
            other, allowed = case.run(REFERENCE_TIER).astype(np.float64), 2 * np.asarray(case.bound)
        passed, detail = _judge(got, other, np.broadcast_to(np.asarray(allowed, np.float64), got.shape))
    except Exception as error:  # whatever a broken kernel or binding does is what is looked for
        passed, detail = False, f"{type(error).__name__}: {error}"
    return Check(case.operation, case.weight_type, tier, passed, detail)


def _judge(got: Float64, other: Float64, allowed: Float64) -> tuple[bool, str]:
    off = np.abs(got - other)
    wrong = ~(off <= allowed)  # a NaN is wrong too
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        return False, (
            f"{int(wrong.sum())} of {got.size} values wrong; at {list(place)} {got[place]:.9g} instead of "
            f"{other[place]:.9g}, allowed is {allowed[place]:.2g}"
        )
    if not allowed.any():
        return True, "equal"
    share = float((off[allowed > 0] / allowed[allowed > 0]).max())
    return True, f"within {100 * share:.0f} % of the bound"
