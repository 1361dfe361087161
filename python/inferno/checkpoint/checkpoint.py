"""A checkpoint: all tensors of a model folder, as views on mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inferno.checkpoint.survey import Survey, survey_weights
from inferno.checkpoint.tensor import AnyTensor
from inferno.model_folder import list_folder


class Checkpoint(Mapping[str, AnyTensor]):
    """The tensors of a model folder by name, in the order of files and of data within them.

    `folder` is the model folder, `files` its weight files, `nbytes` the bytes of all tensors together, `replicas` all
    copies of tensors that several files hold whole.
    """

    def __init__(self, folder: Path, survey: Survey) -> None:
        """The checkpoint that a survey found. Raises the survey's first error, if it has one."""
        for error in survey.errors:
            raise error
        self.folder = folder
        self.files = tuple(file.path for file in survey.files)
        self.nbytes = sum(tensor.nbytes for tensor in survey.tensors.values())
        self.replicas = survey.replicas
        self._tensors = survey.tensors

    @classmethod
    def open(cls, folder: Path | str) -> Checkpoint:
        """Maps the weight files of a folder and reads their headers; no weight is read.

        Raises ModelNotFoundError if there is no such folder or there are no weights in it, UnsupportedError if the
        weights are of another kind (a LoRA adapter, GGUF, pickles) or have an unknown dtype, CheckpointError if a file
        is damaged or missing.
        """
        folder = Path(folder)
        return cls(folder, survey_weights(folder, list_folder(folder)))

    def maps(self) -> list[np.ndarray[Any, Any]]:
        """The mapped files whole, as read-only bytes: (size,) uint8 each."""
        return list({part.file: part.file_bytes for tensor in self.values() for part in tensor.parts}.values())

    def names(self) -> tuple[str, ...]:
        """All tensor names."""
        return tuple(self._tensors)

    def __getitem__(self, name: str) -> AnyTensor:
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, {len(self)} tensors, {self.nbytes} bytes)"
