"""CPUs that this process may use: affinity, cgroup quotas (from made-up trees); names and tiers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from fake_system import cgroups, write_tree
from inferno import _core, hardware
from inferno.hardware.cpus import cpu_model

AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "900000 100000\n"}, 1.5),
        (
            "4:cpu,cpuacct:/d\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "100000", "cpu,cpuacct/d/cpu.cfs_period_us": "50000"},
            2,
        ),
        ("4:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "50000"}, None),
        ("9:memory:/d\n", {"cpu/d/cpu.cfs_quota_us": "10000", "cpu/d/cpu.cfs_period_us": "50000"}, None),
        ("", {}, None),
    ],
)
def test_cpus_are_affinity_capped_by_quota(tmp_path, membership, files, quota):
    root, member = cgroups(tmp_path, membership, files)
    expected = AFFINITY if quota is None else min(AFFINITY, int(np.ceil(quota)))
    assert hardware.usable_cpus(root, member) == expected


def test_affinity_counts_not_cores():
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from inferno import hardware; print(hardware.usable_cpus(), hardware.check_threads(None))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_isa_from_the_environment(monkeypatch):
    monkeypatch.setenv("INFERNO_ISA", "scalar")
    assert hardware.check_isa(None) == "scalar"
    monkeypatch.setenv("INFERNO_ISA", "mmx")
    with pytest.raises(hardware.HardwareError, match=r"INFERNO_ISA=mmx: this CPU has no mmx .*it can run scalar"):
        hardware.check_isa(None)
    assert hardware.check_isa("scalar") == "scalar"


def test_an_unknown_tier_in_the_environment_is_told_and_raises_nothing(monkeypatch):
    monkeypatch.setenv("INFERNO_ISA", "mmx")
    found = hardware.cpus()
    assert found.isa is None
    assert "this CPU has no mmx" in found.isa_reason


def test_the_tier_and_why(monkeypatch):
    monkeypatch.delenv("INFERNO_ISA", raising=False)
    assert (hardware.cpus().isa, hardware.cpus().isa_reason) == (
        _core.choose_tier(),
        "the best that this CPU runs",
    )
    monkeypatch.setenv("INFERNO_ISA", "scalar")
    assert (hardware.cpus().isa, hardware.cpus().isa_reason) == ("scalar", "INFERNO_ISA=scalar")


def test_tiers_are_those_of_the_build():
    assert {tier.name: tier.runs for tier in hardware.cpus().tiers} == _core.tiers()


def test_cpus_tell_affinity_and_quota(tmp_path):
    found = hardware.cpus(*cgroups(tmp_path, "0::/\n", {"cpu.max": "50000 100000"}))
    assert (found.quota, found.usable) == (0.5, 1)
    assert found.affinity == tuple(sorted(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: another\n", "Some CPU @ 2 GHz"),
        ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n", "implementer 0x41, part 0xd0c"),
    ],
)
def test_the_name_of_the_cpu(tmp_path, text, name):
    assert cpu_model(write_tree(tmp_path, {"cpuinfo": text})) == name
