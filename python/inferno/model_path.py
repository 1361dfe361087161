"""Where models are looked for by name: the folders of INFERNO_MODEL_PATH, a list like PATH; else ~/models."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "INFERNO_MODEL_PATH"
DEFAULT = "~/models"


def model_path() -> list[Path]:
    """The folders in their order, each once, whether they exist or not. Empty entries are left out."""
    folders = [os.path.expanduser(entry) for entry in _entries()]
    return [Path(folder) for folder in dict.fromkeys(folders)]


def is_set() -> bool:
    """Whether the user has named the folders."""
    return bool(os.environ.get(VARIABLE))


def find_by_name(name: str) -> Path | None:
    """The first folder of that name in the model path: NAME, or NAME/NAME as ids of the hub are written."""
    parts = name.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") for part in parts):
        return None
    return next((folder / name for folder in model_path() if os.path.isdir(folder / name)), None)


def _entries() -> list[str]:
    entries = (os.environ.get(VARIABLE) or DEFAULT).split(os.pathsep)
    return [entry for entry in entries if entry.strip()]
