"""Numbers as people read them. Units are decimal: 1 GB = 10^9 bytes."""

from __future__ import annotations


def size(nbytes: int) -> str:
    """Bytes: "16.1 GB", "269 MB", "77 KB", "512 bytes"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if nbytes >= factor:
            return f"{nbytes / factor:.{1 if factor > 10**6 else 0}f} {unit}"
    return f"{nbytes / 1000:.0f} KB" if nbytes >= 1000 else plural(nbytes, "byte")


def count(number: int) -> str:
    """A number of things: "8.0B", "134.5M", "586.9K", "512"."""
    for unit, factor in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return str(number)


def plural(number: int, what: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def percent(share: float) -> str:
    """A share of one: "62 %", "3.1 %", "< 0.1 %"."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f} %"
