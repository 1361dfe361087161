"""Meta's original files: which belong together, and how their pieces join into the tensors that models know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from inferno.checkpoint.layouts import COLUMNS, META, ROWS, Rule
from inferno.checkpoint.safetensors_file import open_safetensors
from inferno.checkpoint.shards import WeightFiles, inside
from inferno.checkpoint.tensor import AnyTensor, JoinedTensor, Tensor
from inferno.checkpoint.torch_zip import open_torch_zip
from inferno.errors import CheckpointError, InfernoError, UnsupportedError
from inferno.files import show_name, show_some
from inferno.model_folder import PARAMS, meta_names, missing_meta_weights

# Kernels add along k in eight lanes: a piece of k must not end inside a group of eight.
LANES = 8

_NUMBERED = re.compile(r"consolidated\.(\d\d)\.(pth|safetensors)")
_COUNTED = "attention.wq.weight"


@dataclass(frozen=True)
class MetaWeights:
    """The tensors of all shards under canonical names.

    `stored_names` gives the name that the files have for each. `replicas`: of each tensor that every shard holds whole,
    all copies, of which the first is used. `ignored`: stored constants that follow from the config. `errors`: what is
    wrong, in the order of loading; the tensors concerned are then those of the first shard.
    """

    tensors: dict[str, AnyTensor] = field(default_factory=dict)
    stored_names: dict[str, str] = field(default_factory=dict)
    replicas: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    errors: tuple[InfernoError, ...] = ()


def find_meta_files(folder: Path, names: list[str]) -> WeightFiles:
    """The weight files of a folder that holds `names`: consolidated.NN.safetensors or .pth, numbered from 00 without
    gaps, or one without a number. safetensors come first if both forms are there.

    Raises ModelNotFoundError if there are none, CheckpointError if it cannot be told which belong together.
    """
    present = meta_names(names)
    if not present:
        raise missing_meta_weights(folder, names)
    for form in ("safetensors", "pth"):
        single = f"consolidated.{form}"
        numbers = [int(found[1]) for name in present if (found := _NUMBERED.fullmatch(name)) and found[2] == form]
        if single in present and numbers:
            raise CheckpointError(
                f"{folder}: must hold {single} or numbered shards; got both; keep those that are the whole model"
            )
        if single in present:
            return WeightFiles([inside(folder, single, str(folder))])
        if numbers:
            return _numbered(folder, numbers, form)
    raise missing_meta_weights(folder, names)


def open_weight_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or a .pth file under their stored names. Raises as the two openers do."""
    return open_torch_zip(path) if path.suffix == ".pth" else open_safetensors(path)


def join_shards(folder: Path, shards: Mapping[str, Mapping[str, Tensor]], dim: int | None) -> MetaWeights:
    """Joins the tensors of all shards, given by file name in order, under canonical names.

    `dim` is params.json's, the width of the embedding: it tells along which axis that is split, and how many shards
    there should be; with None the norm's width tells the axis, and the number is not checked. Names that Meta's table
    does not have keep their stored names.
    """
    errors: dict[str, InfernoError] = {}
    files = list(shards)
    all_names = list(dict.fromkeys(name for tensors in shards.values() for name in tensors))
    for file, tensors in shards.items():
        lacking = [show_name(name) for name in all_names if name not in tensors]
        if lacking:
            errors[file] = CheckpointError(
                f"{folder / file}: must hold the same names as the other shards; got no {show_some(lacking)}; the "
                "shards are not of one model: download all of them again"
            )
    width = dim if dim is not None else _norm_width(shards)
    weights = MetaWeights(ignored=tuple(name for name in all_names if name in META.ignored))
    for stored in all_names:
        if stored in META.ignored:
            continue
        parts = tuple(shards[file][stored] for file in files if stored in shards[file])
        found = META.find(stored)
        if found is None:
            if META.is_canonical(stored):
                errors.setdefault("canonical", _not_metas_names(parts[0]))
            weights.tensors[stored], weights.stored_names[stored] = parts[0], stored
            continue
        name, rule = found
        weights.stored_names[name] = stored
        if not rule.axes:
            weights.replicas[name] = parts
        try:
            weights.tensors[name] = _join(name, rule, parts, width)
        except CheckpointError as error:
            errors.setdefault(rule.stored, error)
            weights.tensors[name] = replace(parts[0], name=name)
    count = _wrong_count(folder, shards, dim)
    return replace(weights, errors=(*([count] if count else []), *errors.values()))


