"""Folders that appear whole or not at all: filled beside their place under another name, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inferno.errors import InfernoError, UsageError

# `.NAME.RANDOM.partial`: hidden, and beside the target so that the rename stays on one file system.
PARTIAL_SUFFIX = ".partial"


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside `target`, which becomes `target` when the body ends without an exception.

    Raises UsageError if `target` exists and is not an empty folder (before the body, or because another process was
    faster), InfernoError if its place cannot be written. On an exception nothing is left behind, no folder above the
    target either; after a kill, only the hidden partial folder.
    """
    check_free(target)
    # "." has no name, and no system renames a folder to it.
    place = target if target.name not in ("", "..") else target.resolve()
    above = [folder for folder in place.parents if not folder.exists()]
    try:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=PARTIAL_SUFFIX, dir=place.parent))
        except OSError as error:
            raise InfernoError(f"{place.parent}: cannot be written: {error.strerror or error}") from error
        try:
            stage.chmod(0o777 & ~_umask())  # mkdtemp's folders are for their owner alone
            with _reporting_full_disk(place):
                yield stage
                _rename(stage, place)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        for folder in above:  # one that holds something stays, and so do those above it
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _reporting_full_disk(target: Path) -> Iterator[None]:
    """Turns the system's error for a full disk into an InfernoError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InfernoError(f"{target.parent}: no space left on the disk; free some and start again") from error
        raise


def check_free(target: Path) -> None:
    """Raises UsageError unless `target` is absent or an empty folder, InfernoError for a name that cannot be one."""
    try:
        _check_free(target)
    except OSError as error:
        raise InfernoError(f"{target}: cannot be written: {error.strerror or error}") from error


def _check_free(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target}: must be a folder that is absent or empty; it exists and is no folder")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target}: must be absent or empty; it holds files. Choose another folder, or empty it")
    if os.path.ismount(target):
        raise UsageError(f"{target}: must be a folder that can be replaced; it is a mount point. Choose one inside it")


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
