"""What the weight files of a folder hold: every file looked at, every fault collected, nothing raised for a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inferno.checkpoint.layouts import META, Layout, layout_of
from inferno.checkpoint.meta import find_meta_files, join_shards, open_weight_file
from inferno.checkpoint.shards import WeightFiles, check_promises, find_files
from inferno.checkpoint.tensor import AnyTensor, Tensor
from inferno.errors import CheckpointError, InfernoError
from inferno.files import MAX_CONFIG_BYTES, read_json, show_name
from inferno.model_folder import INDEX, PARAMS, refuse_adapter


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
    """All weight files of a folder, the tensors of those that could be read, and the errors in the order of loading.

    `tensors` have the names that models know; `stored_names` gives the file's name where it is another. `replicas`: all
    copies of tensors that several files hold whole. `ignored`: stored constants that follow from the config.
    `duplicated`: tensors that several files hold and one should.
    """

    layout: Layout | None
    files: tuple[WeightFile, ...] = ()
    tensors: Mapping[str, AnyTensor] = field(default_factory=dict)
    errors: tuple[InfernoError, ...] = ()
    stored_names: Mapping[str, str] = field(default_factory=dict)
    replicas: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()


def survey_weights(folder: Path, names: list[str]) -> Survey:
    """Maps the weight files of a folder that holds `names` and reads their headers; no weight is read."""
    layout = layout_of(names)
    try:
        refuse_adapter(folder, names)
        found = find_meta_files(folder, names) if layout is META else find_files(folder, names)
    except InfernoError as error:
        return Survey(layout, errors=(error,))
    tensors_of, files = _open_all(folder, found)
    errors = [error for error in (found.error, *(file.error for file in files)) if error is not None]
    if layout is META:
        weights = join_shards(folder, tensors_of, None if errors else _dim(folder, names))
        errors = errors or list(weights.errors)
        return Survey(
            META, files, weights.tensors, tuple(errors), weights.stored_names, weights.replicas, weights.ignored
        )
    if not errors:
        errors += _broken_promises(folder, found, tensors_of)
    joined, twice = _join(folder, tensors_of)
    errors += _told_twice(folder, joined, twice)
    return Survey(layout, files, joined, tuple(errors), duplicated=tuple(twice))


def _open_all(folder: Path, found: WeightFiles) -> tuple[dict[str, dict[str, Tensor]], tuple[WeightFile, ...]]:
    """The tensors of each file that could be read, by its name in the folder; and all files."""
    tensors_of: dict[str, dict[str, Tensor]] = {}
    files = []
    for path in found.paths:
        name = path.relative_to(folder).as_posix()
        try:
            tensors = None if path in found.missing else open_weight_file(path)
        except InfernoError as error:
            files.append(WeightFile(name, path, _size(path), error=error))
            continue
        files.append(WeightFile(name, path, None if tensors is None else _size(path), len(tensors or ())))
        if tensors is not None:
            tensors_of[name] = tensors
    return tensors_of, tuple(files)


def _dim(folder: Path, names: list[str]) -> int | None:
    """params.json's width of the model; None if it does not tell, which the config's reader will complain of."""
    if PARAMS not in names:
        return None
    try:
        dim = read_json(folder / PARAMS, max_bytes=MAX_CONFIG_BYTES).get("dim")
    except InfernoError:
        return None
    return dim if type(dim) is int and 0 < dim < 1 << 31 else None


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


def _join(folder: Path, files: Mapping[str, Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, each from the first file that has it; of those that another has too, the first such file."""
    tensors: dict[str, Tensor] = {}
    twice: dict[str, str] = {}
    for file, found in files.items():
        for name, tensor in found.items():
            if tensors.setdefault(name, tensor) is not tensor:
                twice.setdefault(name, file)
    return tensors, twice


def _told_twice(folder: Path, tensors: Mapping[str, Tensor], twice: Mapping[str, str]) -> list[InfernoError]:
    if not twice:
        return []
    name, file = next(iter(twice.items()))
    more = f" ({len(twice) - 1} more tensors are in several)" if len(twice) > 1 else ""
    return [
        CheckpointError(
            f"{folder}: tensor {show_name(name)} must be in one shard; got it in {show_name(tensors[name].file.name)} "
            f"and {show_name(file)}{more}; keep only the files that {INDEX} names"
        )
    ]