def refuse_cut_lanes(tensors: Mapping[str, AnyTensor]) -> None:
    """UnsupportedError for a tensor in blocks of columns of which one ends inside a group of eight columns."""
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) or tensor.axis != COLUMNS:
            continue
        boundary = 0
        for part in tensor.parts[:-1]:
            boundary += part.shape[COLUMNS]
            if boundary % LANES:
                raise UnsupportedError(
                    f"{part.file}: {show_name(part.name)} ({show_name(name)}) must end at a multiple of {LANES} "
                    f"columns, for kernels add in {LANES} lanes; got a boundary at column {boundary} of "
                    f"{tensor.shape[COLUMNS]}; merge the shards, or convert the model to Hugging Face's layout"
                )


def _numbered(folder: Path, numbers: list[int], form: str) -> WeightFiles:
    wanted = [f"consolidated.{number:02d}.{form}" for number in range(max(numbers) + 1)]
    paths = [inside(folder, name, str(folder)) for name in wanted]
    missing = [path for number, path in enumerate(paths) if number not in numbers]
    if not missing:
        return WeightFiles(paths)
    error = CheckpointError(
        f"{folder}: must hold its shards from consolidated.00.{form} to {wanted[-1]}; got no "
        f"{show_some([path.name for path in missing])}; download the rest"
    )
    return WeightFiles(paths, None, frozenset(missing), error)


def _join(name: str, rule: Rule, parts: tuple[Tensor, ...], width: int | None) -> AnyTensor:
    first = parts[0]
    for part in parts[1:]:
        if part.dtype != first.dtype:
            raise _disagree(part, first, part.dtype, first.dtype)
    axis = _axis(rule, first, width)
    for part in parts[1:]:
        if _fixed(part.shape, axis) != _fixed(first.shape, axis):
            raise _disagree(part, first, str(list(part.shape)), str(list(first.shape)))
    if len(parts) == 1 or axis is None:
        return replace(first, name=name)
    if len(first.shape) != 2:
        raise CheckpointError(
            f"{first.file}: {show_name(first.name)} must be a matrix, for it is split over shards; got shape "
            f"{list(first.shape)}"
        )
    return JoinedTensor.of(name, parts, axis)


def _axis(rule: Rule, first: Tensor, width: int | None) -> int | None:
    """The axis of the join; None if every shard holds the whole."""
    if len(rule.axes) < 2:
        return rule.axes[0] if rule.axes else None
    # Split by rows, a piece is as wide as the model; split by columns, it is narrower.
    return ROWS if len(first.shape) == 2 and first.shape[COLUMNS] == width else COLUMNS


def _norm_width(shards: Mapping[str, Mapping[str, Tensor]]) -> int | None:
    """The length of norm.weight, which every shard holds whole; None if none has it."""
    norms = (tensors["norm.weight"] for tensors in shards.values() if "norm.weight" in tensors)
    return next((norm.shape[0] for norm in norms if len(norm.shape) == 1), None)


def _fixed(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """The dimensions in which the pieces of a tensor must agree."""
    return tuple(n for i, n in enumerate(shape) if i != axis)


def _disagree(part: Tensor, first: Tensor, got: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"{part.file}: {show_name(part.name)} must fit that of {first.file.name}, which is {expected}; got {got}; the "
        "shards are not of one model: download all of them again"
    )


def _not_metas_names(tensor: Tensor) -> CheckpointError:
    return CheckpointError(
        f"{tensor.file}: tensors must have Meta's names; got {show_name(tensor.name)}, a name of Hugging Face's "
        "layout, whose rows lie in another order; put the file beside its config.json as model.safetensors"
    )


def _wrong_count(folder: Path, shards: Mapping[str, Mapping[str, Tensor]], dim: int | None) -> CheckpointError | None:
    """The error if the rows of wq, of which there are `dim` in all, tell of more or fewer shards than there are."""
    file, tensors = next(iter(shards.items()), ("", {}))
    wq = next((t for name, t in tensors.items() if name.endswith(_COUNTED) and len(t.shape) == 2), None)
    if wq is None or not dim or not wq.shape[ROWS] or dim % wq.shape[ROWS]:
        return None
    expected, found = dim // wq.shape[ROWS], len(shards)
    if expected == found:
        return None
    if expected < found:
        repair = "these are shards of several models, or of a larger one: download all of them again"
    else:
        number = _NUMBERED.fullmatch(file)
        form = number[2] if number else "pth"
        lacking = [f"consolidated.{i:02d}.{form}" for i in range(found, min(expected, found + 3))]
        more = f" and {expected - found - 3} more" if expected > found + 3 else ""
        repair = f"download {', '.join(lacking)}{more}"
    return CheckpointError(
        f"{folder}: must hold {expected} shards, for dim is {dim} in {PARAMS} and {show_name(wq.name)} has "
        f"{wq.shape[ROWS]} rows in {file}; got {found}; {repair}"
    )
