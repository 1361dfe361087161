"""What `inferno doctor` found, as lines for people: sections of labels and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferno.units import percent, plural, size

if TYPE_CHECKING:
    from inferno.diagnosis import Diagnosis, Folder, Package
    from inferno.hardware import Cache, Limits, Machine, Rate
    from inferno.selftest import Check

Rows = list[tuple[str, str]]

_BUSY = "; the machine was busy then: try again with --measure"


def sections(found: Diagnosis) -> list[tuple[str, Rows]]:
    """(title, rows) in the order in which they are shown."""
    return [
        ("machine", _machine(found.machine)),
        ("build", _build(found)),
        (f"measured limits ({found.limits.isa}, {plural(found.limits.threads, 'thread')})", _limits(found.limits)),
        ("self-test", _checks(found.checks)),
        ("Python", _python(found)),
        ("folders", [(folder.purpose, _folder(folder)) for folder in found.folders]),
    ]


def _machine(machine: Machine) -> Rows:
    cpus, memory = machine.cpus, machine.memory
    quota = "no quota" if cpus.quota is None else f"a quota of {cpus.quota:g}"
    present = "" if cpus.present is None else f" of {cpus.present}"
    rows = [
        ("system", f"{machine.system}, {cpus.architecture}"),
        ("CPU", cpus.model or "unknown"),
        ("features", " ".join(cpus.features) or "none that a tier uses"),
        ("CPUs", f"{cpus.usable} usable: affinity {len(cpus.affinity) or 'unknown'}{present}, {quota}"),
    ]
    rows += [(f"NUMA node {n.number}", f"CPUs {_ranges(n.cpus)}, {_size(n.memory)}") for n in machine.numa]
    rows += [("caches", "; ".join(_cache(cache) for cache in machine.caches))] if machine.caches else []
    limit = "no cgroup limit" if memory.limit is None else f"cgroup limit {_size(memory.limit)}"
    return [*rows, ("memory", f"{_size(memory.available)} available of {_size(memory.total)}, {limit}")]


def _build(found: Diagnosis) -> Rows:
    cpus, build = found.machine.cpus, found.build
    tiers = ", ".join(tier.name if tier.runs else f"{tier.name} (not on this CPU)" for tier in cpus.tiers)
    chosen = f"none: {cpus.isa_reason}" if cpus.isa is None else f"{cpus.isa}: {cpus.isa_reason}"
    return [
        ("version", build.version),
        ("extension", f"{build.extension} (SHA-256 {build.sha256[:12]})"),
        ("compiler", build.compiler or "unknown"),
        ("tiers", tiers),
        ("chosen", chosen),
    ]


def _limits(limits: Limits) -> Rows:
    rows = [
        ("measured", limits.measured + ("" if limits.steady else _BUSY)),
        ("CPU time", f"{percent(limits.cpu_share)} of what the threads could use"),
        ("read bandwidth", f"{_rate(limits.read_bandwidth, 'GB/s')}, pattern {limits.read_pattern}"),
        ("FMA peak", _rate(limits.fma_peak, "G multiply-adds/s")),
        ("int8 peak", _rate(limits.madd_peak, "G multiply-adds/s")),
        ("barrier", f"{limits.stage_seconds * 1e6:.2f} us a stage, {limits.call_seconds * 1e6:.0f} us a call"),
    ]
    for what, tables, unit in (("one token", limits.gemv, "GB/s"), ("prompt", limits.gemm, "G multiply-adds/s")):
        for dtype, rates in tables.items():
            listed = ", ".join(f"{rate.median / 1e9:.1f} at {k}" for k, rate in rates.items())
            rows.append((f"{what}, {dtype} rows", f"{listed} {unit}"))
    for kind, speed in limits.attention.items():
        alone, shared, prompt = (r.median / 1e9 for r in (speed.decode_alone, speed.decode_shared, speed.prefill))
        value = f"{alone:.1f} GB/s, {shared:.1f} with 8 heads for each KV head; prompt {prompt:.1f} G multiply-adds/s"
        rows.append((f"attention, {kind} cache", value))
    return rows


def _checks(checks: tuple[Check, ...]) -> Rows:
    """A row for each operation and type: the tiers that pass, and each failure in full."""
    rows: Rows = []
    for operation, weight_type in dict.fromkeys((check.operation, check.weight_type) for check in checks):
        here = [check for check in checks if (check.operation, check.weight_type) == (operation, weight_type)]
        label = operation if weight_type == "-" else f"{operation} {weight_type}"
        failed = [check for check in here if not check.passed]
        wrong = dict.fromkeys(check.tier for check in failed)
        passed = [tier for tier in dict.fromkeys(check.tier for check in here) if tier not in wrong]
        if passed:
            rows.append((label, f"pass: {', '.join(passed)}"))
        rows += [(label, f"FAIL {check.tier}: {check.detail}") for check in failed]
    return rows


def _python(found: Diagnosis) -> Rows:
    return [
        ("Python", f"{found.python.version} ({found.python.implementation})"),
        *((package.name, _package(package)) for package in found.python.packages),
    ]


def _package(package: Package) -> str:
    if package.version is not None:
        return package.version
    return f"absent; it comes with the extra {package.extra}" if package.extra else "absent"


def _folder(folder: Folder) -> str:
    state = "" if folder.exists else "not there yet, "
    return f"{folder.path} ({state}{'writable' if folder.writable else 'not writable'}, {_size(folder.free)} free)"


def _cache(cache: Cache) -> str:
    count = "" if cache.count == 1 else f"{cache.count} x "
    shared = "" if cache.cpus == 1 else f", shared by {cache.cpus} CPUs"
    size = f"{cache.size >> 20} MiB" if cache.size >= 1 << 20 else f"{cache.size >> 10} KiB"
    return f"{cache.name} {count}{size}{shared}"


def _ranges(cpus: tuple[int, ...]) -> str:
    """As the kernel writes a list of CPUs: 0-3,8."""
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) or "none"


def _rate(rate: Rate, unit: str) -> str:
    return f"{rate.median / 1e9:.1f} {unit} ({rate.low / 1e9:.1f} to {rate.high / 1e9:.1f})"


def _size(nbytes: int | None) -> str:
    return "unknown" if nbytes is None else size(nbytes)
