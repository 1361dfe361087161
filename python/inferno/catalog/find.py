"""All models of this machine, each once, under the name that `-m` takes, with what a load would say of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferno.catalog.cached import CachedModel, cached_revisions, download_finding
from inferno.catalog.entry import ModelEntry, Source
from inferno.catalog.walk import Found, Identity, show_path, walk
from inferno.errors import ConfigError, InfernoError, ModelNotFoundError
from inferno.files import MAX_CONFIG_BYTES, open_regular, read_json, read_up_to
from inferno.findings import Finding
from inferno.model_folder import CONFIG, list_folder
from inferno.model_path import VARIABLE, find_by_name, is_set, model_path
from inferno.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from inferno.analysis.inspection import Inspection

Tell = Callable[[str], object]
# From here on it takes long enough to be worth a bar.
_MANY = 20


def find_models(
    folders: Sequence[str | os.PathLike[str]] | None = None,
    *,
    tell: Tell | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Iterator[ModelEntry]:
    """The models in `folders` and below; with None those in the current folder, in the folders of INFERNO_MODEL_PATH
    (~/models if it is not set), in the Hugging Face cache, and the demo model, fetched or not.

    Each comes once, however many ways lead to it, and under the shortest name. Only names, small files and headers are
    read. `tell` gets a line for each folder that could not be read or was not searched to its end; `threads` is for
    the plan by which a model is judged. Raises ModelNotFoundError for one of `folders` that is not there, UsageError
    or HardwareError for arguments and variables that no model could run with; for what a model is, never.
    """
    from inferno import hardware

    hardware.check_threads(threads)
    hardware.check_isa(None)
    tell = tell or (lambda _: None)
    places = _given(folders, tell) if folders is not None else _everywhere(tell)
    return _judged(places, progress or SilentProgress(), threads)


@dataclass(frozen=True)
class _Place:
    """Where a model lies, before it is looked at."""

    name: str
    path: Path
    kind: str = "model"
    cached: CachedModel | None = None


def _judged(places: list[_Place], progress: Progress, threads: int | None) -> Iterator[ModelEntry]:
    shown = len(places) >= _MANY
    if shown:
        progress.start(f"Looking at {len(places)} models", len(places))
    try:
        for place in places:
            yield _entry(place, threads)
            if shown:
                progress.advance(1)
    finally:
        if shown:
            progress.finish()


def _given(folders: Sequence[str | os.PathLike[str]], tell: Tell) -> list[_Place]:
    places: list[_Place] = []
    seen: set[Identity] = set()
    for given in folders:
        root = Path(os.path.expanduser(given))
        if root.suffix.lower() == ".gguf" and root.is_file():
            places.append(_Place(_plain(root), root, "gguf"))
            continue
        list_folder(root)  # names what it is, if it is no folder
        places += (_Place(_plain(found.path), found.path, found.kind) for found in _new(walk(root, tell), seen))
    return places


def _everywhere(tell: Tell) -> list[_Place]:
    from inferno.demo import find_demo

    cached = cached_revisions()
    demo = find_demo()
    # What has a better name than its path comes under that.
    seen = {identity for path in (*(model.path for model in cached), demo) if (identity := _identity(path))}
    places = [_Place(_plain(found.path), found.path, found.kind) for found in _new(walk(Path(), tell), seen)]
    for root in model_path():
        if not root.is_dir():
            if is_set():
                tell(f"{VARIABLE}: {show_path(root)} is no folder; left out")
            continue
        places += (_Place(_name_in(root, found), found.path, found.kind) for found in _new(walk(root, tell), seen))
    places += (_Place(model.name, model.path, cached=model) for model in cached)
    return [*places, _Place("demo", demo) if demo is not None else _Place("demo", Path(), "not fetched")]


def _new(found: list[Found], seen: set[Identity]) -> Iterator[Found]:
    for item in found:
        if item.identity not in seen:
            seen.add(item.identity)
            yield item


def _identity(path: Path | None) -> Identity | None:
    if path is not None:
        with suppress(OSError):
            status = path.stat()
            return status.st_dev, status.st_ino
    return None


def _plain(path: Path) -> str:
    """The path as `-m` takes it for that path: no word that means something else, nothing that looks like a flag."""
    text = str(path)
    return f"./{text}" if text == "demo" or text.startswith(("-", "~")) or not text.strip() else text


def _name_in(root: Path, found: Found) -> str:
    """The bare name, where it leads to this folder and nothing comes before it."""
    if found.kind == "model" and found.path.parent in (root, root / found.path.parent.name):
        name = found.path.relative_to(root).as_posix()
        if name != "demo" and not name.startswith(("-", "~")) and name.strip() and not os.path.lexists(name):
            first = find_by_name(name)
            if first is not None and first == found.path:
                return name
    return _plain(found.path)


def _entry(place: _Place, threads: int | None) -> ModelEntry:
    if place.kind == "gguf":
        return _gguf_entry(place)
    if place.kind == "not fetched":
        return _unfetched_demo()
    source: Source = "hub" if place.cached is not None else "demo" if place.name == "demo" else "folder"
    entry = _model_entry(ModelEntry(place.name, place.path, source, "cannot run"), threads)
    if place.cached is not None:
        entry = replace(entry, revision=place.cached.revision)
        finding = download_finding(place.cached, entry.can_run)
        entry = entry if finding is None else entry.with_finding(finding)
    return entry


def _model_entry(entry: ModelEntry, threads: int | None) -> ModelEntry:
    from inferno.analysis import analyze_folder
    from inferno.analysis.inspection import inspect_report

    try:
        report = analyze_folder(entry.path, entry.name)
        inspection = inspect_report(report, threads=threads)
    except InfernoError as error:
        return replace(entry, findings=(replace(Finding.from_error(error, entry.path), error=None),))
    except OSError as problem:  # it went away, or was changed meanwhile
        return replace(entry, findings=(Finding("error", "unreadable", str(entry.path), str(problem)),))
    except Exception as problem:  # a fault of ours: one model must not hide the others
        return replace(entry, findings=(_fault(entry.path, problem),))
    config = report.config
    return replace(
        entry,
        status=inspection.status,
        layout=report.layout,
        architecture=_architecture(entry.path) if config is None else config.architectures[0],
        parameters=report.parameters or None,
        dtype=report.dtype or None,
        scheme=report.scheme.name if report.tensors else None,
        weight_bytes=report.weight_bytes or None,
        context=None if config is None else config.max_position_embeddings,
        findings=_kept(inspection),
    )


def _fault(path: Path, problem: Exception) -> Finding:
    message = f"could not be judged: unexpected {type(problem).__name__}: {problem}"
    return Finding("error", "internal-error", str(path), message, "please report it")


def _kept(inspection: Inspection) -> tuple[Finding, ...]:
    # An exception holds on to the frames it went through, and with them to every mapped file.
    return tuple(replace(finding, error=None) for finding in inspection.findings)


def _architecture(folder: Path) -> str | None:
    """What config.json calls itself, for a model that Inferno does not know."""
    try:
        config: dict[str, Any] = read_json(folder / CONFIG, ConfigError, MAX_CONFIG_BYTES)
    except InfernoError:
        return None
    names = config.get("architectures")
    named = names[0] if isinstance(names, list) and names else config.get("model_type")
    return named[:100] if isinstance(named, str) and named else None


def _gguf_entry(place: _Place) -> ModelEntry:
    entry = ModelEntry(place.name, place.path, "folder", "can be imported", dtype="GGUF")
    try:
        fd, nbytes = open_regular(place.path, ModelNotFoundError)
        try:
            magic = read_up_to(fd, 4)
        finally:
            os.close(fd)
    except InfernoError as error:
        return replace(entry, status="cannot run", findings=(replace(Finding.from_error(error), error=None),))
    if magic != b"GGUF":
        wrong = Finding("error", "gguf-damaged", str(place.path), 'must begin with "GGUF"', "download it again")
        return replace(entry, status="cannot run", weight_bytes=nbytes, findings=(wrong,))
    out = place.path.with_suffix("").name
    command = shlex.join(["inferno", "import", place.name, _plain(Path(out))])
    advice = Finding("note", "gguf", str(place.path), "is a GGUF file", f"import it with `{command}`")
    return replace(entry, weight_bytes=nbytes, findings=(advice,))


def _unfetched_demo() -> ModelEntry:
    from inferno.demo import MODEL_NAME, demo_folder

    note = Finding("note", "not-fetched", "demo", f"{MODEL_NAME} is not on this machine yet", "inferno pull demo")
    return ModelEntry("demo", demo_folder(), "demo", "not fetched", findings=(note,))
