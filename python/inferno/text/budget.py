"""How much work one rendering of a chat template may do.

One currency for time and memory: characters, and prices in characters for what is not text. A hostile template so runs
out of budget long before it has filled the memory, and a clock stops what the prices miss.
"""

from __future__ import annotations

import threading
import time
from collections.abc import ItemsView, KeysView, Mapping, ValuesView
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

BASE_UNITS = 16 << 20
UNITS_PER_INPUT = 64  # units for each unit of input: templates copy messages a few times, and may visit them in loops
SECONDS = 10.0
MAX_INPUT = 1 << 28  # units of input that raise the budget
STEP = 64  # a turn of a loop, an operator, a filter: some 0.5 us
CALL = 512  # a call, of a macro perhaps: some 10 us
ENTRY = 64  # an entry of a list or mapping, walked in some 0.5 us
MAX_INTEGER_BITS = 4096

_current = threading.local()


class Budget:
    """What is left of a rendering's allowance. Its methods raise SecurityError when nothing is."""

    def __init__(self, units: int, seconds: float) -> None:
        self.units = units
        self._deadline = time.monotonic() + seconds

    def charge(self, units: int) -> None:
        """Takes `units`, a price computed before the work is done."""
        self.units -= units
        if self.units < 0:
            raise SecurityError("must make a bounded amount of text; got more work than any chat needs")
        if time.monotonic() > self._deadline:
            raise SecurityError(f"must render within {SECONDS:g} s; got no end")

    def charge_deep(self, value: Any, times: int = 1) -> None:
        """Takes what `value` costs to walk or to write out, shared parts as often as they appear."""
        self.charge(times * self.size(value))

    def size(self, value: Any) -> int:
        """Units of `value` with all that it holds, or more than the budget if it holds more than that."""
        total = 0
        pending = [value]
        while pending:
            item = pending.pop()
            total += ENTRY
            if isinstance(item, str | bytes):
                total += len(item)
            elif children := _children(item):
                pending.extend(children)
            if total + ENTRY * len(pending) > self.units:
                return self.units + 1
        return total


def _children(value: Any) -> list[Any]:
    if isinstance(value, Namespace):
        value = object.__getattribute__(value, "_Namespace__attrs")
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset | KeysView | ValuesView | ItemsView):
        return list(value)
    return []


def budget() -> Budget:
    """The budget of the rendering that this thread is in."""
    found: Budget = _current.budget
    return found


def start_budget(values: Any) -> None:
    """Gives this thread's next rendering a budget that fits its input `values`."""
    fresh = Budget(MAX_INPUT, SECONDS)
    fresh.units = BASE_UNITS + UNITS_PER_INPUT * fresh.size(values)
    _current.budget = fresh
