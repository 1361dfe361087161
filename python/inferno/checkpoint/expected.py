"""The tensors that a model needs, against those that its checkpoint has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inferno.checkpoint.checkpoint import Checkpoint
from inferno.errors import CheckpointError, UnsupportedError
from inferno.files import show_name, show_some

PLAIN_DTYPES = ("F32", "F16", "BF16")
# Saved by old transformers: a constant that follows from the config.
_IGNORED_SUFFIX = ".rotary_emb.inv_freq"
_QUANTIZED = re.compile(
    r"(weight_scale|weight_packed|weight_zero_point|qweight|qzeros|g_idx|SCB|weight_format|absmax|quant_map|scales)$"
)


@dataclass(frozen=True)
class TensorSpec:
    """What a model expects of one tensor. An optional one may be absent, but has this shape if it is there."""

    shape: tuple[int, ...]
    optional: bool = False


def check_tensors(ckpt: Checkpoint, specs: Mapping[str, TensorSpec], dtypes: Sequence[str] = PLAIN_DTYPES) -> None:
    """Compares names, shapes and dtypes; no weight is read. `*.rotary_emb.inv_freq` is ignored.

    Raises one CheckpointError that tells of every missing, unexpected and misshapen tensor (many of a kind summed up by
    a pattern); UnsupportedError if only dtypes are not among `dtypes`.
    """
    missing = [name for name, spec in specs.items() if not spec.optional and name not in ckpt]
    unexpected = [name for name in ckpt if name not in specs and not name.endswith(_IGNORED_SUFFIX)]
    shared = [name for name in specs if name in ckpt]
    misshapen = [name for name in shared if ckpt[name].shape != specs[name].shape]
    problems = [
        *_tell_missing(missing, unexpected),
        *_tell_unexpected(unexpected),
        *_tell_misshapen(misshapen, ckpt, specs),
    ]
    if problems:
        raise CheckpointError(f"{ckpt.folder}: tensors must match config.json; " + "; ".join(problems))
    _check_dtypes(ckpt, shared, dtypes)


def patterns(names: Iterable[str]) -> list[str]:
    """Names with layer numbers replaced by "*" where several differ in nothing else, each with its count."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(name)
    return [
        show_name(found[0]) if len(found) == 1 else f"{show_name(pattern)} ({len(found)} tensors)"
        for pattern, found in groups.items()
    ]


def _tell_missing(missing: list[str], unexpected: list[str]) -> list[str]:
    if not missing:
        return []
    near = _nearest(missing[0], unexpected)
    hint = f" (is {show_name(near)} meant for {show_name(missing[0])}?)" if near else ""
    return [f"missing {show_some(patterns(missing))}{hint}"]


def _tell_unexpected(unexpected: list[str]) -> list[str]:
    if not unexpected:
        return []
    quantized = any(_QUANTIZED.search(name) for name in unexpected)
    hint = " (these look quantized, but config.json has no quantization_config)" if quantized else ""
    return [f"unexpected {show_some(patterns(unexpected))}{hint}"]


def _tell_misshapen(misshapen: list[str], ckpt: Checkpoint, specs: Mapping[str, TensorSpec]) -> list[str]:
    if not misshapen:
        return []
    name = misshapen[0]
    more = f" and {len(misshapen) - 1} more misshapen" if len(misshapen) > 1 else ""
    return [f"{name} must be {list(specs[name].shape)}; got {list(ckpt[name].shape)} in {ckpt[name].file.name}{more}"]


def _check_dtypes(ckpt: Checkpoint, names: list[str], dtypes: Sequence[str]) -> None:
    wrong = [name for name in names if ckpt[name].dtype not in dtypes]
    if not wrong:
        return
    first = ckpt[wrong[0]]
    raise UnsupportedError(
        f"{first.file}: dtype of {show_some(patterns(wrong))} must be one of {', '.join(dtypes)}; got {first.dtype}; "
        "save the model in one of these"
    )


def _nearest(name: str, candidates: list[str]) -> str | None:
    from difflib import get_close_matches

    # difflib is quadratic in the length of names: bounded, for they come from a file.
    short = [candidate for candidate in candidates[:2000] if len(candidate) <= 200]
    found = get_close_matches(name, short, n=1, cutoff=0.7)
    return found[0] if found else None
