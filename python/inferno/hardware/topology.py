"""How CPUs, caches and memory lie to each other, as /sys tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from inferno.hardware.system_files import SYS, cpu_list, kilobytes, read_int, read_text

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class NumaNode:
    """CPUs with memory of their own: `memory` bytes of it, None if unknown."""

    number: int
    cpus: tuple[int, ...]
    memory: int | None


@dataclass(frozen=True)
class Cache:
    """One kind of cache: "L1d", "L1i", "L2", "L3"; `count` of them with `size` bytes, each shared by `cpus` CPUs."""

    name: str
    size: int
    count: int
    cpus: int


def numa_nodes(sys: Path = SYS) -> tuple[NumaNode, ...]:
    """The nodes by number; none where the system knows no nodes."""
    nodes = []
    for folder in (sys / "node").glob("node*"):
        number = folder.name.removeprefix("node")
        if number.isdecimal():
            cpus = cpu_list(read_text(folder / "cpulist"))
            nodes.append(NumaNode(int(number), cpus, kilobytes(folder / "meminfo", "MemTotal")))
    return tuple(sorted(nodes, key=lambda node: node.number))


def caches(sys: Path = SYS) -> tuple[Cache, ...]:
    """Every kind of cache, the nearest first. Caches of one level that differ in size or sharing are kinds apart."""
    found: dict[tuple[str, int, int], set[tuple[int, ...]]] = {}
    for folder in (sys / "cpu").glob("cpu[0-9]*/cache/index[0-9]*"):
        level, kind = read_int(folder / "level"), read_text(folder / "type").strip()
        size = _size(read_text(folder / "size"))
        shared = cpu_list(read_text(folder / "shared_cpu_list"))
        if level is None or size is None or not shared:
            continue
        name = f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")
        found.setdefault((name, size, len(shared)), set()).add(shared)
    return tuple(Cache(name, size, len(sets), cpus) for (name, size, cpus), sets in sorted(found.items()))


def _size(text: str) -> int | None:
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text.strip())
    return int(match[1]) * _UNITS[match[2]] if match else None
