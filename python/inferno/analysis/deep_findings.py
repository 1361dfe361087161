"""What a scan of the values has found, judged.

None of it keeps a model from loading, for loading reads no value; so the worst is a warning, also for a NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.analysis.roles import role_of
from inferno.analysis.values import OUTLIER, TensorValues
from inferno.checkpoint.expected import patterns
from inferno.checkpoint.tied import EMBEDDING, HEAD
from inferno.files import show_some
from inferno.findings import Finding, Severity
from inferno.units import percent, plural

if TYPE_CHECKING:
    from inferno.analysis.deep import FileHash

# Scaling each row by its largest magnitude puts one code of a row at an end: 1 of 100 is the most that short rows give.
ENDS_LIMIT = 0.01
_AGAIN = "download the file again, or ask whoever made it for a sound one"


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
    yield from _told(
        tensors,
        "warning",
        "deep-nan",
        lambda t: t.nan,
        "{} weights are NaN: every answer that meets one is NaN",
        _AGAIN,
    )
    yield from _told(
        tensors,
        "warning",
        "deep-infinite",
        lambda t: t.inf,
        "{} weights are infinite: every answer that meets one is NaN",
        _AGAIN,
    )
    yield from _told(
        tensors,
        "warning",
        "deep-bad-scale",
        lambda t: t.bad_scales,
        "{} scales are NaN, Inf, zero or negative",
        "quantize the model again",
    )
    matrices = [t for t in tensors if t.rows > 1]
    empty = [t for t in matrices if t.zero_rows == t.rows]
    if empty:
        message = f"{plural(len(empty), 'tensor')} of nothing but zeros"
        yield Finding("warning", "deep-zero-matrix", _where(empty), message, _AGAIN)
    yield from _told(
        [t for t in matrices if t.zero_rows < t.rows],
        "note",
        "deep-zero-row",
        lambda t: t.zero_rows,
        "{} rows hold nothing but zeros: of an embedding, tokens that were never trained",
    )
    yield from _told(
        [t for t in matrices if role_of(t.name) != "quantization"],
        "note",
        "deep-outlier-row",
        lambda t: t.outlier_rows,
        f"{{}} rows have a root mean square above {OUTLIER:g} times that of the median row",
    )
    yield from _saturated(tensors)
    if unequal:
        where, message = show_some(patterns(unequal)), "must be equal in every shard; got copies that differ"
        yield Finding(
            "warning", "deep-replicas-differ", where, message, "the shards come from different models: fetch all"
        )
    if tied_equal is not None:
        yield _tied(tied_equal)


def _told(
    tensors: Iterable[TensorValues],
    severity: Severity,
    code: str,
    number: Callable[[TensorValues], int],
    what: str,
    repair: str = "",
) -> Iterable[Finding]:
    found = [tensor for tensor in tensors if number(tensor)]
    if found:
        total = sum(map(number, found))
        yield Finding(severity, code, _where(found), what.format(total), repair)


def _where(found: Sequence[TensorValues]) -> str:
    return show_some(patterns(tensor.name for tensor in found))


def _saturated(tensors: Iterable[TensorValues]) -> Iterable[Finding]:
    found = [tensor for tensor in tensors if tensor.ends is not None and tensor.ends > ENDS_LIMIT]
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
