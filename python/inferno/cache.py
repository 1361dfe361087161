"""Inferno's own folder for what it fetched or made.

`$INFERNO_CACHE`, else `$XDG_CACHE_HOME/inferno`, else `~/.cache/inferno`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inferno.errors import InfernoError
from inferno.progress import Progress


def cache_folder() -> Path:
    """Where the cache lies; it may not exist yet."""
    own = os.environ.get("INFERNO_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "inferno"


def make_cache_folder() -> Path:
    """The cache folder, made if absent. Raises InfernoError if it cannot be."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfernoError(
            f"{folder}: the cache folder cannot be made: {error.strerror or error}; "
            "set INFERNO_CACHE to a folder that can be written"
        ) from error
    return folder


@contextmanager
def locked(path: Path, progress: Progress, waiting: str) -> Iterator[None]:
    """Holds the lock file `path` while the body runs; says `waiting` if another process holds it.

    The system releases the lock when its process ends, however it ends. Where file systems know no locks the body
    runs without one: the folders that it makes are renamed into place, so the lock only saves work.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        file = path.open("ab")
    except OSError as error:
        raise InfernoError(
            f"{path}: cannot be written: {error.strerror or error}; set INFERNO_CACHE to a folder that can be written"
        ) from error
    with file:
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    progress.start(waiting, None)
                    said = True
                time.sleep(0.1)
            except OSError:
                break
        if said:
            progress.finish()
        yield
