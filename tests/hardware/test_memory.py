"""Memory: the kernel's estimate capped by control groups, from made-up trees; what this process has taken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fake_system import cgroups, write_tree
from inferno import hardware
from inferno.errors import HardwareError


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


@pytest.mark.parametrize("files", ["memory.max memory.current", "memory.limit_in_bytes memory.usage_in_bytes"])
@pytest.mark.parametrize(("limit", "used", "left"), [(0, 0, 0), (0, 5, 0), (1000, 0, 1000)])
def test_a_zero_is_a_number(tmp_path, files, limit, used, left):
    first, second = files.split()
    tree = {f"memory/{first}": str(limit), f"memory/{second}": str(used)}
    root, member = cgroups(tmp_path, "4:memory:/\n", tree)
    found = hardware.memory(root, member, write_tree(tmp_path / "proc", {"meminfo": MEMINFO}))
    assert (found.limit, found.available) == (limit, left)


def test_peak_memory_is_this_process_s_own():
    """Started by a process that holds 300 MB more."""
    child = "from inferno import hardware; print(hardware.peak_memory())"
    parent = (
        "import subprocess, sys; held = b'x' * 300_000_000\n"
        f"print(subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True, check=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 10e6 < int(done.stdout) < 250e6


MEMINFO = "MemTotal:       8000 kB\nMemFree:  1 kB\nMemAvailable:   5000 kB\n"


def test_memory_in_one_object(tmp_path):
    files = {"memory.max": "7000000", "a/memory.max": "4000000", "a/memory.current": "1000000", "memory.current": "0"}
    root, member = cgroups(tmp_path, "0::/a\n", files)
    found = hardware.memory(root, member, write_tree(tmp_path / "proc", {"meminfo": MEMINFO}))
    assert found == hardware.Memory(total=8192000, estimate=5120000, limit=4000000, available=3000000)


def test_version_1_writes_no_limit_as_a_large_number(tmp_path):
    files = {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "5"}
    root, member = cgroups(tmp_path, "4:memory:/\n", files)
    found = hardware.memory(root, member, write_tree(tmp_path / "proc", {"meminfo": MEMINFO}))
    assert (found.limit, found.available) == (None, 5120000)


def test_without_proc_all_is_unknown(tmp_path):
    root, member = cgroups(tmp_path, "", {})
    assert hardware.memory(root, member, tmp_path / "none") == hardware.Memory(None, None, None, None)
    with pytest.raises(
        HardwareError, match=r"meminfo: must have the field MemAvailable; got none; Inferno needs Linux"
    ):
        hardware.available_memory(root, member, tmp_path / "none")
