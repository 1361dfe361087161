"""Fetches one wheel through the package index as the user has it set up: with pip, or with uv, whichever is there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inferno.errors import DownloadError

# Words in an installer's output that mean the index was not reached, rather than that it lacks the package.
_NO_NETWORK = ("Retrying (", "NewConnectionError", "name resolution", "dns error", "Connection refused", "timed out")


@dataclass(frozen=True)
class _Installer:
    name: str
    kind: str  # pip or uv
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def fetch_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    """Fetches `requirement` (NAME==VERSION) without its dependencies into the empty folder `folder`.

    Returns the wheel, whose hash the caller checks; or, where only uv is there, which installs but does not download,
    the folder to which uv unpacked it after checking `sha256`. Raises DownloadError with what each installer said.
    """
    failures: dict[str, str] = {}
    failed_kinds: set[str] = set()
    for installer in _installers():
        if installer.kind in failed_kinds:
            continue  # another copy of the same program reads the same settings and fails the same way
        output = _run(installer, requirement, sha256, folder)
        found = _result(installer, folder)
        if output is None and found is not None:
            return found
        failures[installer.name] = output or "it ended without an error, but left no wheel"
        failed_kinds.add(installer.kind)
    raise DownloadError(_explain(requirement, failures))


def _installers() -> Iterator[_Installer]:
    """Those of this machine, the likeliest first: the user's own pip, uv, then pips that are only good for this."""
    if importlib.util.find_spec("pip") is not None:
        yield _Installer("python -m pip", "pip", (sys.executable, "-m", "pip"))
    uv = shutil.which("uv")
    if uv is not None:
        yield _Installer("uv", "uv", (uv,))
    for wheel in _bundled_pips():
        yield _Installer(wheel.name, "pip", (sys.executable, "-m", "pip"), {"PYTHONPATH": str(wheel)})
    base = getattr(sys, "_base_executable", None)
    if base and base != sys.executable:
        yield _Installer(f"{base} -m pip", "pip", (base, "-m", "pip"))


def _bundled_pips() -> list[Path]:
    """The pip wheel that comes with Python for ensurepip; Debian keeps it elsewhere."""
    spec = importlib.util.find_spec("ensurepip")
    folders = [Path(spec.origin).parent / "_bundled"] if spec is not None and spec.origin else []
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(elsewhere))
    return [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"), reverse=True)[:1]]


def _run(installer: _Installer, requirement: str, sha256: str, folder: Path) -> str | None:
    """None if it succeeded, else what it said."""
    temporary = folder / "tmp"  # a partial download lies here, where its growth can be watched
    temporary.mkdir(exist_ok=True)
    if installer.kind == "pip":
        # --only-binary: a source package would run its setup script.
        arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        arguments += ["--progress-bar=off", "--retries=2", f"--dest={folder / 'wheel'}", requirement]
    else:
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        arguments = ["pip", "install", "--no-deps", "--require-hashes", "--no-progress", "--only-binary=:all:"]
        arguments += [f"--python={sys.executable}", f"--target={folder / 'unpacked'}", f"--requirements={pinned}"]
    environment = {**os.environ, **installer.environment, "TMPDIR": str(temporary), "PIP_REQUIRE_VIRTUALENV": "0"}
    try:
        done = subprocess.run(
            [*installer.command, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        return f"{error.strerror or error}"
    return None if done.returncode == 0 else done.stdout or f"it ended with exit code {done.returncode}"


def _result(installer: _Installer, folder: Path) -> Path | None:
    if installer.kind == "uv":
        return folder / "unpacked" if (folder / "unpacked").is_dir() else None
    return next((folder / "wheel").glob("*.whl"), None)


def _explain(requirement: str, failures: Mapping[str, str]) -> str:
    if not failures:
        return (
            f"{requirement} cannot be fetched: this Python has no pip, and no uv is on the PATH. "
            "Install either one (python -m ensurepip), or name a model folder of yours with -m"
        )
    said = "; ".join(f"{name}: {_gist(output)}" for name, output in failures.items())
    if any(word in output for output in failures.values() for word in _NO_NETWORK):
        return (
            f"{requirement} cannot be fetched: the package index could not be reached ({said}). "
            "Check the network and pip's settings, or name a model folder of yours with -m"
        )
    return f"{requirement} cannot be fetched from the package index ({said})"


def _gist(output: str) -> str:
    """The lines that say what went wrong: pip marks them; of others the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.lower().startswith("error:")]
    return " ".join(errors or lines[-2:])
