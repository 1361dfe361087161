"""What a scan of the values has found, judged.

None of it keeps a model from loading, for loading reads no value; so the worst is a warning, also for a NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.analysis.roles import role_of
from inferno.analysis.values import OUTLIER, TensorValues
from inferno.checkpoint.expected import patterns
from inferno.checkpoint.tied import EMBEDDING, HEAD
from inferno.files import show_some
from inferno.findings import Finding, Severity
from inferno.units import percent

if TYPE_CHECKING:
    from inferno.analysis.deep import FileHash

# Scaling a row by its largest magnitude puts a code at an end, sometimes two: more than that is too many.
ENDS_LIMIT = 0.01
ENDS_OF_A_ROW = 2
_AGAIN = "download the file again, or ask whoever made it for a sound one"


@dataclass(frozen=True)
class _Kind:
    """What is counted in each tensor, and how one or many of it are told."""

    severity: Severity
    code: str
    number: Callable[[TensorValues], int]
    one: str
    many: str
    what: str
    repair: str = ""

    def told(self, tensors: Iterable[TensorValues]) -> Iterable[Finding]:
        found = [tensor for tensor in tensors if self.number(tensor)]
        total = sum(map(self.number, found))
        if total:
            message = f"{total} {self.one if total == 1 else self.many} {self.what}"
            yield Finding(self.severity, self.code, _where(found), message, self.repair)


def deep_findings(
    tensors: Sequence[TensorValues],
    files: Iterable[FileHash],
    tied_equal: bool | None,
    unequal: Sequence[str],
    folder: Path,
) -> Iterable[Finding]:
    """The findings, one of a kind. `tied_equal` is None unless the config ties embedding and head; `unequal` names
    tensors whose copies in several shards differ."""
    for file in files:
        yield from _file(file, folder)
    lost = "every answer that meets one is NaN"
    matrices = [t for t in tensors if t.rows > 1 and role_of(t.name) != "quantization"]
    kinds = (
        _Kind("warning", "deep-nan", lambda t: t.nan, "weight is", "weights are", f"NaN: {lost}", _AGAIN),
        _Kind("warning", "deep-infinite", lambda t: t.inf, "weight is", "weights are", f"infinite: {lost}", _AGAIN),
        _Kind("warning", "deep-bad-scale", lambda t: t.bad_scales, "scale is", "scales are",
              "NaN, Inf, zero or negative", "quantize the model again"),
        _Kind("warning", "deep-zero-matrix", _all_zero, "matrix is", "matrices are", "nothing but zeros", _AGAIN),
        _Kind("note", "deep-zero-row", lambda t: 0 if _all_zero(t) else t.zero_rows, "row is", "rows are",
              "nothing but zeros: of an embedding, tokens that were never trained"),
        _Kind("note", "deep-outlier-row", lambda t: t.outlier_rows, "row has", "rows have",
              f"a root mean square above {OUTLIER:g} times that of the median row"),
    )  # fmt: skip
    for kind in kinds:
        yield from kind.told(matrices if "row" in kind.code or "matrix" in kind.code else tensors)
    yield from _saturated(tensors)
    if unequal:
        where, message = show_some(patterns(unequal)), "must be equal in every shard; got copies that differ"
        yield Finding(
            "warning", "deep-replicas-differ", where, message, "the shards come from different models: fetch all"
        )
    if tied_equal is not None:
        yield _tied(tied_equal)


def _all_zero(tensor: TensorValues) -> int:
    return int(tensor.zero_rows == tensor.rows)


def _where(found: Sequence[TensorValues]) -> str:
    return show_some(patterns(tensor.name for tensor in found))


def _saturated(tensors: Iterable[TensorValues]) -> Iterable[Finding]:
    found = [
        tensor
        for tensor in tensors
        if tensor.ends is not None and tensor.ends > max(ENDS_LIMIT, ENDS_OF_A_ROW * tensor.rows / tensor.elements)
    ]
    if found:
        worst = max(tensor.ends or 0.0 for tensor in found)
        message = f"up to {percent(worst)} of the int8 codes are at an end of their range: values were cut off"
        yield Finding("warning", "deep-saturated", _where(found), message, "quantize the model with larger scales")


def _file(file: FileHash, folder: Path) -> Iterable[Finding]:
    where = str(folder / file.name)
    if file.error:
        yield Finding("warning", "deep-unreadable", where, f"could not be read to its end: {file.error}", _AGAIN)
    elif file.matches is False:
        message = f"SHA-256 must be {file.promised}, by its name in the hub cache; got {file.sha256}"
        yield Finding("warning", "deep-hash", where, message, "the file is damaged: remove it and download it again")


def _tied(equal: bool) -> Finding:
    if equal:
        message = f"equals {EMBEDDING} byte for byte, and config.json ties the two: one would do"
        return Finding("note", "deep-tied-equal", HEAD, message, f"remove {HEAD} from the files to save its memory")
    message = f"differs from {EMBEDDING}, yet config.json ties the two: each is used as it is stored"
    return Finding(
        "warning", "deep-tied-differ", HEAD, message, "set tie_word_embeddings to what the model was made as"
    )
