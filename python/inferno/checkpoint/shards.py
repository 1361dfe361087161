"""Which files make up a checkpoint: one, or shards listed by model.safetensors.index.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError
from inferno.files import read_json, show, show_name, show_some
from inferno.model_folder import INDEX, SINGLE, missing_weights, shard_names

MAX_INDEX_BYTES = 100_000_000


class WeightFiles(NamedTuple):
    """The weight files that a folder should hold, in order; those that it lacks, and the error for them.

    `weight_map` is the index's map from tensor to file name, if there is an index.
    """

    paths: list[Path]
    weight_map: dict[str, str] | None = None
    missing: frozenset[Path] = frozenset()
    error: CheckpointError | None = None


def find_files(folder: Path, names: list[str]) -> WeightFiles:
    """The weight files of a folder that holds `names`.

    model.safetensors comes before the index, as in transformers. Shards without an index are taken if their names
    (model-00001-of-00004.safetensors) show that all are there. Raises ModelNotFoundError, UnsupportedError or
    CheckpointError if it cannot be told which files make up the checkpoint.
    """
    if SINGLE in names:
        return WeightFiles([inside(folder, SINGLE, str(folder))])
    if INDEX in names:
        weight_map = read_weight_map(folder / INDEX)
        return _index_shards(folder, weight_map)
    shards = shard_names(names)
    if not shards:
        raise missing_weights(folder, names)
    return _numbered_shards(folder, shards)


def read_weight_map(path: Path) -> dict[str, str]:
    """`weight_map` of an index file: tensor name to file name. CheckpointError if it is not such a map."""
    weight_map = read_json(path, CheckpointError, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path}: weight_map must map tensor names to file names; got {show(weight_map)}")
    for name, file in weight_map.items():
        if not isinstance(file, str) or not file.endswith(".safetensors") or not file.isprintable() or len(file) > 200:
            raise CheckpointError(
                f"{path}: weight_map of {show_name(name)} must be the name of a .safetensors file; got {show(file)}"
            )
    return weight_map


def check_promises(index: Path, weight_map: Mapping[str, str], files: Mapping[str, Mapping[str, Tensor]]) -> None:
    """CheckpointError if a shard lacks a tensor that the index says it has. `files`: the tensors of each file name."""
    broken = [(name, file) for name, file in weight_map.items() if name not in files[file]]
    if not broken:
        return
    name, file = broken[0]
    actual = next((other for other, tensors in files.items() if name in tensors), None)
    found = f"it is in {show_name(actual)}" if actual is not None else "no shard has it"
    more = f" ({len(broken) - 1} more tensors are not where the index says)" if len(broken) > 1 else ""
    raise CheckpointError(
        f"{index}: says that {show_name(name)} is in {show_name(file)}; {found}{more}; "
        "the index and the shards come from different downloads: fetch all of them again"
    )


def _index_shards(folder: Path, weight_map: dict[str, str]) -> WeightFiles:
    files = sorted(set(weight_map.values()))
    paths = [inside(folder, file, str(folder / INDEX)) for file in files]
    # Path.exists() raises for a name that no file system takes.
    missing = {path: show_name(file) for file, path in zip(files, paths, strict=True) if not os.path.exists(path)}
    if not missing:
        return WeightFiles(paths, weight_map)
    are = "is" if len(missing) == 1 else "are"
    error = CheckpointError(
        f"{folder / INDEX}: names {show_some([*missing.values()])}, which {are} not in {folder}; "
        f"{len(files) - len(missing)} of {len(files)} shards are there; download the rest"
    )
    return WeightFiles(paths, weight_map, frozenset(missing), error)


def _numbered_shards(folder: Path, present: list[str]) -> WeightFiles:
    total = present[0][-17:-12]
    wanted = [f"model-{number:05d}-of-{total}.safetensors" for number in range(1, int(total) + 1)]
    paths = [inside(folder, name, str(folder)) for name in wanted]
    missing = sorted(set(wanted) - set(present))
    if not missing:
        return WeightFiles(paths)
    error = CheckpointError(
        f"{folder}: must hold {INDEX} and all of its {len(wanted)} shards; got neither the index nor "
        f"{show_some(missing)}; download them"
    )
    return WeightFiles(paths, None, frozenset(folder / name for name in missing), error)


def inside(folder: Path, name: str, where: str) -> Path:
    """The path of a weight file, which must lie in the folder, or be a link to a blob of the same hub cache entry."""
    pure = PurePosixPath(name)
    path = folder / name
    if pure.is_absolute() or ".." in pure.parts:
        raise CheckpointError(f"{where}: files must lie in {folder}; got {show_name(name)}")
    try:
        root, target = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as problem:  # links in a circle
        raise CheckpointError(f"{path}: must be a file that can be found; got {problem}") from None
    roots = [root]
    for base in (root, folder.absolute()):
        if base.parent.name == "snapshots":
            roots.append((base.parent.parent / "blobs").resolve())
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(
            f"{where}: files must lie in {folder}; got {show_name(name)}, a link to {target}; put the file in its place"
        )
    return path
