"""Models in the local Hugging Face cache, found without the network and without loading huggingface_hub.

Layout and environment variables are huggingface_hub's. A snapshot fills up file by file, so a folder that is there may
still lack files. What Inferno fetched is on record, with every file and its size; of what other programs fetched,
only a snapshot that holds config, tokenizer and all weights, beside no unfinished download, passes for whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inferno.cache import cache_folder, make_cache_folder
from inferno.errors import CheckpointError
from inferno.files import read_json

MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
DEFAULT_REVISION = "main"
COMMIT = re.compile(r"[0-9a-f]{40}")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_INDEX_BYTES = 100_000_000


def hub_cache_folder() -> Path:
    """Where huggingface_hub keeps models: it reads HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME and XDG_CACHE_HOME."""
    environ = os.environ
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(folder)).expanduser()


def model_cache_folder(model_id: str) -> Path:
    """The cache's folder for one model: refs, snapshots, blobs."""
    return hub_cache_folder() / ("models--" + model_id.replace("/", "--"))


def find_snapshot(model_id: str, revision: str) -> Path | None:
    """The complete snapshot of `revision` (a branch, a tag or a commit), or None."""
    folder = model_cache_folder(model_id)
    pinned = read_record(model_id).get(revision)
    if isinstance(pinned, dict):
        snapshot = folder / "snapshots" / str(pinned.get("commit"))
        if _has_files(snapshot, pinned.get("files")):
            return snapshot
    commit = revision if COMMIT.fullmatch(revision) else _read_ref(folder, revision)
    if commit is None:
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if _looks_whole(folder, snapshot) else None


def cached_models() -> list[str]:
    """Ids of the models of which the cache holds anything, sorted."""
    names = (folder.name.removeprefix("models--") for folder in hub_cache_folder().glob("models--*--*"))
    return sorted(name.replace("--", "/", 1) for name in names)


def read_record(model_id: str) -> dict[str, Any]:
    """What Inferno fetched of a model: revision asked for -> {commit, files: {name: bytes}, endpoint}."""
    try:
        record = json.loads(_record_path(model_id).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(model_id: str, revision: str, entry: Mapping[str, Any]) -> None:
    """Adds a fetched revision to the record; the file is replaced as a whole."""
    make_cache_folder()
    path = _record_path(model_id)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(read_record(model_id) | {revision: entry}, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def weight_files(snapshot: Path) -> list[str] | None:
    """Names of the weight files that a snapshot must hold; None if that cannot be told from what is there."""
    if not os.path.lexists(snapshot / _INDEX):
        return [_SINGLE]
    try:
        weight_map = read_json(snapshot / _INDEX, CheckpointError, _MAX_INDEX_BYTES)["weight_map"]
        return sorted({str(name) for name in weight_map.values()})
    except (CheckpointError, KeyError, TypeError, AttributeError):
        return None


def _record_path(model_id: str) -> Path:
    return cache_folder() / "hub" / (model_id.replace("/", "--") + ".json")


def _read_ref(folder: Path, revision: str) -> str | None:
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def _has_files(snapshot: Path, files: Any) -> bool:
    try:
        return bool(files) and all((snapshot / name).stat().st_size == size for name, size in files.items())
    except (OSError, AttributeError, TypeError):
        return False


def _looks_whole(folder: Path, snapshot: Path) -> bool:
    weights = weight_files(snapshot)
    if weights is None or any((folder / "blobs").glob("*.incomplete")):
        return False
    has_tokenizer = any(os.path.isfile(snapshot / name) for name in ("tokenizer.json", "tokenizer.model"))
    return has_tokenizer and all(os.path.isfile(snapshot / name) for name in ("config.json", *weights))
