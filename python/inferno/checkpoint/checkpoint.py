"""A checkpoint: all tensors of a model folder, as views on mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inferno.checkpoint.safetensors_file import open_safetensors
from inferno.checkpoint.shards import check_promises, find_files
from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError
from inferno.files import show_name
from inferno.model_folder import INDEX, list_folder, refuse_adapter


class Checkpoint(Mapping[str, Tensor]):
    """The tensors of a model folder by name, in the order of files and of data within them.

    `folder` is the model folder, `files` its weight files, `nbytes` the bytes of all tensors together.
    """

    def __init__(self, folder: Path, files: tuple[Path, ...], tensors: dict[str, Tensor]) -> None:
        self.folder = folder
        self.files = files
        self.nbytes = sum(tensor.nbytes for tensor in tensors.values())
        self._tensors = tensors

    @classmethod
    def open(cls, folder: Path | str) -> Checkpoint:
        """Maps the weight files of a folder and reads their headers; no weight is read.

        Raises ModelNotFoundError if there is no such folder or there are no weights in it, UnsupportedError if the
        weights are of another kind (a LoRA adapter, GGUF, pickles) or have an unknown dtype, CheckpointError if a file
        is damaged or missing.
        """
        folder = Path(folder)
        names = list_folder(folder)
        refuse_adapter(folder, names)
        paths, weight_map = find_files(folder, names)
        files = {path.relative_to(folder).as_posix(): open_safetensors(path) for path in paths}
        if weight_map is not None:
            check_promises(
                folder / INDEX, weight_map, {file: files[_normal(file)] for file in set(weight_map.values())}
            )
        return cls(folder, tuple(paths), _join(folder, files))

    def maps(self) -> list[np.ndarray[Any, Any]]:
        """The mapped files whole, as read-only bytes: (size,) uint8 each."""
        return list({tensor.file: tensor.file_bytes for tensor in self.values()}.values())

    def names(self) -> tuple[str, ...]:
        """All tensor names."""
        return tuple(self._tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, {len(self)} tensors, {self.nbytes} bytes)"


def _normal(file: str) -> str:
    return Path(file).as_posix()


def _join(folder: Path, files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file, found in files.items():
        for name, tensor in found.items():
            if name in tensors:
                raise CheckpointError(
                    f"{folder}: tensor {show_name(name)} must be in one shard; got it in {tensors[name].file.name} and "
                    f"{show_name(file)}; keep only the files that {INDEX} names"
                )
            tensors[name] = tensor
    return tensors
