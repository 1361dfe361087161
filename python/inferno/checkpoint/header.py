"""The safetensors header: from bytes to checked entries.

A file is an unsigned 64-bit little-endian header length N, N bytes of JSON, then the data. Every tensor is a range of
the data; together the ranges cover it without hole or overlap. Format: safetensors' README and its `src/tensor.rs`.

Stricter than the safetensors library (0.8), which lets these pass: white space before the "{", a tensor's or metadata
key given twice, a key of a tensor other than the three, a tensor spelt as a list, more than 32 dimensions, and an empty
tensor whose other dimensions no array could have.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from inferno.checkpoint.dtypes import DTYPES
from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import show, show_name, unique_keys

MAX_HEADER_BYTES = 100_000_000
# NumPy before 2 has at most 32 dimensions, and counts elements in a signed 64-bit integer.
MAX_DIMENSIONS = 32
_MAX_ELEMENTS = 2**63 - 1
_KEYS = {"dtype", "shape", "data_offsets"}


class Entry(NamedTuple):
    """One tensor of a header. `begin` and `end` count bytes from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def parse_header(raw: bytes, where: str) -> tuple[dict[str, Entry], int]:
    """The tensors of a header in the order of their data, and the length of the data in bytes.

    `raw` is the header without its length; `where` names the file in errors. Raises CheckpointError for anything that
    breaks the format, UnsupportedError for a dtype that it does not know.
    """
    header = _decode(raw, where)
    _check_metadata(header.pop("__metadata__", None), where)
    entries = {name: _entry(value, f"{where}: tensor {show_name(name)}") for name, value in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    return ordered, _check_contiguous(ordered, where)


def _decode(raw: bytes, where: str) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise CheckpointError(
            f'{where}: the header must begin with "{{"; got {_first(raw)}; this is no safetensors file'
        )
    try:
        text = raw.decode("utf-8")
        header = json.loads(text, object_pairs_hook=unique_keys, parse_int=_integer, parse_constant=_no_constant)
        if "\\u" in text:
            _refuse_lone_surrogates(header)
    except UnicodeError:
        raise CheckpointError(f"{where}: the header must be UTF-8; it is damaged, download the file again") from None
    except RecursionError:
        raise CheckpointError(f"{where}: the header must be JSON of three levels; got brackets nested deeper") from None
    except ValueError as problem:
        raise CheckpointError(f"{where}: the header must be JSON; {problem}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{where}: the header must be a JSON object; got {show(header)}")
    return header


def _first(raw: bytes) -> str:
    return f"byte 0x{raw[0]:02x}" if raw else "nothing"


def _integer(digits: str) -> int | float:
    # Not integers to the library either: "-0", and what no 64-bit number holds. As floats they are refused by name.
    return float(digits) if digits == "-0" or len(digits) > 20 else int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_lone_surrogates(header: dict[str, Any]) -> None:
    # UnicodeEncodeError for half of a surrogate pair, which JSON's \u can spell and UTF-8 cannot.
    json.dumps(header, ensure_ascii=False).encode("utf-8")


def _check_metadata(metadata: object, where: str) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{where}: __metadata__ must map strings to strings; got {show(metadata)}")


def _entry(value: object, where: str) -> Entry:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise CheckpointError(f"{where}: must have dtype, shape and data_offsets; got {show(value)}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsupportedError(f"{where}: dtype must be one of {', '.join(DTYPES)}; got {show(dtype)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise CheckpointError(
            f"{where}: shape must be a list of at most {MAX_DIMENSIONS} integers from 0 up; got {show(shape)}"
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int for n in offsets):
        raise CheckpointError(f"{where}: data_offsets must be two integers; got {show(offsets)}")
    begin, end = offsets
    if not 0 <= begin <= end < 2**64:
        raise CheckpointError(f"{where}: data_offsets must be 0 <= begin <= end < 2^64; got {show(offsets)}")
    _check_size(dtype, shape, end - begin, where)
    return Entry(dtype, tuple(shape), begin, end)


def _check_size(dtype: str, shape: list[int], nbytes: int, where: str) -> None:
    elements = 1
    bound = 1  # counts zeros as ones: an empty array, too, must have dimensions that NumPy can multiply
    for n in shape:
        elements *= n
        bound *= n or 1
    bits = DTYPES[dtype].bits
    if bound * max(1, bits // 8) > _MAX_ELEMENTS:
        raise CheckpointError(f"{where}: shape must multiply to less than 2^63 bytes; got {show(shape)}")
    if elements * bits != nbytes * 8:
        raise CheckpointError(
            f"{where}: data_offsets must span {elements * bits / 8:.15g} bytes for {dtype} {show(shape)}; got {nbytes}"
        )


def _check_contiguous(entries: dict[str, Entry], where: str) -> int:
    """Entries come sorted by offsets. Returns the end of the last one."""
    end = 0
    for name, entry in entries.items():
        if entry.begin != end:
            flaw = "a hole before it" if entry.begin > end else "an overlap with the tensor before it"
            raise CheckpointError(
                f"{where}: tensor {show_name(name)}: data_offsets must begin at {end}; got {entry.begin}: {flaw}"
            )
        end = entry.end
    return end
