"""One safetensors file: mapped read-only, its header checked, its tensors as views."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from inferno.checkpoint.header import MAX_HEADER_BYTES, parse_header
from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError
from inferno.files import open_regular, read_up_to, refuse_lfs_pointer

_AGAIN = "download it again"
_MAGICS = (
    (b"GGUF", "a GGUF file; import it with `inferno import MODEL.gguf OUT`"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes it; convert it with transformers' save_pretrained()"),
    (b"\x80\x02", "a Python pickle; convert it with transformers' save_pretrained()"),
    (b"\x89HDF", "an HDF5 file; download the safetensors files instead"),
    (b"<", "a web page; it may need a login or another address; download the file itself"),
)


def open_safetensors(path: Path) -> dict[str, Tensor]:
    """Maps a file and reads its header: its tensors by name, in the order of their data.

    Only the header is read. Raises CheckpointError if the file cannot be read or breaks the format, UnsupportedError
    for a dtype that safetensors does not know.
    """
    fd, size = open_regular(path, CheckpointError)
    try:
        raw = _read_header(fd, size, path)
        entries, data_bytes = parse_header(raw, str(path))
        start = 8 + len(raw)
        _check_length(path, expected=start + data_bytes, size=size)
        mapped = map_file(fd, size, path)
    finally:
        os.close(fd)
    return {
        name: Tensor(name, dtype, shape, end - begin, path, mapped, start + begin)
        for name, (dtype, shape, begin, end) in entries.items()
    }


def _read_header(fd: int, size: int, path: Path) -> bytes:
    head = read_up_to(fd, 64)
    refuse_lfs_pointer(path, head)
    for magic, what in _MAGICS:
        # A header that long would be refused below all the same: no true file begins like this.
        if head.startswith(magic) and int.from_bytes(head[:8].ljust(8, b"\xff"), "little") > MAX_HEADER_BYTES:
            raise CheckpointError(f"{path}: must be a safetensors file; got {what}")
    if len(head) < 8:
        raise CheckpointError(f"{path}: must be at least 8 bytes; got {size}: the file is truncated; {_AGAIN}")
    length = int.from_bytes(head[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: the header must be at most {MAX_HEADER_BYTES} bytes; got {length}; this is no safetensors file"
        )
    raw = read_up_to(fd, length, 8)
    if len(raw) < length:
        raise _truncated(path, f"at least {8 + length}", size, 8 + length - size)
    return raw


def _check_length(path: Path, expected: int, size: int) -> None:
    if size < expected:
        raise _truncated(path, str(expected), size, expected - size)
    if size > expected:
        raise CheckpointError(
            f"{path}: must be {expected} bytes, as its header says; got {size}: {size - expected} bytes too "
            f"many; {_AGAIN}"
        )


def _truncated(path: Path, expected: str, size: int, missing: int) -> CheckpointError:
    return CheckpointError(
        f"{path}: must be {expected} bytes, as its header says; got {size}: the file is truncated, {missing} bytes are "
        f"missing; {_AGAIN}"
    )


def map_file(fd: int, size: int, path: Path) -> mmap.mmap:
    """The whole file, read-only. CheckpointError if the system cannot map it."""
    try:
        return mmap.mmap(fd, size, access=mmap.ACCESS_READ)
    except (OSError, ValueError, OverflowError) as problem:
        raise CheckpointError(f"{path}: must be a file that can be mapped; got {problem}") from None
