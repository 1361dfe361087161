"""All that `inferno doctor` finds out: machine, build, speed, self-test, Python, folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from inferno import __version__, _core, hardware
from inferno.selftest import Check, run_selftest

if TYPE_CHECKING:
    from inferno.progress import Progress

# Extras for work on Inferno itself.
_DEVELOPERS = ("test", "lint", "oracle")


@dataclass(frozen=True)
class Build:
    """This installation: the version, the extension's file and what built it (None if it does not tell)."""

    version: str
    extension: str
    sha256: str
    compiler: str | None


@dataclass(frozen=True)
class Package:
    """A package that Inferno uses: `extra` is the extra that brings it ("" for all), `version` None if it is absent."""

    name: str
    extra: str
    version: str | None


@dataclass(frozen=True)
class Python:
    """The interpreter and the packages."""

    version: str
    implementation: str
    packages: tuple[Package, ...]


@dataclass(frozen=True)
class Folder:
    """A folder that Inferno keeps things in, or would make; `free` bytes on its disk, None if that cannot be told."""

    purpose: str
    path: str
    exists: bool
    writable: bool
    free: int | None


@dataclass(frozen=True)
class Diagnosis:
    """Everything together."""

    machine: hardware.Machine
    build: Build
    limits: hardware.Limits
    checks: tuple[Check, ...]
    python: Python
    folders: tuple[Folder, ...]

    @property
    def passed(self) -> bool:
        """Whether every kernel computes what it should."""
        return all(check.passed for check in self.checks)


def diagnose(
    threads: int | None = None, isa: str | None = None, *, measure_again: bool = False, progress: Progress | None = None
) -> Diagnosis:
    """Looks, tries and, where it must, measures. Raises UsageError or HardwareError for arguments that cannot be."""
    return Diagnosis(
        machine=hardware.machine(),
        build=build(),
        limits=hardware.limits(threads, isa, measure_again=measure_again, progress=progress),
        checks=tuple(run_selftest()),
        python=python(),
        folders=folders(),
    )


def build() -> Build:
    """The build that is running."""
    from inferno.hardware.cached import build_hash

    extension = Path(_core.__file__)
    return Build(__version__, str(extension), build_hash(), compiler(extension.read_bytes()))


def compiler(image: bytes) -> str | None:
    """The compiler that an object file names in its comment section, as GCC and Clang write it."""
    found = re.search(rb"(GCC: \([ -~]{1,100}|[ -~]{0,40}clang version [ -~]{1,100})\x00", image)
    return found[1].decode("ascii").strip() if found else None


def python() -> Python:
    """The interpreter, and the packages that this installation asks for or could use."""
    try:
        required = metadata.requires("inferno") or []
    except metadata.PackageNotFoundError:
        required = []
    packages = []
    for requirement in ["numpy", *required]:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        if name and name[0] != "inferno" and (extra is None or extra[1] not in _DEVELOPERS):
            packages.append(Package(name[0], extra[1] if extra else "", _version(name[0])))
    return Python(platform.python_version(), platform.python_implementation(), tuple(dict.fromkeys(packages)))


def folders() -> tuple[Folder, ...]:
    """Inferno's own cache folder and the Hugging Face hub's."""
    from inferno.cache import cache_folder
    from inferno.hub_cache import hub_cache_folder

    return (folder("cache", cache_folder()), folder("Hugging Face cache", hub_cache_folder()))


def folder(purpose: str, path: Path) -> Folder:
    """What can be done there; of a folder that does not exist yet, in the nearest one above that does."""
    existing = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    try:
        free: int | None = shutil.disk_usage(existing).free
    except OSError:
        free = None
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return Folder(purpose, str(path), path.is_dir(), writable, free)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
