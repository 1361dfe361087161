"""Files of the text layer: read whole, every fault a TextError that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from inferno.errors import TextError
from inferno.files import MAX_JSON_BYTES, open_regular, read_json, read_up_to, refuse_lfs_pointer


def read_bytes(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The file's bytes. Raises TextError: unreadable, not a regular file, too large, or a Git-LFS pointer."""
    fd, size = open_regular(path, TextError)
    try:
        if size > max_bytes:
            raise TextError(f"{path}: must be at most {max_bytes} bytes; got {size}")
        data = read_up_to(fd, size)
    finally:
        os.close(fd)
    refuse_lfs_pointer(path, data, TextError)
    return data


def read_text(path: Path) -> str:
    """The file as UTF-8, without a byte-order mark. Raises TextError as read_bytes does, and for other encodings."""
    return decoded(path, read_bytes(path))


def read_optional_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; {} if there is no such file. Raises TextError."""
    return read_json(path, TextError) if os.path.lexists(path) else {}


def decoded(path: Path, data: bytes) -> str:
    """`data`, the content of `path`, as UTF-8. Raises TextError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{path}: must be UTF-8; got byte 0x{data[error.start]:02x} at {error.start}") from None


def refuse_surrogates(where: str, text: str) -> None:
    """Raises TextError for a lone surrogate, which JSON's escapes can write and UTF-8 cannot. `where`: file, field."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{where} must be valid Unicode; got a lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}; download it again"
        ) from None


def refuse_broken_json(path: Path, data: bytes) -> None:
    """Raises TextError if `data`, the content of `path`, is no JSON, and tells a truncated file from another fault."""
    text = decoded(path, data)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip() or error.msg.startswith("Unterminated string"):
            raise TextError(
                f"{path}: must be whole; got {len(data)} bytes that end in the middle. Download it again"
            ) from None
        raise TextError(
            f"{path}: must be JSON; line {error.lineno} column {error.colno}: {error.msg}. Download it again"
        ) from None
    except RecursionError:
        raise TextError(f"{path}: must be JSON of moderate depth; got brackets nested too deeply") from None
