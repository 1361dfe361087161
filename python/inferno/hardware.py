"""What this machine has and what this process may use of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from inferno import _core
from inferno.errors import HardwareError, UsageError

MAX_THREADS = 1024
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cpus(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs of the affinity mask, capped by the cgroup's CPU quota (rounded up), at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(cgroups, membership)
    return max(1, cpus if quota is None else min(cpus, -int(-quota // 1)))


def check_threads(threads: int | None) -> int:
    """The number of threads to use; None is usable_cpus(). Raises UsageError outside [1, MAX_THREADS]."""
    if threads is None:
        return min(usable_cpus(), MAX_THREADS)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"threads: must be from 1 to {MAX_THREADS}; got {threads!r}")
    return threads


def check_isa(isa: str | None) -> str:
    """The tier's name; None is INFERNO_ISA, else the best. Raises HardwareError for one that this CPU cannot run."""
    try:
        return _core.choose_tier(isa or "")
    except ValueError as error:
        raise HardwareError(str(error)) from None


def available_memory(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that can be taken without swapping: the kernel's estimate, capped by what the cgroup still allows."""
    available = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    for folder in _cgroup_folders(cgroups, membership, "memory"):
        limit = _read_int(folder / "memory.max") or _read_int(folder / "memory.limit_in_bytes")
        used = _read_int(folder / "memory.current") or _read_int(folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            available = min(available, max(limit - used + _file_pages(folder), 0))
    return available


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes (mapped weights that were read included)."""
    # Not getrusage's ru_maxrss: a process that was started by a larger one begins with that one's.
    return _kilobytes(Path("/proc/self/status"), "VmHWM")


def read_bandwidth(arrays: Iterable[npt.NDArray[Any]], threads: int, isa: str) -> float:
    """Bytes per second at which `threads` threads stream these arrays, once each, from where they lie."""
    total = seconds = 0.0
    for array in arrays:
        if array.nbytes:
            total += array.nbytes
            seconds += array.nbytes / _core.read_bandwidth(array, threads=threads, isa=isa)
    return total / seconds if seconds else 0.0


def fma_peak(threads: int, isa: str, rounds: int = 2_000_000) -> float:
    """Float32 multiply-adds per second of `threads` threads on registers, with the tier's own instructions."""
    return _core.fma_peak(threads=threads, rounds=rounds, isa=isa)


def _kilobytes(table: Path, field: str) -> int:
    """A field of /proc/meminfo or /proc/self/status, in bytes."""
    for line in table.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise HardwareError(f"{table}: has no {field}")


def _file_pages(cgroup: Path) -> int:
    """Bytes of page cache that the cgroup is charged for; the kernel takes them back before it runs out."""
    fields = dict(line.split() for line in _read_text(cgroup / "memory.stat").splitlines() if len(line.split()) == 2)
    prefix = "total_" if "total_inactive_file" in fields else ""  # v1 counts children apart
    return sum(int(fields.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))


def _cpu_quota(cgroups: Path, membership: Path) -> float | None:
    """CPUs that the tightest quota from this process's cgroup up to the root allows; None if there is none."""
    quotas = []
    for folder in _cgroup_folders(cgroups, membership, "cpu"):
        maximum = _read_words(folder / "cpu.max")
        if len(maximum) == 2 and maximum[0] != "max":
            quotas.append(int(maximum[0]) / int(maximum[1]))
        quota, period = _read_int(folder / "cpu.cfs_quota_us"), _read_int(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _cgroup_folders(cgroups: Path, membership: Path, controller: str) -> list[Path]:
    """This process's cgroup and its parents: v2's one tree, and v1's tree of a controller."""
    folders: list[Path] = []
    for line in _read_text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = cgroups
        elif controller in controllers.split(","):
            root = cgroups / controllers if (cgroups / controllers).is_dir() else cgroups / controller
        else:
            continue
        here = root / path.lstrip("/")
        folders += [folder for folder in (here, *here.parents) if folder == root or root in folder.parents]
    return folders


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _read_words(path: Path) -> list[str]:
    return _read_text(path).split()


def _read_int(path: Path) -> int | None:
    words = _read_words(path)
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None
