"""NUMA nodes and caches, from made-up trees of /sys."""

from __future__ import annotations

import pytest

from fake_system import write_tree
from inferno import hardware
from inferno.hardware import Cache, NumaNode
from inferno.hardware.system_files import cpu_list
from inferno.hardware.topology import caches, numa_nodes


def index(cpu: int, number: int, level: int, kind: str, size: str, shared: str) -> dict[str, str]:
    folder = f"cpu/cpu{cpu}/cache/index{number}"
    texts = {"level": str(level), "type": kind, "size": size, "shared_cpu_list": shared}
    return {f"{folder}/{name}": f"{text}\n" for name, text in texts.items()}


def test_caches_with_their_sharing(tmp_path):
    files: dict[str, str] = {}
    for cpu in range(4):
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        files |= index(cpu, 0, 1, "Data", "48K", str(cpu)) | index(cpu, 1, 1, "Instruction", "32K", str(cpu))
        files |= index(cpu, 2, 2, "Unified", "2048K", pair) | index(cpu, 3, 3, "Unified", "32M", "0-3")
    assert caches(write_tree(tmp_path, files)) == (
        Cache("L1d", 48 << 10, 4, 1),
        Cache("L1i", 32 << 10, 4, 1),
        Cache("L2", 2 << 20, 2, 2),
        Cache("L3", 32 << 20, 1, 4),
    )


def test_unlike_caches_of_one_level_stay_apart(tmp_path):
    files = index(0, 0, 2, "Unified", "2M", "0") | index(1, 0, 2, "Unified", "4M", "1-2")
    assert caches(write_tree(tmp_path, files)) == (Cache("L2", 2 << 20, 1, 1), Cache("L2", 4 << 20, 1, 2))


@pytest.mark.parametrize(("size", "shared"), [("", "0"), ("48Q", "0"), ("-1K", "0"), ("48K", ""), ("48K", "x")])
def test_what_says_nothing_is_left_out(tmp_path, size, shared):
    assert caches(write_tree(tmp_path, index(0, 0, 1, "Data", size, shared))) == ()


def test_nodes(tmp_path):
    files = {
        "node/node10/cpulist": "8-9\n",
        "node/node2/cpulist": "0-3,6\n",
        "node/node2/meminfo": "Node 2 MemTotal:       1000 kB\nNode 2 MemFree: 5 kB\n",
        "node/possible": "0-2\n",
    }
    assert numa_nodes(write_tree(tmp_path, files)) == (
        NumaNode(2, (0, 1, 2, 3, 6), 1024000),
        NumaNode(10, (8, 9), None),
    )


def test_absent_files_are_fine(tmp_path):
    assert numa_nodes(tmp_path / "none") == ()
    assert caches(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-2,5\n", (0, 1, 2, 5)), ("7", (7,)), ("", ()), ("a-b", ()), ("1-", (1,)), ("0-99999999", ())]
)
def test_lists_of_cpus(text, cpus):
    assert cpu_list(text) == cpus


def test_the_machine_is_json(tmp_path):
    import json

    found = hardware.machine(sys=write_tree(tmp_path, {"node/node0/cpulist": "0-1"}))
    as_json = json.loads(json.dumps(found.as_json()))
    assert as_json["numa"] == [{"number": 0, "cpus": [0, 1], "memory": None}]
    assert as_json["cpus"]["usable"] == hardware.usable_cpus()


def test_this_machine():
    found = hardware.machine()
    assert found.memory.available is not None
    assert found.system.startswith("Linux")
