"""The values of a model's weights, streamed: what headers cannot tell.

Every weight file is read once, in pieces of a few megabytes into one buffer, so that memory does not grow with the
file: no weight is mapped. A row is what is contiguous in a tensor, its last dimension.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferno.analysis.deep_findings import deep_findings
from inferno.analysis.report import Report
from inferno.analysis.stored_bytes import PIECE, equal_bytes, opened, unequal_replicas
from inferno.analysis.values import Scan, TensorValues
from inferno.checkpoint.survey import Survey, survey_weights
from inferno.checkpoint.tensor import AnyTensor, Tensor
from inferno.checkpoint.tied import EMBEDDING, HEAD
from inferno.errors import CheckpointError, InfernoError
from inferno.files import show_name
from inferno.findings import Finding
from inferno.model_folder import list_folder
from inferno.progress import Progress, SilentProgress
from inferno.units import size

_SHA256_DIGITS, _GIT_DIGITS = 64, 40
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class FileHash:
    """A file's SHA-256, and the one that the hub cache's name for it promises.

    `promised` is None where nothing is promised: `why` says so. `error` says why a file could not be read; `sha256` is
    then "".
    """

    name: str
    nbytes: int
    sha256: str
    promised: str | None = None
    why: str = ""
    error: str = ""

    @property
    def matches(self) -> bool | None:
        """Whether the file is what was promised; None if nothing was."""
        return None if self.promised is None or self.error else self.sha256 == self.promised


@dataclass(frozen=True)
class DeepReport:
    """What the values say. `tensors` are in the order of files; `tied_equal` says whether embedding and head, both
    stored, have equal bytes (None if they are not both stored in one type and shape, or cannot be compared).
    `unequal_replicas` names tensors of which shards hold copies that differ. `nbytes` were read.
    """

    tensors: tuple[TensorValues, ...] = ()
    files: tuple[FileHash, ...] = ()
    tied_equal: bool | None = None
    unequal_replicas: tuple[str, ...] = ()
    nbytes: int = 0
    findings: tuple[Finding, ...] = ()


def deep_scan(report: Report, progress: Progress | None = None) -> DeepReport:
    """Reads every weight file of a report once; peak memory does not depend on their size.

    What is wrong with values or files is in the findings: nothing is raised for it.
    """
    progress = progress or SilentProgress()
    survey = _survey(report)
    tensors = {} if survey is None else survey.tensors
    paths = {file.path: file.name for file in report.files if file.nbytes is not None}
    total = sum(file.nbytes or 0 for file in report.files)
    parts: dict[Path, list[tuple[str, Tensor]]] = {path: [] for path in paths}
    for name, tensor in tensors.items():
        for part in tensor.parts:
            parts.setdefault(part.file, []).append((name, part))
    scans: dict[str, list[Scan]] = {}
    files = []
    progress.start(f"Reading every weight of {show_name(report.name)} ({size(total)})", total)
    try:
        for path, inside in parts.items():
            files.append(_read_file(path, paths.get(path, path.name), inside, scans, progress))
    finally:
        progress.finish()
    values = tuple(TensorValues.of(name, found) for name, found in scans.items())
    tied_equal = _equal_heads(tensors)
    ties = report.config is not None and report.config.tie_word_embeddings
    unequal = () if survey is None else unequal_replicas(survey.replicas)
    findings = deep_findings(values, files, tied_equal if ties else None, unequal, report.path)
    return DeepReport(values, tuple(files), tied_equal, unequal, sum(file.nbytes for file in files), tuple(findings))


def _survey(report: Report) -> Survey | None:
    """The tensors of a report once more, for reading; also of a model of which some file is broken."""
    try:
        return survey_weights(report.path, list_folder(report.path))
    except InfernoError:
        return None


def _read_file(
    path: Path, name: str, parts: Sequence[tuple[str, Tensor]], scans: dict[str, list[Scan]], progress: Progress
) -> FileHash:
    promised, why = promised_hash(path)
    digest = hashlib.sha256()
    try:
        with opened(path) as (fd, nbytes):
            stream = _Stream(fd, digest, progress)
            for tensor_name, part in sorted(parts, key=lambda item: item[1].offset):
                scan = Scan(tensor_name, part.dtype, part.shape)
                stream.skip_to(part.offset)
                for piece in stream.read(part.offset, part.nbytes):
                    scan.add(piece)
                scans.setdefault(tensor_name, []).append(scan)
            stream.skip_to(nbytes)
            return FileHash(name, nbytes, digest.hexdigest(), promised, why)
    except (InfernoError, OSError) as error:
        return FileHash(name, 0, "", promised, why, error=str(error))


class _Stream:
    """A file that is hashed in order, whatever is read of it."""

    def __init__(self, fd: int, digest: Any, progress: Progress) -> None:
        self._fd, self._digest, self._progress = fd, digest, progress
        self._hashed = 0
        self._buffer = memoryview(bytearray(PIECE))

    def read(self, begin: int, nbytes: int) -> Iterator[memoryview]:
        """The bytes from `begin` on, in pieces that are overwritten by the next one."""
        end = begin + nbytes
        while begin < end:
            piece = self._buffer[: min(PIECE, end - begin)]
            got = os.preadv(self._fd, [piece], begin)
            if got == 0:
                raise CheckpointError("the file became shorter while it was read")
            piece = piece[:got]
            self._hash(begin, piece)
            begin += got
            yield piece

    def skip_to(self, offset: int) -> None:
        """Hashes what lies before `offset` and has not been hashed."""
        for _ in self.read(self._hashed, max(offset - self._hashed, 0)):
            pass

    def _hash(self, begin: int, piece: memoryview) -> None:
        new = begin + len(piece) - self._hashed
        if new > 0:  # tensors may share bytes
            self._digest.update(piece[len(piece) - new :])
            self._hashed += new
            self._progress.advance(new)


def promised_hash(path: Path) -> tuple[str | None, str]:
    """The SHA-256 that the name of a hub cache's blob promises for a link to it, or None and the reason.

    huggingface_hub names a blob by the server's ETag: SHA-256 for large files, git's own hash for small ones.
    """
    if not path.is_symlink():
        return None, "no link into a hub cache"
    blob = path.resolve()
    if blob.parent.name != "blobs":
        return None, "no link into a hub cache"
    name = blob.name
    if len(name) == _SHA256_DIGITS and _HEX.issuperset(name):
        return name, ""
    if len(name) == _GIT_DIGITS and _HEX.issuperset(name):
        return None, "the hub cache knows it by git's hash, which is not checked"
    return None, "its name in the hub cache is no hash"


def _equal_heads(tensors: Mapping[str, AnyTensor]) -> bool | None:
    """Whether embedding and head are equal, byte by byte."""
    first, second = tensors.get(EMBEDDING), tensors.get(HEAD)
    return None if first is None or second is None else equal_bytes(first, second)
