"""What the scan of the values adds to an inspection."""

from __future__ import annotations

from collections.abc import Iterable

from inferno.analysis.deep import DeepReport, FileHash
from inferno.analysis.render.sections import Block, Facts, Section, Table
from inferno.analysis.values import TensorValues
from inferno.checkpoint.expected import patterns
from inferno.files import show_name
from inferno.units import percent, plural, size


def deep_section(deep: DeepReport) -> Section:
    """Hashes of the files, and the values in kinds of tensors: a row for each name without its layer."""
    blocks: list[Block] = [Facts(tuple(_summary(deep)))]
    if deep.tensors:
        blocks.append(_values(deep.tensors))
    return Section("Values", tuple(blocks))


def _summary(deep: DeepReport) -> Iterable[tuple[str, str]]:
    looked = [tensor for tensor in deep.tensors if tensor.elements]
    yield "read", f"{size(deep.nbytes)}; values of {len(looked)} of {plural(len(deep.tensors), 'tensor')}"
    for file in deep.files:
        yield "SHA-256", f"{show_name(file.name)}: {_hash(file)}"
    if deep.tied_equal is not None:
        yield "head", "equals the embedding" if deep.tied_equal else "differs from the embedding"


def _hash(file: FileHash) -> str:
    if file.error:
        return file.error
    if file.matches is None:
        return f"{file.sha256} (not checked: {file.why})"
    return f"{file.sha256} ({'as the hub cache names it' if file.matches else f'must be {file.promised}'})"


def _values(tensors: Iterable[TensorValues]) -> Table:
    kinds: dict[str, list[TensorValues]] = {}
    for tensor in tensors:
        if tensor.elements:
            kinds.setdefault(patterns([tensor.name, tensor.name])[0].rpartition(" (")[0], []).append(tensor)
    rows = [
        (
            kind,
            "+".join(dict.fromkeys(tensor.dtype for tensor in found)),
            *_range(found),
            _some(sum(tensor.nan + tensor.inf for tensor in found)),
            _some(sum(tensor.zero_rows for tensor in found)),
            _some(sum(tensor.outlier_rows for tensor in found)),
            _ends(found),
        )
        for kind, found in kinds.items()
    ]
    header = ("tensors", "type", "least", "most", "rms", "NaN, Inf", "zero rows", "outlier rows", "at ends")
    return Table(header, tuple(rows), frozenset(range(2, 9)))


def _range(found: list[TensorValues]) -> tuple[str, str, str]:
    finite = [tensor for tensor in found if tensor.rms is not None]
    if not finite:
        return "-", "-", "-"
    low = min(tensor.minimum for tensor in finite if tensor.minimum is not None)
    high = max(tensor.maximum for tensor in finite if tensor.maximum is not None)
    elements = sum(tensor.elements for tensor in finite)
    mean = sum((tensor.rms or 0.0) ** 2 * tensor.elements for tensor in finite) / elements
    return f"{low:.3g}", f"{high:.3g}", f"{mean**0.5:.3g}"


def _some(number: int) -> str:
    return str(number) if number else "-"


def _ends(found: list[TensorValues]) -> str:
    ends = [tensor.ends for tensor in found if tensor.ends is not None]
    return percent(max(ends)) if ends else "-"
