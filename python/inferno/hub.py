"""Models by their Hugging Face id: from the local cache if they are there, else fetched with huggingface_hub.

Order of a download: the listing (which resolves the revision to a commit), config.json (which may rule the model out),
the other small files, then the weights. So weights that are all there mean that everything is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from inferno.errors import CheckpointError, DownloadError, ModelNotFoundError, UnsupportedError, UsageError
from inferno.files import MAX_CONFIG_BYTES, read_json
from inferno.hub_cache import (
    COMMIT,
    DEFAULT_REVISION,
    MODEL_ID,
    find_snapshot,
    hub_cache_folder,
    model_cache_folder,
    weight_files,
    write_record,
)
from inferno.progress import Progress, SilentProgress, folder_size, watch_folder

# Seconds to wait for a connection, and for the answer to a question about a file.
CONNECT_TIMEOUT = 5.0
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class _Listing:
    """A model at one commit: its files and their sizes."""

    model_id: str
    endpoint: str
    commit: str
    files: dict[str, int]


def fetch(model_id: str, revision: str | None = None, progress: Progress | None = None) -> Path:
    """The folder of a model by its id (ORG/NAME), fetched first if the local cache lacks it or a part of it.

    revision: a branch, tag or commit; the commit that it means is looked up once and kept on record.
    Only safetensors, JSON, Jinja and tokenizer files are fetched, through HF_ENDPOINT if set, into huggingface_hub's
    cache. Raises ModelNotFoundError (no such model, revision or usable file), UnsupportedError (auto_map),
    DownloadError (no network, offline mode, gated, no space), UsageError (not an id).
    """
    if not MODEL_ID.fullmatch(model_id):
        raise UsageError(f"model id must be ORG/NAME as on Hugging Face; got {model_id!r}")
    revision = revision or DEFAULT_REVISION
    snapshot = find_snapshot(model_id, revision)
    if snapshot is not None:
        return snapshot
    if _is_offline():
        raise DownloadError(
            f"{model_id}: is not (or not completely) in {hub_cache_folder()}, and HF_HUB_OFFLINE is set; "
            "unset it, or name a model folder of yours"
        )
    return _download(model_id, revision, progress or SilentProgress())


def _download(model_id: str, revision: str, progress: Progress) -> Path:
    from inferno.hub_errors import explained, unreachable
    from inferno.network import check_reachable

    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    try:
        check_reachable(endpoint, CONNECT_TIMEOUT)
    except OSError as error:
        raise unreachable(error, model_id, endpoint) from error
    with explained(model_id, revision, endpoint):
        listing = _list_files(model_id, revision, endpoint)
        _check_usable(listing)
        _fetch_files(listing, ["config.json"])
        snapshot = model_cache_folder(model_id) / "snapshots" / listing.commit
        _refuse_auto_map(model_id, read_json(snapshot / "config.json", max_bytes=MAX_CONFIG_BYTES))
        small = [name for name in listing.files if _is_small_file(name)]
        _fetch_files(listing, small)
        weights = _weights(listing, snapshot)
        _fetch_weights(listing, weights, progress)
        names = {"config.json", *small, *weights}
        _check_complete(listing, snapshot, names)
        files = {name: (snapshot / name).stat().st_size for name in sorted(names)}
        write_record(model_id, revision, {"commit": listing.commit, "endpoint": endpoint, "files": files})
    return snapshot


def _list_files(model_id: str, revision: str, endpoint: str) -> _Listing:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint)
    info = api.model_info(model_id, revision=revision, timeout=CONNECT_TIMEOUT, files_metadata=True)
    files = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    if info.sha is None or not COMMIT.fullmatch(info.sha):
        raise DownloadError(f"{model_id}: {endpoint} must name the commit of revision {revision!r}; got {info.sha!r}")
    return _Listing(model_id, endpoint, info.sha, files)


def _check_usable(listing: _Listing) -> None:
    names = listing.files
    where = f"{listing.endpoint}/{listing.model_id}"
    if "config.json" in names and (_SINGLE in names or _INDEX in names):
        return
    if any(name.startswith("adapter_model.") for name in names):
        raise UnsupportedError(
            f"{where}: must hold a whole model; got a LoRA adapter; merge it into its base model first"
        )
    gguf = sorted(name for name in names if name.endswith(".gguf"))
    if gguf:
        raise ModelNotFoundError(
            f"{where}: must hold safetensors; got GGUF files. Download one and import it: "
            f"inferno import {gguf[0]} FOLDER, then use -m FOLDER"
        )
    lacking = "config.json" if "config.json" not in names else f"{_SINGLE} or {_INDEX}"
    pickles = [name for name in names if name.endswith((".bin", ".pth", ".pt"))]
    has = f"; its weights are pickles ({pickles[0]}), which can run code when read" if pickles else ""
    raise ModelNotFoundError(
        f"{where}: must hold {lacking}; it does not{has}. Look for a safetensors version of the model"
    )


def _refuse_auto_map(model_id: str, config: dict[str, Any]) -> None:
    if config.get("auto_map"):
        raise UnsupportedError(
            f"{model_id}: config.json must not have auto_map; it says that the model is defined by Python code in its "
            "repository, which Inferno never runs"
        )


def _is_small_file(name: str) -> bool:
    folder, _, base = name.rpartition("/")
    if folder:
        return folder == "additional_chat_templates" and base.endswith(".jinja")
    if name.endswith(".index.json"):
        return name == _INDEX
    return name.endswith((".json", ".jinja")) or name == "tokenizer.model"


def _weights(listing: _Listing, snapshot: Path) -> list[str]:
    weights = weight_files(snapshot)
    if weights is None:
        raise CheckpointError(f"{snapshot / _INDEX}: must map tensor names to files under weight_map; it does not")
    for name in weights:
        if name not in listing.files or "/" in name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{listing.model_id}: {_INDEX} names {name}, which is no weight file of the repository"
            )
    return weights


def _fetch_weights(listing: _Listing, weights: Sequence[str], progress: Progress) -> None:
    total = sum(listing.files[name] for name in weights)
    blobs = model_cache_folder(listing.model_id) / "blobs"
    _check_space(listing, total - folder_size(blobs))
    label = f"Fetching {listing.model_id} ({total / 1e9:.2f} GB) at {listing.commit[:12]}"
    with watch_folder(progress, blobs, label, total):
        _fetch_files(listing, weights)


def _check_space(listing: _Listing, needed: int) -> None:
    import shutil

    free = shutil.disk_usage(hub_cache_folder()).free
    if needed > free:
        raise DownloadError(
            f"{listing.model_id}: needs {needed / 1e9:.1f} GB in {hub_cache_folder()}; {free / 1e9:.1f} GB are free. "
            "Free some, or set HF_HUB_CACHE to a folder on another disk"
        )


def _fetch_files(listing: _Listing, names: Sequence[str]) -> None:
    """Fetches files of the listing by name into the hub's cache; those already there cost nothing."""
    from huggingface_hub import snapshot_download

    bars: Any = import_module("huggingface_hub.utils")  # its switch for bars of its own; ours is shown instead
    silent_before = bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        snapshot_download(
            listing.model_id,
            revision=listing.commit,
            cache_dir=hub_cache_folder(),
            endpoint=listing.endpoint,
            allow_patterns=[_literal(name) for name in names],
            etag_timeout=CONNECT_TIMEOUT,
        )
    finally:
        if not silent_before:
            bars.enable_progress_bars()


def _literal(name: str) -> str:
    """The fnmatch pattern that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _check_complete(listing: _Listing, snapshot: Path, names: set[str]) -> None:
    # When the connection fails on the way, huggingface_hub may hand back what it has as if it were whole.
    missing = sorted(name for name in names if not (snapshot / name).is_file())
    if missing:
        raise DownloadError(
            f"{listing.model_id}: {len(missing)} of {len(names)} files did not arrive ({missing[0]}); "
            "start again: what has arrived is kept"
        )


def _is_offline() -> bool:
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")
