"""Reading the small files of a model folder, and wording what is wrong with them.

Nothing here trusts a file: sizes are bounded before anything is read, pipes and devices are never waited for, and text
from a file is escaped before it enters a message.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inferno.errors import CheckpointError, ConfigError, InfernoError

# Far above any real config, index or tokenizer (the largest tokenizer.json in use have about 35 MB).
MAX_JSON_BYTES = 256 << 20
# Far above any config.json, params.json or generation_config.json of a model: a few kilobytes. JSON takes some thirty
# times its size in memory, so 256 MB of it are too much where a file has no reason to be large.
MAX_CONFIG_BYTES = 1 << 20

_LFS_MAGIC = b"version https://git-lfs"
_LFS_REPAIR = "run `git lfs install && git lfs pull` in the folder, or download the file itself"


def show(value: object, limit: int = 80) -> str:
    """A value from a file as a message may print it: JSON, ASCII, on one line, at most `limit` characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "brackets nested too deeply"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def show_name(name: str, limit: int = 200) -> str:
    """A tensor or file name: bare if it is plain, else as a JSON string, so that no control character gets out."""
    plain = name.isascii() and name.isprintable() and " " not in name and name != ""
    return name if plain and len(name) <= limit else show(name, limit)


def show_some(items: Sequence[str], limit: int = 3) -> str:
    """The first few items, and how many more there are."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")


def open_regular(path: Path, error: type[InfernoError]) -> tuple[int, int]:
    """Opens a regular file for reading only; returns its descriptor and its size in bytes. The caller closes it.

    Raises `error` if it cannot be read or is no regular file; a pipe or a device is not waited for.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        if path.is_symlink() and not path.exists():
            raise error(f"{path}: is a link to {os.readlink(path)}, which does not exist; download it again") from None
        raise error(f"{path}: must be readable; got {problem.strerror}") from None
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe, a device or a socket"
        raise error(f"{path}: must be a regular file; got {kind}")
    return fd, info.st_size


def read_up_to(fd: int, size: int, offset: int = 0) -> bytes:
    """Reads `size` bytes at `offset`, fewer only where the file ends."""
    parts = []
    while size > 0:
        part = os.pread(fd, min(size, 1 << 30), offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def refuse_lfs_pointer(path: Path, head: bytes, error: type[InfernoError] = CheckpointError) -> None:
    """Raises `error` if a file that begins with `head` is a Git-LFS pointer instead of the file that it stands for."""
    if head.startswith(_LFS_MAGIC):
        raise error(f"{path}: must be the file itself; got a Git-LFS pointer to it; {_LFS_REPAIR}")


def read_json(path: Path, error: type[InfernoError] = ConfigError, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises `error` if the file cannot be read, is a Git-LFS pointer, is larger than `max_bytes`, is not UTF-8, is not
    JSON, is not an object, or gives a key twice (readers differ in which of the two they take).
    """
    fd, size = open_regular(path, error)
    try:
        if size > max_bytes:
            raise error(f"{path}: must be at most {max_bytes} bytes; got {size}")
        raw = read_up_to(fd, size)
    finally:
        os.close(fd)
    refuse_lfs_pointer(path, raw, error)
    if not raw.strip():
        raise error(f"{path}: must hold a JSON object; got an empty file; download it again")
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique_keys)
    except UnicodeDecodeError as problem:
        raise error(f"{path}: must be UTF-8; got byte 0x{raw[problem.start]:02x} at {problem.start}") from None
    except json.JSONDecodeError as problem:
        raise error(f"{path}: must be JSON; line {problem.lineno} column {problem.colno}: {problem.msg}") from None
    except RecursionError:
        raise error(f"{path}: must be JSON of moderate depth; got brackets nested too deeply") from None
    except ValueError as problem:
        raise error(f"{path}: must be JSON; {problem}") from None
    if not isinstance(value, dict):
        raise error(f"{path}: must hold a JSON object; got {show(value)}")
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`object_pairs_hook` for `json.loads`: a dict; ValueError if a key comes twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {show(key)} must be given once; got it twice")
            seen.add(key)
    return result
