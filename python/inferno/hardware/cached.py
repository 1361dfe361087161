"""The machine's limits: measured once for each CPU, tier, number of threads and build, then kept in a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from inferno import _core
from inferno.hardware.cpus import check_isa, check_threads, cpu_model, usable_cpus
from inferno.hardware.rates import Limits
from inferno.progress import Progress, SilentProgress

_FOLDER = "limits"
# A file of limits has about 20 kB.
_MAX_BYTES = 1 << 20
# How long figures of a busy machine are kept.
_BUSY_SECONDS = 600


def limits(
    threads: int | None = None,
    isa: str | None = None,
    *,
    types: Iterable[str] = (),
    measure_again: bool = False,
    progress: Progress | None = None,
) -> Limits:
    """The limits of `threads` threads (None: the usable CPUs) with the tier `isa` (None: the default).

    From the cache folder if they were measured before with this build, else measured now, which takes a few seconds
    and all of the threads. `types` are rate names (hardware.rates.rate_name) that must be among them: those of floating
    point always are, each type of codes is measured when it is first asked for, in less than a second. What was
    measured while the machine was busy (Limits.steady is false) is kept for ten minutes only. A cache that cannot be
    read or written costs the measurement and is no error. Raises UsageError or HardwareError for arguments that cannot
    be.
    """
    key = limits_key(check_threads(threads), check_isa(isa))
    path = limits_path(key)
    known = None if measure_again else _read(path, key)
    shown = progress or SilentProgress()
    if known is None:
        from inferno.hardware.measuring import measure

        known = measure(key, shown)
        _write(path, known)
    missing = known.missing(types)
    if missing:
        from inferno.hardware.measuring import measure_types

        known = measure_types(known, missing, shown)
        _write(path, known)
    return known


def known_limits(threads: int | None = None, isa: str | None = None) -> Limits | None:
    """The limits if they were measured before; None otherwise. Measures nothing."""
    key = limits_key(check_threads(threads), check_isa(isa))
    return _read(limits_path(key), key)


def limits_key(threads: int, isa: str) -> dict[str, str]:
    """What measured limits hold for."""
    from inferno import __version__

    return {
        "cpu": cpu_model() or "unknown",
        "cpus": str(usable_cpus()),
        "isa": isa,
        "threads": str(threads),
        "version": __version__,
        "build": build_hash(),
    }


def limits_path(key: dict[str, str]) -> Path:
    """Where the limits of this key lie. A new version or build takes the place of the old one."""
    from inferno.cache import cache_folder

    lasting = {name: value for name, value in key.items() if name not in ("version", "build")}
    digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
    return cache_folder() / _FOLDER / f"{key['isa']}-{key['threads']}-{digest[:12]}.json"


def build_hash() -> str:
    """SHA-256 of the extension's file, so that new kernels are measured anew."""
    return hashlib.sha256(Path(_core.__file__).read_bytes()).hexdigest()


def _read(path: Path, key: dict[str, str]) -> Limits | None:
    try:
        with path.open("rb") as file:
            found = Limits.from_json(json.loads(file.read(_MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return None
    return found if dict(found.key) == key and (found.steady or _age(found) < _BUSY_SECONDS) else None


def _age(found: Limits) -> float:
    """Seconds since the measurement; infinitely many if that cannot be told."""
    try:
        seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(found.measured)).total_seconds()
    except (ValueError, TypeError):
        return math.inf
    return seconds if seconds >= 0 else math.inf


def _write(path: Path, measured: Limits) -> None:
    """Writes beside the place and renames, so that a reader finds all or nothing."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(measured.as_json(), file)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial)
            raise
