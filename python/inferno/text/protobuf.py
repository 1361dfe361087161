"""The wire format of Protocol Buffers, as far as reading a message takes.

https://protobuf.dev/programming-guides/encoding: a message is a row of fields, each a varint key (field number and wire
type) and a value. A schema is the reader's business; the few messages of a SentencePiece model need no generated code.
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are no message."""


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Field number and value of each field of a message: an int for a varint, else the value's bytes.

    Raises WireError that tells the offset: a value that goes beyond the end, a wire type that is none.
    """
    at, end = 0, len(data)
    while at < end:
        start = at
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise WireError(f"wire type must be 0, 1, 2 or 5; got {kind} at offset {start}")
        if size > end - at:
            raise WireError(f"field {number} at offset {start} must have {size} bytes; got {end - at}")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the offset behind it."""
    if at < len(data) and data[at] < 0x80:  # nearly all of them, and the loop below takes its time
        return data[at], at + 1
    value = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise WireError(f"a number at offset {at} must end within {_MAX_VARINT_BYTES} bytes and the message")
