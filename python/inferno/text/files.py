"""Small text files of a model folder, read with one clear error for each way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inferno.errors import TextError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises TextError if it cannot be read or holds a Git-LFS pointer instead of the content."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: must be a readable file; got {error.strerror or error}") from error
    if data.startswith(LFS_POINTER):
        raise TextError(
            f"{path}: must hold the file itself; got a Git-LFS pointer ({len(data)} bytes). "
            "Run `git lfs pull` in that folder, or download the model again"
        )
    return data


def read_text(path: Path) -> str:
    """The file as UTF-8. Raises TextError."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{path}: must be UTF-8; got byte 0x{data[error.start]:02x} at offset {error.start}") from error


def parse_json(path: Path, text: str) -> Any:
    """`text`, the content of `path`, as JSON. Raises TextError that tells a truncated file from a broken one."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip() or error.msg.startswith("Unterminated string"):
            raise TextError(
                f"{path}: must be whole JSON; got {len(text)} characters that end in the middle. "
                "The file is truncated: download it again"
            ) from error
        raise TextError(
            f"{path}: must be JSON; got {error.msg.lower()} (line {error.lineno}, column {error.colno})"
        ) from error
    except RecursionError as error:
        raise TextError(f"{path}: must be JSON of reasonable depth; got too many nested levels") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from `path`; {} if there is no such file. Raises TextError."""
    if not path.exists():
        return {}
    value = parse_json(path, read_text(path))
    if not isinstance(value, dict):
        raise TextError(f"{path}: must be a JSON object; got {type(value).__name__}")
    return value
