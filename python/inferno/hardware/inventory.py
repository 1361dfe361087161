"""The machine in one object."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inferno.hardware.cpus import Cpus, cpus
from inferno.hardware.memory import Memory, memory
from inferno.hardware.system_files import CGROUPS, MEMBERSHIP, PROC, SYS
from inferno.hardware.topology import Cache, NumaNode, caches, numa_nodes


@dataclass(frozen=True)
class Machine:
    """What the machine has and what this process may use of it. Only Linux tells all of it."""

    system: str
    cpus: Cpus
    memory: Memory
    numa: tuple[NumaNode, ...]
    caches: tuple[Cache, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and values, for json.dumps."""
        return asdict(self)


def machine(*, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, proc: Path = PROC, sys: Path = SYS) -> Machine:
    """The machine as this process finds it now; reads small files of /proc and /sys, measures nothing."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        cpus=cpus(cgroups, membership, proc),
        memory=memory(cgroups, membership, proc),
        numa=numa_nodes(sys),
        caches=caches(sys),
    )
