"""What this machine has, what this process may use of it, and how fast it is."""

from __future__ import annotations

from inferno.errors import HardwareError
from inferno.hardware.cached import limits
from inferno.hardware.cpus import MAX_THREADS, Cpus, Tier, check_isa, check_threads, cpus, usable_cpus
from inferno.hardware.inventory import Machine, machine
from inferno.hardware.memory import Memory, available_memory, memory, peak_memory
from inferno.hardware.probes import fma_peak, madd_peak, read_bandwidth
from inferno.hardware.rates import AttentionRates, Limits, Rate
from inferno.hardware.topology import Cache, NumaNode

__all__ = [
    "MAX_THREADS",
    "AttentionRates",
    "Cache",
    "Cpus",
    "HardwareError",
    "Limits",
    "Machine",
    "Memory",
    "NumaNode",
    "Rate",
    "Tier",
    "available_memory",
    "check_isa",
    "check_threads",
    "cpus",
    "fma_peak",
    "limits",
    "machine",
    "madd_peak",
    "memory",
    "peak_memory",
    "read_bandwidth",
    "usable_cpus",
]
