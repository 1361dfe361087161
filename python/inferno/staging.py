"""Folders that appear whole or not at all: filled beside their place under another name, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inferno.errors import InfernoError, UsageError

# `.NAME.RANDOM.partial`: hidden, and beside the target so that the rename stays on one file system.
PARTIAL_SUFFIX = ".partial"


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside `target`, which becomes `target` when the body ends without an exception.

    Raises UsageError if `target` exists and is not an empty folder (before the body, or because another process was
    faster), InfernoError if its place cannot be written. On an exception nothing is left behind; after a kill, only
    the hidden partial folder.
    """
    check_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PARTIAL_SUFFIX, dir=target.parent))
        stage.chmod(0o777 & ~_umask())  # mkdtemp's folders are for their owner alone
    except OSError as error:
        raise InfernoError(f"{target.parent}: cannot be written: {error.strerror or error}") from error
    try:
        with reporting_full_disk(target):
            yield stage
            _rename(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def reporting_full_disk(target: Path) -> Iterator[None]:
    """Turns the system's error for a full disk into an InfernoError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InfernoError(f"{target.parent}: no space left on the disk; free some and start again") from error
        raise


def check_free(target: Path) -> None:
    """Raises UsageError unless `target` is absent or an empty folder."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target}: must be a folder that is absent or empty; it exists and is no folder")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target}: must be absent or empty; it holds files. Choose another folder, or empty it")


def _rename(stage: Path, target: Path) -> None:
    try:
        os.replace(stage, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UsageError(f"{target}: must be absent or empty; another process has filled it meanwhile") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
