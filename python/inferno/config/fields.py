"""Typed, bounded reading of the fields of a JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from inferno.errors import ConfigError
from inferno.files import show

MAX_INT = 2**31 - 1


class Fields:
    """The fields of one JSON object; `where` names it in errors. A null field counts as absent, as in transformers.

    Every reader takes the key and, where the field may be absent, what it then is; it raises ConfigError for a value of
    another type or out of bounds. `defaulted` collects the keys whose default was taken.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where
        self.defaulted: list[str] = []

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def integer(self, key: str, default: int | None = None, low: int = 1, high: int = MAX_INT) -> int:
        """An integer from `low` to `high`; required if `default` is None. A bool or 1.0 is none."""
        value = self._value(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self.bad(key, f"an integer from {low} to {high}", value)
        return value

    def number(
        self, key: str, default: float | None = None, low: float = 0.0, high: float = math.inf, zero: bool = False
    ) -> float:
        """A finite number, low < value <= high, or 0 if `zero`; required if `default` is None."""
        value = self._value(key, default)
        if not _is_number(value) or not (low < value <= high or (zero and value == 0)):
            bounds = (
                ("0 or " if zero else "") + f"above {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
            )
            raise self.bad(key, f"a finite number {bounds}", value)
        return float(value)

    def optional_number(self, key: str, low: float = 0.0, high: float = math.inf, zero: bool = False) -> float | None:
        return None if self.get(key) is None else self.number(key, low=low, high=high, zero=zero)

    def boolean(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.bad(key, "true or false", value)
        return value

    def string(self, key: str, default: str) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.bad(key, "a string", value)
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of `count` finite positive numbers."""
        value = self._value(key, None)
        if not isinstance(value, list) or len(value) != count or not all(_is_number(x) and x > 0 for x in value):
            got = f"a list of {len(value)}: {show(value)}" if isinstance(value, list) else show(value)
            raise ConfigError(f"{self.where}: {key} must be a list of {count} finite numbers above 0; got {got}")
        return tuple(float(x) for x in value)

    def token_ids(self, key: str) -> tuple[int, ...]:
        """A token id or a list of them; empty if absent."""
        value = self.get(key)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if not all(type(i) is int and 0 <= i <= MAX_INT for i in ids):
            raise self.bad(key, f"a token id from 0 to {MAX_INT}, or a list of them", value)
        return tuple(ids)

    def bad(self, key: str, expected: str, value: object) -> ConfigError:
        got = "no such field" if value is None else show(value)
        return ConfigError(f"{self.where}: {key} must be {expected}; got {got}")

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is None and default is not None:
            self.defaulted.append(key)
            return default
        return value


def _is_number(value: object) -> bool:
    # An int beyond float's range has no float: it is no finite number here.
    if type(value) is int:
        return abs(value) < 2**1023
    return type(value) is float and math.isfinite(value)
