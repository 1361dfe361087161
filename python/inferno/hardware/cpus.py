"""The CPUs that this process may use, and the kernels that they can run."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from inferno import _core
from inferno.errors import HardwareError, UsageError
from inferno.hardware.system_files import CGROUPS, MEMBERSHIP, PROC, cgroup_folders, read_int, read_text, read_words

MAX_THREADS = 1024


@dataclass(frozen=True)
class Tier:
    """A kernel tier of this build, and whether this CPU runs it."""

    name: str
    runs: bool


@dataclass(frozen=True)
class Cpus:
    """CPUs and kernels.

    model         the CPU's name; None where the system does not tell
    architecture  "x86_64", "aarch64", ...
    features      what the kernels could use of the CPU's extensions and the system allows, as CPUID names them
    tiers         of this build, plainest first
    isa           the tier that is used unless another is asked for; None if INFERNO_ISA names one that cannot run
    isa_reason    why that one
    present       CPUs of the machine
    affinity      the numbers of the CPUs that this process may run on
    quota         CPUs' worth of time that its control groups allow; None for no limit
    usable        the default number of threads: affinity capped by quota
    """

    model: str | None
    architecture: str
    features: tuple[str, ...]
    tiers: tuple[Tier, ...]
    isa: str | None
    isa_reason: str
    present: int | None
    affinity: tuple[int, ...]
    quota: float | None
    usable: int


def cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, proc: Path = PROC) -> Cpus:
    """What this process finds now."""
    isa: str | None = None
    try:
        isa = check_isa(None)
        asked = os.environ.get("INFERNO_ISA")
        reason = f"INFERNO_ISA={asked}" if asked else "the best that this CPU runs"
    except HardwareError as error:
        reason = str(error)
    return Cpus(
        model=cpu_model(proc),
        architecture=platform.machine(),
        features=tuple(name for name, present in _core.cpu_features().items() if present),
        tiers=tuple(Tier(name, runs) for name, runs in _core.tiers().items()),
        isa=isa,
        isa_reason=reason,
        present=os.cpu_count(),
        affinity=_affinity(),
        quota=_cpu_quota(cgroups, membership),
        usable=usable_cpus(cgroups, membership),
    )


def cpu_model(proc: Path = PROC) -> str | None:
    """The CPU's name as /proc/cpuinfo gives it; on ARM, which has no names there, its implementer and part."""
    fields: dict[str, str] = {}
    for line in read_text(proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if fields.get("model name"):
        return fields["model name"]
    if fields.get("CPU implementer") and fields.get("CPU part"):
        return f"implementer {fields['CPU implementer']}, part {fields['CPU part']}"
    return platform.processor() or None


def usable_cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """CPUs of the affinity mask, capped by the cgroup's CPU quota (rounded up), at least 1."""
    count = len(_affinity()) or os.cpu_count() or 1
    quota = _cpu_quota(cgroups, membership)
    return max(1, count if quota is None else min(count, -int(-quota // 1)))


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


def _affinity() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _cpu_quota(cgroups: Path, membership: Path) -> float | None:
    """CPUs that the tightest quota from this process's cgroup up to the root allows; None if there is none."""
    quotas = []
    for folder in cgroup_folders(cgroups, membership, "cpu"):
        maximum = read_words(folder / "cpu.max")
        if len(maximum) == 2 and maximum[0] != "max":
            quotas.append(int(maximum[0]) / int(maximum[1]))
        quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)
