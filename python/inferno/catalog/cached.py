"""Every model of which the hub's local cache holds anything: each revision, and downloads that have not ended."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inferno.errors import InfernoError
from inferno.files import open_regular, read_up_to, show_name, show_some
from inferno.findings import Finding
from inferno.hub_cache import (
    COMMIT,
    DEFAULT_REVISION,
    MODEL_ID,
    find_snapshot,
    hub_cache_folder,
    read_record,
    weight_files,
)
from inferno.units import plural, size

# Bounds on what one model of the cache may hold, so that a folder of another kind cannot keep the list waiting.
MAX_REFS = 1000
MAX_SNAPSHOTS = 1000


@dataclass(frozen=True)
class CachedModel:
    """One revision of a model in the cache.

    `path` is its snapshot, or the model's folder in the cache if there is no snapshot yet. `revision` is what has to
    be asked for beside the id, None if the id alone means this one. `unfinished`: bytes of each download of the model
    that has not ended; `missing`: files that the revision should have, and has not.
    """

    model_id: str
    path: Path
    revision: str | None
    unfinished: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What `-m` takes: the id, or the path if Inferno's ids do not cover it (gpt2, without an owner)."""
        return self.model_id if MODEL_ID.fullmatch(self.model_id) else str(self.path)

    @property
    def is_whole(self) -> bool:
        """Whether the id (and the revision) leads to this folder without the network."""
        return find_snapshot(self.model_id, self.revision or DEFAULT_REVISION) == self.path


def cached_revisions() -> list[CachedModel]:
    """All of them, sorted by id; the revision that the id alone means comes first."""
    found: list[CachedModel] = []
    for folder in sorted(_folders(hub_cache_folder())):
        if folder.name.startswith("models--"):
            found += _revisions(folder)
    return found


def download_finding(model: CachedModel, can_run: bool) -> Finding | None:
    """What is to be said of a model that has not arrived whole; None if it has, or if more of it would not help."""
    if not model.missing and not can_run:
        return None
    if can_run and (not MODEL_ID.fullmatch(model.model_id) or model.is_whole):
        return None
    parts = []
    if model.missing:
        parts.append(
            f"{plural(len(model.missing), 'file')} missing ({show_some(list(map(show_name, model.missing)), 2)})"
        )
    if model.unfinished:
        parts.append(f"{plural(len(model.unfinished), 'file')} unfinished ({size(sum(model.unfinished))} so far)")
    message = f"the download must have ended; got {', '.join(parts) or 'no record that it has'}"
    repair = f"end it with `inferno pull {model.model_id}{f' --revision {model.revision}' if model.revision else ''}`"
    if can_run:
        repair += f", or give the folder: -m {shlex.quote(str(model.path))}"
    return Finding("warning" if can_run else "error", "download-incomplete", model.model_id, message, repair)


def _revisions(folder: Path) -> Iterator[CachedModel]:
    model_id = folder.name.removeprefix("models--").replace("--", "/", 1)
    unfinished = tuple(_unfinished(folder / "blobs"))
    record = read_record(model_id)
    names = _names_of_commits(folder, record)
    snapshots = [path for path in _folders(folder / "snapshots")[:MAX_SNAPSHOTS] if _holds_anything(path)]
    if not snapshots:
        if unfinished or _holds_anything(folder / "blobs"):
            yield CachedModel(model_id, folder, None, unfinished, ("config.json",))
        return
    default = find_snapshot(model_id, DEFAULT_REVISION) if MODEL_ID.fullmatch(model_id) else None
    models = []
    for path in snapshots:
        revision = None if path == default else _revision(names.get(path.name, []), path.name, default is not None)
        models.append(CachedModel(model_id, path, revision, unfinished, _missing(path, record, unfinished)))
    yield from sorted(models, key=lambda model: (model.revision is not None, model.revision or "", model.path.name))


def _revision(names: list[str], commit: str, default_is_another: bool) -> str | None:
    """How to ask for a commit: not at all if it is the default's, else by its branch or tag, else by itself."""
    others = [name for name in names if name != DEFAULT_REVISION]
    if DEFAULT_REVISION in names and not default_is_another:
        return None
    return next((name for name in others if not COMMIT.fullmatch(name)), commit)


def _names_of_commits(folder: Path, record: Mapping[str, object]) -> dict[str, list[str]]:
    """Commit -> the revisions that mean it: what Inferno has on record, then the cache's refs."""
    names: dict[str, list[str]] = {}
    for revision, entry in record.items():
        if isinstance(entry, dict):
            names.setdefault(str(entry.get("commit")), []).append(revision)
    for revision, commit in _refs(folder / "refs"):
        if revision not in record:
            names.setdefault(commit, []).append(revision)
    return names


def _refs(folder: Path) -> Iterator[tuple[str, str]]:
    count = 0
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            count += 1
            if count > MAX_REFS:
                return
            path = Path(parent, name)
            with suppress(InfernoError):
                yield path.relative_to(folder).as_posix(), _text(path)


def _text(path: Path) -> str:
    fd, length = open_regular(path, InfernoError)
    try:
        return read_up_to(fd, min(length, 200)).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def _missing(snapshot: Path, record: Mapping[str, object], unfinished: Sequence[int]) -> tuple[str, ...]:
    """What was to be fetched, as far as that is known, and is not there."""
    expected: list[str] = []
    for entry in record.values():
        if isinstance(entry, dict) and entry.get("commit") == snapshot.name and isinstance(entry.get("files"), dict):
            expected += map(str, entry["files"])
    if unfinished:
        expected.append("config.json")
    if unfinished or os.path.lexists(snapshot / "model.safetensors.index.json"):
        expected += weight_files(snapshot) or []
    return tuple(sorted({name for name in expected if not os.path.isfile(snapshot / name)}))


def _unfinished(blobs: Path) -> Iterator[int]:
    with suppress(OSError), os.scandir(blobs) as entries:
        for entry in entries:
            if entry.name.endswith(".incomplete"):
                with suppress(OSError):
                    yield entry.stat().st_size


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    return []


def _holds_anything(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return next(entries, None) is not None
    return False
