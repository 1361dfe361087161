"""The self-test: it covers every kernel, passes on every tier, and sees what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inferno import _core, capability
from inferno.selftest import check, run_selftest
from inferno.selftest_case import Case
from inferno.selftest_cases import cases


def test_every_kernel_is_tried():
    tried = {(case.operation, case.weight_type) for case in cases()}
    assert tried == {*capability.KERNELS, ("sampling", "-")}


def test_every_tier_passes(isa):
    found = run_selftest((isa,))
    assert [done for done in found if not done.passed] == []
    assert {done.tier for done in found} == {isa}


def test_all_tiers_that_run_are_tried():
    assert {done.tier for done in run_selftest()} == {name for name, runs in _core.tiers().items() if runs}


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case.operation}-{case.weight_type}")
def test_a_wrong_value_is_seen(case):
    """One value off by twice what is allowed: in scalar against the truth, in another tier against scalar."""
    for wrong in ("scalar", "other"):
        done = check(replace(case, run=lambda tier, wrong=wrong: off_by_one_value(case, tier == wrong)), wrong)
        assert not done.passed
        assert f"1 of {case.expected.size} values wrong" in done.detail


def off_by_one_value(case: Case, wrong: bool) -> np.ndarray:
    got = case.run("scalar").astype(np.float64)
    if wrong:
        place = np.unravel_index(got.size // 2, got.shape)
        got[place] += 4 * np.broadcast_to(case.bound, got.shape)[place] + 1e-6 * max(abs(got[place]), 1e-3)
    return got


def test_a_nan_is_wrong():
    case = Case("a", "-", lambda _: np.array([1.0, np.nan]), np.ones(2), 1.0)
    assert check(case, "scalar").detail.startswith("1 of 2 values wrong; at [1] nan instead of 1, allowed is 1")


def test_an_exception_is_a_failure():
    def run(_):
        raise ValueError("no such kernel")

    done = check(Case("a", "-", run, np.ones(2)), "scalar")
    assert (done.passed, done.detail) == (False, "ValueError: no such kernel")


def test_how_near_it_came():
    case = Case("a", "-", lambda _: np.array([1.0, 1.5]), np.ones(2), 1.0)
    assert check(case, "scalar").detail == "within 50 % of the bound"
    assert check(replace(case, expected=np.array([1.0, 1.5]), bound=0.0), "scalar").detail == "equal"
