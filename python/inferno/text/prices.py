"""What operations of a template cost before they run, where their result can be much larger than their operands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jinja2.exceptions import SecurityError

from inferno.text.budget import ENTRY, MAX_INTEGER_BITS, budget

# Filters that look at their input's outside only; all others may write it out.
SHALLOW = frozenset(
    {
        "attr",
        "batch",
        "count",
        "d",
        "default",
        "first",
        "groupby",
        "items",
        "last",
        "length",
        "list",
        "map",
        "max",
        "min",
    }
    | {"reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique"}
)

# Filters that no chat needs: they make HTML, or differ from run to run.
REMOVED_FILTERS = ("random", "urlize", "xmlattr")

# Methods of strings and numbers that can make much of little and that no chat needs.
REMOVED_METHODS = frozenset({"maketrans", "to_bytes", "translate"})

SCAN = 8  # characters looked through in the time in which one is made

_NUMBER = re.compile(r"\d+")


def price_operator(operator: str, left: Any, right: Any) -> None:
    """Charges `left operator right`. Raises SecurityError."""
    if operator == "%" and isinstance(left, str | bytes):
        price_format(str(left), [right], "%")
    elif _is_integer(left) and _is_integer(right):
        _price_integers(operator, left, right)
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if _is_integer(times):
                _price_repetition(value, max(times, 0))
    elif operator == "+":
        budget().charge(sum(_length(value) for value in (left, right)))


def _price_repetition(value: Any, times: int) -> None:
    if isinstance(value, str | bytes):
        budget().charge(len(value) * times)
    elif isinstance(value, list | tuple):
        budget().charge_deep(value, times)


def _price_integers(operator: str, left: int, right: int) -> None:
    bits = {
        "*": left.bit_length() + right.bit_length(),
        "**": left.bit_length() * max(right, 0),
    }.get(operator, 0)
    if bits > MAX_INTEGER_BITS:
        raise SecurityError(f"must keep integers within {MAX_INTEGER_BITS} bits; got `{operator}` that makes {bits}")


def price_format(template: str, arguments: Sequence[Any], mark: str) -> None:
    """Charges a format string: every field may write every argument, and its width is a number in it or an argument."""
    fields = template.count(mark)
    widths = sum(_bounded(digits) for digits in _NUMBER.findall(template))
    numbers = max((abs(value) for value in _flat(arguments) if _is_integer(value)), default=0)
    nested = "*" in template if mark == "%" else re.search(r"\{[^{}]*\{", template) is not None
    budget().charge(len(template) + widths + (fields * numbers if nested else 0))
    budget().charge_deep(list(arguments), fields)


def countable(name: str, arguments: Sequence[Any], place: int) -> Sequence[Any]:
    """`arguments` of a filter or method, with a list in place of a stream whose length would decide the price."""
    if name != "join" or len(arguments) <= place or not isinstance(arguments[place], Iterator):
        return arguments
    return [*arguments[:place], list(arguments[place]), *arguments[place + 1 :]]


def price_filter(name: str, arguments: Sequence[Any], keywords: dict[str, Any]) -> None:
    """Charges the filter `name`, called with `arguments`, the filtered value first."""
    value, rest = arguments[0], [*arguments[1:], *keywords.values()]
    if name not in SHALLOW:
        budget().charge_deep(value)
    if name in _FILTER_PRICES:
        _FILTER_PRICES[name](value, rest)


def price_method(owner: Any, name: str, arguments: Sequence[Any]) -> None:
    """Charges a built-in method of a string, list or number. Raises SecurityError."""
    if name in REMOVED_METHODS:
        raise SecurityError(f"must not call {name}()")
    budget().charge(_length(owner) // SCAN)
    if name in _METHOD_PRICES:
        _METHOD_PRICES[name](owner, arguments)


def _widths(value: Any, rest: Sequence[Any]) -> None:
    """center, ljust and the like: the result is as long as a number says."""
    budget().charge(_largest(rest))


def _per_line(value: Any, rest: Sequence[Any]) -> None:
    """indent, wordwrap: a number of characters, or a text, for each line."""
    longest = max([_largest(rest), *(len(item) for item in rest if isinstance(item, str))])
    breaks = str(value).count("\n") + 1
    if any(_is_integer(item) and 0 < item < _length(value) for item in rest):
        breaks += _length(value) // min(item for item in rest if _is_integer(item) and item > 0)
    budget().charge(breaks * longest)


def _per_tab(value: Any, rest: Sequence[Any]) -> None:
    budget().charge(value.count(b"\t" if isinstance(value, bytes) else "\t") * _largest(rest))


def _entries(value: Any, rest: Sequence[Any]) -> None:
    """batch, slice: a number of entries, filled with a value."""
    for item in rest:
        if not _is_integer(item):
            budget().charge_deep(item, _largest(rest))
    budget().charge(ENTRY * _largest(rest))


def _precision(value: Any, rest: Sequence[Any]) -> None:
    if _largest(rest) > 100:
        raise SecurityError(f"must round to at most 100 places; got {_largest(rest)}")


def _replaced(value: Any, rest: Sequence[Any]) -> None:
    if len(rest) < 2:
        return
    old, new = rest[:2]
    found = value.count(old) if isinstance(value, bytes) else str(value).count(str(old))
    budget().charge(_length(value) + found * _length(new))


def _joined(separator: Any, rest: Sequence[Any]) -> None:
    for items in rest[:1]:
        budget().charge_deep(items)
        budget().charge(len(items) * _length(separator))


def _joined_filter(value: Any, rest: Sequence[Any]) -> None:
    for separator in rest:
        budget().charge(len(value) * _length(separator))


def _numbers(value: Any, rest: Sequence[Any]) -> None:
    if any(isinstance(start, list | tuple | bytes) for start in rest):
        raise SecurityError("must sum numbers; got a list to start with")


def _json(value: Any, rest: Sequence[Any]) -> None:
    """tojson: indent and separators are written for every entry, the indent once for each level."""
    widest = max([_largest(rest), *(len(str(item)) for item in rest if isinstance(item, str | list | tuple))])
    if widest > 16:
        raise SecurityError(f"must indent and separate JSON by at most 16 characters; got {widest}")


_FILTER_PRICES: dict[str, Callable[[Any, Sequence[Any]], None]] = {
    "batch": _entries,
    "center": _widths,
    "format": lambda value, rest: price_format(str(value), rest, "%"),
    "indent": _per_line,
    "join": _joined_filter,
    "replace": _replaced,
    "round": _precision,
    "slice": _entries,
    "sum": _numbers,
    "tojson": _json,
    "wordwrap": _per_line,
}

_METHOD_PRICES: dict[str, Callable[[Any, Sequence[Any]], None]] = {
    "center": _widths,
    "expandtabs": _per_tab,
    "join": _joined,
    "ljust": _widths,
    "replace": _replaced,
    "rjust": _widths,
    "zfill": _widths,
}


def price_result(result: Any) -> None:
    """Charges what an operation has made, from the outside."""
    budget().charge(_length(result))


def _length(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return ENTRY * len(value) if isinstance(value, list | tuple | dict) else 0


def _largest(values: Sequence[Any]) -> int:
    return max((abs(value) for value in values if _is_integer(value)), default=0)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bounded(digits: str) -> int:
    """A number in a format string; one of more than 12 digits is as good as infinite."""
    return int(digits) if len(digits) <= 12 else 10**12


def _flat(values: Sequence[Any]) -> list[Any]:
    """Arguments with the members of tuples and mappings, which `%` takes as arguments of their own."""
    flat: list[Any] = []
    for value in values:
        flat += value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else [value]
    return flat
