"""A model's name or path -> its folder."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inferno.catalog.signs import ORIGINAL, has_weights, is_model_folder, signs_in
from inferno.errors import DownloadError, ModelNotFoundError, UsageError
from inferno.model_path import find_by_name, model_path
from inferno.progress import Progress

DEMO = "demo"


@dataclass(frozen=True)
class ModelLocation:
    """Where a model lies; revision: the commit, for models of the hub."""

    path: Path
    name: str
    source: Literal["folder", "hub", "demo"]
    revision: str | None = None


def resolve_model(
    model: str | os.PathLike[str] | None, *, revision: str | None = None, progress: Progress | None = None
) -> ModelLocation:
    """Finds a model: None or "demo" is the demo model, else an existing folder, else a folder of that name in
    INFERNO_MODEL_PATH (~/models if it is not set), else a Hugging Face id (ORG/NAME).

    The demo model and models of the hub are fetched if they are not on this machine. A folder named demo is "./demo".
    revision is for ids alone: with one, ORG/NAME is not looked for in INFERNO_MODEL_PATH. Raises ModelNotFoundError if
    nothing fits, with what is near; UsageError for an empty name or a revision that has no meaning; as well as what
    fetching raises.
    """
    text = DEMO if model is None else os.fspath(model)
    if not text.strip():
        raise UsageError("model must be a folder, a Hugging Face id or 'demo'; got an empty name")
    path = Path(os.path.expanduser(text))
    is_name = model is None or isinstance(model, str)
    if is_name and text == DEMO:
        return _demo(revision, progress)
    if os.path.lexists(path) or not is_name or _looks_like_path(text):
        return _folder(path, revision)
    from inferno.hub_cache import MODEL_ID

    is_id = MODEL_ID.fullmatch(text) is not None
    named = None if is_id and revision is not None else find_by_name(text)
    if named is not None:
        return _folder(named, revision)
    if is_id:
        return _hub(text, revision, progress)
    raise ModelNotFoundError(
        f"{text!r} is no folder in {Path.cwd()} or {_model_path()}, no Hugging Face id (ORG/NAME) and not 'demo'."
        f"{_suggestions(text)}"
    )


def _demo(revision: str | None, progress: Progress | None) -> ModelLocation:
    from inferno.demo import MODEL_NAME, ensure_demo

    _no_revision(revision, "the demo model")
    return ModelLocation(ensure_demo(progress), MODEL_NAME, "demo")


def _hub(model_id: str, revision: str | None, progress: Progress | None) -> ModelLocation:
    from inferno.hub import fetch

    try:
        path = fetch(model_id, revision, progress)
    except (DownloadError, ModelNotFoundError) as error:
        # The id may have been meant as a path: then what lies there helps more than a word on the network.
        near = [near for folder in (Path(), *model_path()) for near in _near(folder / model_id)]
        if not near:
            raise
        raise type(error)(f"{error}. Near {model_id} on this machine: {', '.join(near)}") from error
    return ModelLocation(path, model_id, "hub", path.name)


def _folder(path: Path, revision: str | None) -> ModelLocation:
    _no_revision(revision, f"{path}, a folder")
    if not os.path.exists(path):
        if os.path.islink(path):
            raise ModelNotFoundError(f"{path}: is a link to {os.readlink(path)}, which does not exist")
        raise ModelNotFoundError(_no_such_folder(path))
    if not path.is_dir():
        from inferno.model_folder import list_folder

        list_folder(path)  # names what the file is, and what to give instead
    if not is_model_folder(path):
        inside = _models_in(path)
        if inside:
            raise ModelNotFoundError(f"{path}: holds no model itself, but folders that do; give one of {_some(inside)}")
    elif is_model_folder(path / ORIGINAL) and not has_weights(signs_in(path)):
        raise ModelNotFoundError(
            f"{path}: holds no weights itself; {path / ORIGINAL} does, as Meta published them; give that folder"
        )
    resolved = path.resolve()
    return ModelLocation(path, resolved.name or str(resolved), "folder")


def _no_revision(revision: str | None, what: str) -> None:
    if revision is not None:
        raise UsageError(f"revision must be left out for {what}; it is for Hugging Face ids; got {revision!r}")


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.endswith("/") or text.count("/") > 1


def _no_such_folder(path: Path) -> str:
    near = _near(path)
    if near:
        return f"{path}: no such folder. Near it: {', '.join(near)}"
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    models = _models_in(existing) if existing == path.absolute().parent else []
    hint = f"{existing} holds the models {_some(models)}" if models else f"the path exists as far as {existing}"
    return f"{path}: no such folder; {hint}"


def _near(path: Path) -> list[str]:
    """Existing neighbours whose names are like the one given."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    return [str(path.parent / name) for name in difflib.get_close_matches(path.name, names, n=3)]


def _models_in(folder: Path) -> list[Path]:
    """Model folders one level down, and below a hub cache's `snapshots`."""
    try:
        children = sorted(entry for entry in folder.iterdir() if entry.is_dir())
        children += sorted((folder / "snapshots").glob("*/"))
    except OSError:
        return []
    return [child for child in children if is_model_folder(child)]


def _some(paths: list[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:5])
    return shown + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")


def _model_path() -> str:
    return _some(model_path()) or "INFERNO_MODEL_PATH"


def _suggestions(text: str) -> str:
    """What the name may have meant: ids in the cache, model folders here and in the model path; or what there is."""
    from inferno.hub_cache import cached_models

    ids = cached_models()
    here = _models_in(Path.cwd())
    named = [folder for root in model_path() for folder in _models_in(root)]
    # Small letters -> what to write; an id is also meant by the part behind its owner.
    words = {model_id.partition("/")[2].lower(): model_id for model_id in ids}
    words |= {name.lower(): name for name in (*ids, DEMO, *(folder.name for folder in (*named, *here)))}
    found = difflib.get_close_matches(text.lower(), words, n=3)
    if found:
        return f" Did you mean {' or '.join(dict.fromkeys(words[word] for word in found))}?"
    models = [*here, *named]
    return f" Models here: {_some(models)}" if models else ""
