"""How a tier is chosen: by argument, by INFERNO_ISA, or the best that this CPU runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from inferno import _core

RUNNABLE = [name for name, available in _core.tiers().items() if available]


def choose(forced: str | None, code: str = "_core.choose_tier()") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "INFERNO_ISA"}
    if forced is not None:
        environment["INFERNO_ISA"] = forced
    command = [sys.executable, "-c", f"from inferno import _core; print({code})"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_scalar_runs_everywhere() -> None:
    assert RUNNABLE[0] == "scalar"


def test_avx2_needs_all_three_features() -> None:
    features = _core.cpu_features()
    assert set(features) >= {"sse4_2", "avx2", "fma", "f16c"}
    if "avx2" in _core.tiers():
        assert _core.tiers()["avx2"] == (features["avx2"] and features["fma"] and features["f16c"])


def test_features_are_those_the_kernel_lists() -> None:
    try:
        with open("/proc/cpuinfo") as info:
            flags = next(line for line in info if line.startswith("flags")).split()
    except (OSError, StopIteration):
        pytest.skip("/proc/cpuinfo lists no flags: this is not Linux on x86")
    found = _core.cpu_features()
    assert found == {name: name in flags for name in found}


@pytest.mark.parametrize("forced", [None, ""])
def test_the_best_is_the_default(forced: str | None) -> None:
    assert choose(forced).stdout.strip() == RUNNABLE[-1]


@pytest.mark.parametrize("name", RUNNABLE)
def test_environment_forces_a_tier(name: str) -> None:
    assert choose(name).stdout.strip() == name
    assert choose(name, "_core.Program().isa").stdout.strip() == name


def test_argument_goes_before_environment() -> None:
    assert choose("avx512", "_core.choose_tier('scalar')").stdout.strip() == "scalar"


def test_environment_with_what_this_build_lacks_is_an_error() -> None:
    run = choose("nosuch")
    assert run.returncode == 1
    message = "ValueError: INFERNO_ISA=nosuch: this CPU has no nosuch in this build; it can run " + ", ".join(RUNNABLE)
    assert run.stderr.splitlines()[-1] == message


def test_program_names_its_tier(isa: str) -> None:
    assert _core.Program(isa).isa == isa
    with pytest.raises(ValueError, match="isa=nosuch: this CPU has no nosuch in this build"):
        _core.Program("nosuch")
