"""A text that a command reads from a file or from stdin."""

from __future__ import annotations

import os
from pathlib import Path

from inferno.cli.prompt import MAX_PROMPT_BYTES, stdin_bytes
from inferno.errors import TextError, UsageError
from inferno.files import open_regular, read_up_to


def read_text_file(path: str) -> str:
    """The text in a file; "-" is stdin. UsageError if it cannot be read, TextError if it is too long or not UTF-8."""
    if path == "-":
        return decoded(stdin_bytes("a text"), "standard input")
    return decoded(file_bytes(Path(path)), path)


def file_bytes(path: Path) -> bytes:
    """A regular file's bytes. UsageError if it cannot be read, TextError beyond MAX_PROMPT_BYTES."""
    fd, size = open_regular(path, UsageError)
    try:
        if size > MAX_PROMPT_BYTES:
            raise TextError(f"{path}: must be a text of at most {MAX_PROMPT_BYTES >> 20} MB; got {size} bytes")
        return read_up_to(fd, size)
    finally:
        os.close(fd)


def decoded(data: bytes, where: str, more: str = "") -> str:
    """UTF-8 as text. TextError, with `more` behind its advice, for other bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TextError(
            f"{where}: must be UTF-8; got byte 0x{data[error.start]:02x} at offset {error.start}; "
            f"convert it first, for instance with iconv -t UTF-8{more}"
        ) from None
