"""What the weight files of a folder hold: every file looked at, every fault collected, nothing raised for a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inferno.checkpoint.safetensors_file import open_safetensors
from inferno.checkpoint.shards import WeightFiles, check_promises, find_files
from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError, InfernoError
from inferno.files import show_name
from inferno.model_folder import INDEX, refuse_adapter


@dataclass(frozen=True)
class WeightFile:
    """A weight file that a folder holds, or should hold: its name in the folder, its bytes, and what is wrong with it.

    `nbytes` is None if the file is missing or cannot be read.
    """

    name: str
    path: Path
    nbytes: int | None
    tensors: int = 0
    error: InfernoError | None = None


@dataclass(frozen=True)
class Survey:
    """All weight files of a folder, the tensors of those that could be read, and the errors in the order of loading."""

    files: tuple[WeightFile, ...]
    tensors: dict[str, Tensor]
    errors: tuple[InfernoError, ...]


def survey_weights(folder: Path, names: list[str]) -> Survey:
    """Maps the weight files of a folder that holds `names` and reads their headers; no weight is read."""
    try:
        refuse_adapter(folder, names)
        found = find_files(folder, names)
    except InfernoError as error:
        return Survey((), {}, (error,))
    tensors_of: dict[str, dict[str, Tensor]] = {}
    files = []
    for path in found.paths:
        name = path.relative_to(folder).as_posix()
        tensors, file = _open(name, path, missing=path in found.missing)
        files.append(file)
        if file.error is None and path not in found.missing:
            tensors_of[name] = tensors
    errors = [error for error in (found.error, *(file.error for file in files)) if error is not None]
    if not errors:
        errors += _broken_promises(folder, found, tensors_of)
    joined, twice = _join(folder, tensors_of)
    return Survey(tuple(files), joined, (*errors, *twice))


def _open(name: str, path: Path, missing: bool) -> tuple[dict[str, Tensor], WeightFile]:
    if missing:
        return {}, WeightFile(name, path, None)
    try:
        tensors = open_safetensors(path)
    except InfernoError as error:
        return {}, WeightFile(name, path, _size(path), error=error)
    return tensors, WeightFile(name, path, _size(path), len(tensors))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _broken_promises(
    folder: Path, found: WeightFiles, tensors_of: Mapping[str, Mapping[str, Tensor]]
) -> list[InfernoError]:
    weight_map = found.weight_map
    if weight_map is None:
        return []
    try:
        check_promises(
            folder / INDEX, weight_map, {file: tensors_of[Path(file).as_posix()] for file in set(weight_map.values())}
        )
    except CheckpointError as error:
        return [error]
    return []


def _join(folder: Path, files: Mapping[str, Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], list[InfernoError]]:
    tensors: dict[str, Tensor] = {}
    twice: list[InfernoError] = []
    for file, found in files.items():
        for name, tensor in found.items():
            if name in tensors:
                twice.append(
                    CheckpointError(
                        f"{folder}: tensor {show_name(name)} must be in one shard; got it in {tensors[name].file.name} "
                        f"and {show_name(file)}; keep only the files that {INDEX} names"
                    )
                )
            tensors.setdefault(name, tensor)
    return tensors, twice
