"""What this process may use: affinity, cgroup quotas and limits (from made-up trees), and the measured limits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inferno import _core, hardware


def cgroups(tmp_path: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    return root, tmp_path / "membership"


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


def test_available_memory_is_capped_by_the_cgroup(tmp_path):
    files = {"a/memory.max": "1000000", "a/memory.current": "400000", "memory.max": "max"}
    root, member = cgroups(tmp_path, "0::/a\n", files)
    assert hardware.available_memory(root, member) == 600000


@pytest.mark.parametrize("prefix", ["", "total_"])
def test_page_cache_counts_as_available(tmp_path, prefix):
    files = {
        "a/memory.max": "1000000",
        "a/memory.current": "900000",
        "a/memory.stat": f"anon 100000\n{prefix}inactive_file 500000\n{prefix}active_file 200000\n",
    }
    root, member = cgroups(tmp_path, "0::/a\n", files)
    assert hardware.available_memory(root, member) == 800000


def test_available_memory_without_a_limit(tmp_path):
    root, member = cgroups(tmp_path, "0::/a\n", {"a/memory.max": "max", "a/memory.current": "400000"})
    assert hardware.available_memory(root, member) > 1 << 26


def test_isa_from_the_environment(monkeypatch):
    monkeypatch.setenv("INFERNO_ISA", "scalar")
    assert hardware.check_isa(None) == "scalar"
    monkeypatch.setenv("INFERNO_ISA", "mmx")
    with pytest.raises(hardware.HardwareError, match=r"INFERNO_ISA=mmx: this CPU has no mmx .*it can run scalar"):
        hardware.check_isa(None)
    assert hardware.check_isa("scalar") == "scalar"


def test_measured_limits_are_plausible(isa):
    """No speed is asserted: only that bytes and multiply-adds are counted for what they are."""
    data = np.ones(1 << 22, np.uint8)
    assert 1e7 < hardware.read_bandwidth([data, data], 2, isa) < 1e13
    assert 1e7 < hardware.fma_peak(1, isa, rounds=10_000) < 1e12
    assert hardware.read_bandwidth([], 1, isa) == 0


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_measuring_refuses_bad_threads(threads):
    with pytest.raises(ValueError, match=r"threads must be in \[1, 1024\]"):
        _core.read_bandwidth(np.ones(8, np.uint8), threads=threads)


def test_peak_memory_is_this_process_s_own():
    """Started by a process that holds 300 MB more."""
    child = "from inferno import hardware; print(hardware.peak_memory())"
    parent = (
        "import subprocess, sys; held = b'x' * 300_000_000\n"
        f"print(subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True, check=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 10e6 < int(done.stdout) < 250e6
