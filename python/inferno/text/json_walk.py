"""Walking through JSON in bytes without building it: members of an object, ids of a vocabulary, in bounded memory.

What is skipped is followed by its strings and brackets alone, so a walk accepts more than JSON. Whoever needs the file
itself parses it; a walk only says what lies where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from itertools import islice
from typing import Any

MAX_STEPS = 1 << 18  # brackets that are followed one by one: half a second
MAX_ENTRIES = 1 << 22  # of a vocabulary: two seconds. The largest in use have some 2^18
MAX_PARSED = 16 << 20  # bytes of a value that is built: 28,000 added tokens take some 5 MB

_SPACE = rb"[ \t\r\n]*"
# An escape costs the matcher memory until its string ends; no token has thousands of them.
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*){0,4096}"'
_FLAT = rb'[^"\[\]{}]*'
_SHORT = _FLAT + rb"(?:" + _STRING + _FLAT + rb"){0,20}"

_space = re.compile(_SPACE)
_key = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_scalar = re.compile(_STRING + rb"|[-+.0-9A-Za-z]+", re.DOTALL)
# Strings, what lies between them, and lists and objects of nothing else: a thousand merges at a time.
_stretch = re.compile(
    rb'(?:[^"\[\]{}]+|' + _STRING + rb"|\[" + _SHORT + rb"\]|\{" + _SHORT + rb"\}){1,1000}", re.DOTALL
)
_COMMA = _SPACE + rb"," + _SPACE
_ENTRY = _STRING + _SPACE + rb":" + _SPACE + rb"([0-9]{1,10})"
_PIECE = rb"\[" + _SPACE + _STRING + _COMMA + rb"(-?[0-9][-+.0-9eE]*)" + _SPACE + rb"\]"
_value = re.compile(_SPACE + rb":" + _SPACE + rb"([0-9]{1,10})")
_BEFORE_KEY = (b"{", b",", b" ", b"\t", b"\r", b"\n")
_AT_ONCE = 16  # entries to a match: making the match object costs more than finding an entry


class WalkError(ValueError):
    """The bytes are no JSON, or none that a walk follows. The message says where."""


class Walk:
    """A position in `data`, and steps from there. Every step raises WalkError where it cannot be taken."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = self._behind_space(0)

    def members(self) -> Iterator[str]:
        """The keys of the object here; at each, the position is that of its value, skipped if the caller leaves it."""
        self._expect(b"{")
        if self._take(b"}"):
            return
        while True:
            found = _key.match(self.data, self.position)
            if found is None:
                raise WalkError(f"no key at byte {self.position}")
            value = self.position = found.end()
            yield _parsed(found[1], found.start(1))
            if self.position == value:
                self.skip()
            if self._take(b"}"):
                return
            self._expect(b",")

    def value(self) -> Any:
        """The value here, built."""
        start = self.position
        self.skip()
        if self.position - start > MAX_PARSED:
            raise WalkError(f"{self.position - start} bytes for the value at byte {start}")
        return _parsed(self.data[start : self.position], start)

    def skip(self) -> None:
        """Goes behind the value here."""
        start, depth = self.position, 0
        if self._byte() not in (b"{", b"["):
            self.position = self._matched(_scalar, "value")
            return
        for _ in range(MAX_STEPS):
            byte = self._byte()
            if depth == 0 and self.position > start:
                return
            found = _stretch.match(self.data, self.position) if depth > 0 else None
            if found is not None:
                self.position = found.end()
            elif byte in (b"{", b"[", b"}", b"]"):
                depth += 1 if byte in (b"{", b"[") else -1
                self.position += 1
            else:
                raise WalkError(f"no end of the value at byte {start}")
        raise WalkError(f"too many brackets in the value at byte {start}")

    def vocabulary(self, apart: Set[int] = frozenset()) -> tuple[int, int]:
        """Entries and largest id (-1 without any) of the vocabulary here, and goes behind it; ids `apart` do not count.

        A vocabulary is an object of token: id, or a list of [token, score] whose places are the ids.
        """
        if self._byte() == b"[":
            count = sum(map(len, self._repeated(_PIECE, b"[", b"]")))
            largest = count - 1
            while largest >= 0 and largest in apart:
                largest -= 1
            return count, largest
        count, largest = 0, -1
        for ids in self._repeated(_ENTRY, b"{", b"}"):
            count += len(ids)
            numbers = map(int, ids)
            largest = max((largest, *(set(numbers) - apart if apart else numbers)))
        return count, largest

    def _repeated(self, unit: bytes, opening: bytes, closing: bytes) -> Iterator[tuple[bytes, ...]]:
        """The group of each `unit` between the brackets, some at a time; commas stand between units."""
        self._expect(opening)
        if self._take(closing):
            return
        many = re.compile((unit + _COMMA) * _AT_ONCE, re.DOTALL)
        one = re.compile(unit + _COMMA, re.DOTALL)
        for pattern in (many, one):
            matches = iter(pattern.scanner(self.data, self.position).match, None)  # type: ignore[attr-defined]
            for found in islice(matches, MAX_ENTRIES // _AT_ONCE):
                self.position = found.end()
                yield found.groups()
        last = re.compile(unit, re.DOTALL).match(self.data, self.position)
        if last is None:
            raise WalkError(f"no entry of a vocabulary at byte {self.position}")
        yield last.groups()
        self.position = self._behind_space(last.end())
        self._expect(closing)

    def _matched(self, pattern: re.Pattern[bytes], what: str) -> int:
        found = pattern.match(self.data, self.position)
        if found is None:
            raise WalkError(f"no {what} at byte {self.position}")
        return found.end()

    def _byte(self) -> bytes:
        return self.data[self.position : self.position + 1]

    def _take(self, byte: bytes) -> bool:
        """Goes behind `byte` and the space around it, if it comes next."""
        position = self._behind_space(self.position)
        if self.data[position : position + 1] != byte:
            return False
        self.position = self._behind_space(position + 1)
        return True

    def _expect(self, byte: bytes) -> None:
        if not self._take(byte):
            raise WalkError(f"no {byte.decode()} at byte {self.position}")

    def _behind_space(self, position: int) -> int:
        found = _space.match(self.data, position)
        assert found is not None
        return found.end()


def id_of(data: bytes, start: int, end: int, token: str) -> int | None:
    """The id of `token` in the vocabulary that data[start:end] is, spelt as JSON writers do; None if it is not found.

    Before the quote that opens a key stands a brace, a comma or white space; before one inside a key, a backslash.
    """
    for ascii_only in (True, False):
        key = json.dumps(token, ensure_ascii=ascii_only).encode(errors="replace")
        position = data.find(key, start, end)
        while position >= 0:
            found = _value.match(data, position + len(key), end)
            if found is not None and data[position - 1 : position] in _BEFORE_KEY:
                return int(found[1])
            position = data.find(key, position + 1, end)
    return None


def _parsed(text: bytes, start: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise WalkError(f"no JSON at byte {start}") from None
