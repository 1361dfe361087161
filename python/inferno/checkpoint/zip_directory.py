"""The directory of a zip archive whose entries are stored as they are, as torch.save writes it.

Python's zipfile forgives much (bytes before the archive, names given twice) and reads a directory of any size. Here a
directory is bounded, entries lie within the file and apart from each other, and only what can be viewed in place is
let through. Format: PKWARE's APPNOTE 6.3, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import read_up_to, show_name

# Far above the largest in use (some thousand entries, 0.2 MB).
MAX_DIRECTORY_BYTES = 8 << 20

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 record"
_AGAIN = "the file is truncated or damaged; download it again"


class ZipEntry(NamedTuple):
    """Where the bytes of an entry lie in the file, and how they are compressed (0: as they are)."""

    offset: int
    size: int
    method: int


def read_directory(fd: int, file_size: int, where: str) -> dict[str, ZipEntry]:
    """The entries of the archive by name. `where` names the file in errors.

    Raises CheckpointError if the archive is damaged, cut short, gives a name twice or has entries that share bytes,
    UnsupportedError for an encrypted entry.
    """
    begin, size, count = _find_directory(fd, file_size, where)
    if size > MAX_DIRECTORY_BYTES:
        raise CheckpointError(f"{where}: the zip directory must be at most {MAX_DIRECTORY_BYTES} bytes; got {size}")
    raw = read_up_to(fd, size, begin)
    entries: dict[str, ZipEntry] = {}
    at = 0
    while at < size:
        name, header, length, method, at = _central_entry(raw, at, where)
        if name in entries:
            raise CheckpointError(f"{where}: {show_name(name)} must be in the archive once; got it twice; {_AGAIN}")
        start = _data_offset(fd, header, name, where)
        if start + length > begin:
            raise CheckpointError(
                f"{where}: {show_name(name)} must lie in front of the zip directory at byte {begin}; got "
                f"{start} to {start + length}; {_AGAIN}"
            )
        entries[name] = ZipEntry(start, length, method)
    if len(entries) != count:
        raise CheckpointError(f"{where}: the zip directory must list {count} entries; got {len(entries)}; {_AGAIN}")
    _refuse_overlaps(entries, where)
    return entries


def refuse_compressed(entries: Mapping[str, ZipEntry], where: str) -> None:
    """UnsupportedError for an entry whose bytes cannot be used where they lie."""
    for name, entry in entries.items():
        if entry.method != 0:
            raise UnsupportedError(
                f"{where}: {show_name(name)} must be stored as it is, so that it can be used in place; got an entry "
                f"with compression method {entry.method}; save it again with torch.save, or pack it without compression"
            )


def _refuse_overlaps(entries: Mapping[str, ZipEntry], where: str) -> None:
    """Tensors may share a storage; two storages may not share bytes, and no writer makes them."""
    held = sorted((entry.offset, entry.size, name) for name, entry in entries.items() if entry.size)
    for (begin, size, name), (start, length, other) in pairwise(held):
        if start < begin + size:
            raise CheckpointError(
                f"{where}: {show_name(other)} must lie behind {show_name(name)}, which ends at byte {begin + size}; "
                f"got {start} to {start + length}; {_AGAIN}"
            )


def _find_directory(fd: int, file_size: int, where: str) -> tuple[int, int, int]:
    """Offset and size in bytes of the central directory, and its number of entries."""
    # Other programs may leave a comment behind the end record; torch.save does not.
    end_at = file_size - _END.size
    raw = read_up_to(fd, _END.size, end_at) if end_at >= 0 else b""
    if not raw.startswith(b"PK\5\6") or len(raw) < _END.size:
        raise CheckpointError(f"{where}: must end with a zip directory; got none; {_AGAIN}")
    _, disk, first_disk, here, count, size, begin, comment = _END.unpack(raw)
    end64_at = end_at
    if _FULL16 in (here, count) or _FULL32 in (size, begin):
        here, count, size, begin, end64_at = _read_end64(fd, end_at, where)
    if disk not in (0, _FULL16) or first_disk not in (0, _FULL16) or here != count or comment:
        raise CheckpointError(f"{where}: must be a zip archive in one piece; got a part of one; {_AGAIN}")
    if begin + size > end64_at:
        raise CheckpointError(
            f"{where}: the zip directory must end by byte {end64_at}; got {begin} to {begin + size}; {_AGAIN}"
        )
    return begin, size, count


def _read_end64(fd: int, end_at: int, where: str) -> tuple[int, int, int, int, int]:
    raw = read_up_to(fd, _LOCATOR.size, max(0, end_at - _LOCATOR.size))
    if len(raw) == _LOCATOR.size and raw.startswith(b"PK\6\7"):
        _, _, at, _ = _LOCATOR.unpack(raw)
        raw = read_up_to(fd, _END64.size, at) if at <= end_at - _LOCATOR.size - _END64.size else b""
        if raw.startswith(b"PK\6\6"):
            _, _, _, _, _, _, here, count, size, begin = _END64.unpack(raw)
            return here, count, size, begin, at
    raise CheckpointError(f"{where}: must hold a zip64 record, which its end names; got none; {_AGAIN}")


def _central_entry(raw: bytes, at: int, where: str) -> tuple[str, int, int, int, int]:
    """Name, offset of the local header, size as stored, compression method, and where the next entry begins."""
    if not raw.startswith(b"PK\1\2", at) or at + _CENTRAL.size > len(raw):
        raise CheckpointError(f"{where}: the zip directory must hold entries; got other bytes at {at} of it; {_AGAIN}")
    fields = _CENTRAL.unpack_from(raw, at)
    flags, method, stored, size = fields[3], fields[4], fields[8], fields[9]
    name_length, extra_length, comment_length, header = fields[10], fields[11], fields[12], fields[16]
    at += _CENTRAL.size
    extra = raw[at + name_length : at + name_length + extra_length]
    after = at + name_length + extra_length + comment_length
    if after > len(raw):
        raise CheckpointError(f"{where}: the zip directory must hold whole entries; got a part of one; {_AGAIN}")
    try:
        name = raw[at : at + name_length].decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"{where}: names in the zip directory must be UTF-8; {_AGAIN}") from None
    if flags & _ENCRYPTED:
        raise UnsupportedError(f"{where}: {show_name(name)} must be plain; got an encrypted entry")
    size, stored, header = _widen(extra, size, stored, header, f"{where}: {show_name(name)}")
    if size != stored and method == 0:
        raise CheckpointError(f"{where}: {show_name(name)} must have one size; got {size} and {stored}; {_AGAIN}")
    return name, header, stored, method, after


def _widen(extra: bytes, size: int, stored: int, header: int, where: str) -> tuple[int, int, int]:
    """The three numbers, those that 32 bits do not hold taken from the entry's zip64 field (id 1)."""
    values = [size, stored, header]
    wide = [i for i, value in enumerate(values) if value == _FULL32]
    if not wide:
        return size, stored, header
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and 8 * len(wide) <= length <= len(extra) - at - 4:
            for i, value in zip(wide, struct.unpack_from(f"<{len(wide)}Q", extra, at + 4), strict=True):
                values[i] = value
            return values[0], values[1], values[2]
        at += 4 + length
    raise CheckpointError(f"{where} must have a zip64 field for its size; got none; {_AGAIN}")


def _data_offset(fd: int, header: int, name: str, where: str) -> int:
    """Where an entry's bytes begin: behind its local header, whose length the directory does not tell."""
    # An offset that no file has makes pread fail.
    raw = read_up_to(fd, _LOCAL.size, header) if header < 2**62 else b""
    if len(raw) == _LOCAL.size and raw.startswith(b"PK\3\4"):
        fields = _LOCAL.unpack(raw)
        name_length, extra_length = fields[9], fields[10]
        if read_up_to(fd, name_length, header + _LOCAL.size) == name.encode():
            return header + _LOCAL.size + int(name_length) + int(extra_length)
    raise CheckpointError(f"{where}: {show_name(name)} must begin with its own zip header at byte {header}; {_AGAIN}")
