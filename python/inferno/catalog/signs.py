"""By what names of files a model folder is recognised."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from inferno.model_folder import CONFIG, INDEX, PARAMS, SINGLE, meta_names, shard_names

# Where repositories keep the form in which Meta published the model.
ORIGINAL = "original"

_COMPANIONS = frozenset({"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json"})


def model_signs(names: Collection[str]) -> Literal["whole", "part"] | None:
    """What a folder with files of these names is: a model; what may be a part of one, or of many; or neither."""
    described = CONFIG in names or PARAMS in names
    if has_weights(names):
        return "whole"
    if any(name.endswith(".safetensors") for name in names):
        return "whole" if described else "part"
    foreign = any(name.startswith("pytorch_model") for name in names)
    # GGUF repositories often keep the config of the model that was converted.
    if described and not any(name.endswith(".gguf") for name in names):
        return "part" if foreign or not _COMPANIONS.isdisjoint(names) else None
    return None


def has_weights(names: Collection[str]) -> bool:
    """Whether a file, an index or shards are named as weights are, in either layout."""
    listed = list(names)
    return SINGLE in names or INDEX in names or bool(shard_names(listed)) or bool(meta_names(listed))


def is_sign(name: str) -> bool:
    """Whether a file of that name tells of a model."""
    return (
        name in (CONFIG, PARAMS, INDEX)
        or name in _COMPANIONS
        or name.endswith((".safetensors", ".gguf", ".pth"))
        or name.startswith("pytorch_model")
    )


def is_model_folder(folder: Path) -> bool:
    """Whether the folder itself, not one below it, holds a config or weights."""
    names = signs_in(folder)
    return CONFIG in names or PARAMS in names or has_weights(names)


def signs_in(folder: Path) -> set[str]:
    """The names in a folder that tell of a model; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if is_sign(entry.name)}
    except (OSError, ValueError):
        return set()
