"""Memory: what the machine has, what this process may take, what it has taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inferno.errors import HardwareError
from inferno.hardware.system_files import CGROUPS, MEMBERSHIP, PROC, cgroup_folders, kilobytes, read_int, read_text


@dataclass(frozen=True)
class Memory:
    """Bytes; None where the system does not tell.

    total      of the machine
    estimate   what the kernel thinks can be taken without swapping (MemAvailable)
    limit      of the tightest control group; None for no limit
    available  the estimate, capped by what the control groups still allow
    """

    total: int | None
    estimate: int | None
    limit: int | None
    available: int | None


def memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, proc: Path = PROC) -> Memory:
    """What this process finds now."""
    limits = [limit for limit, _ in _allowances(cgroups, membership)]
    estimate = kilobytes(proc / "meminfo", "MemAvailable")
    return Memory(
        total=kilobytes(proc / "meminfo", "MemTotal"),
        estimate=estimate,
        limit=min(limits, default=None),
        available=None if estimate is None else available_memory(cgroups, membership, proc),
    )


def available_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, proc: Path = PROC) -> int:
    """Bytes that can be taken without swapping: the kernel's estimate, capped by what the cgroup still allows."""
    estimate = _known(proc / "meminfo", "MemAvailable")
    return min([estimate, *(left for _, left in _allowances(cgroups, membership))])


def peak_memory(proc: Path = PROC) -> int:
    """The largest resident size of this process so far, in bytes (mapped weights that were read included)."""
    # Not getrusage's ru_maxrss: a process that was started by a larger one begins with that one's.
    return _known(proc / "self" / "status", "VmHWM")


def _known(table: Path, field: str) -> int:
    value = kilobytes(table, field)
    if value is None:
        raise HardwareError(f"{table}: must have the field {field}; got none; Inferno needs Linux's /proc")
    return value


def _allowances(cgroups: Path, membership: Path) -> list[tuple[int, int]]:
    """(limit, bytes still free below it) of each control group that has a limit."""
    found = []
    for folder in cgroup_folders(cgroups, membership, "memory"):
        limit = _first_int(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _first_int(folder / "memory.current", folder / "memory.usage_in_bytes")
        # Version 1 writes "no limit" as the largest number of pages.
        if limit is not None and used is not None and limit < 1 << 60:
            found.append((limit, max(limit - used + _file_pages(folder), 0)))
    return found


def _first_int(*files: Path) -> int | None:
    """The number in the first file that holds one; 0 is one."""
    return next((number for number in map(read_int, files) if number is not None), None)


def _file_pages(cgroup: Path) -> int:
    """Bytes of page cache that the cgroup is charged for; the kernel takes them back before it runs out."""
    fields = dict(line.split() for line in read_text(cgroup / "memory.stat").splitlines() if len(line.split()) == 2)
    prefix = "total_" if "total_inactive_file" in fields else ""  # v1 counts children apart
    return sum(int(fields.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
