"""The tensors that a model needs, against those that its checkpoint has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inferno.checkpoint.layouts import HUGGING_FACE, Layout
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import CheckpointError
from inferno.files import show_name, show_some

# Saved by old transformers: a constant that follows from the config.
_IGNORED = re.compile(r"\.rotary_emb\.inv_freq$")
# Of a quantized model: scales for keys and values that are rounded in the cache, which Inferno does not do.
_CACHE_SCALES = re.compile(r"\.self_attn\.([kv]_scale|[kv]_proj\.output_scale)$")
# Missing names for which a misspelling is looked for.
_SEARCHED = 8
_QUANTIZED = re.compile(
    r"(weight_scale|weight_packed|weight_zero_point|qweight|qzeros|g_idx|SCB|weight_format|absmax|quant_map|scales)$"
)
_EMBEDDING = "model.embed_tokens."


@dataclass(frozen=True)
class TensorSpec:
    """What a model expects of one tensor. An optional one may be absent, but is like this if it is there.

    `also` are other shapes that it may have, `dtypes` the types; none: whatever the kernels can read.
    """

    shape: tuple[int, ...]
    optional: bool = False
    dtypes: tuple[str, ...] = ()
    also: tuple[tuple[int, ...], ...] = ()

    def __str__(self) -> str:
        shapes = " or ".join(str(list(shape)) for shape in (self.shape, *self.also))
        return f"{' or '.join(self.dtypes)} {shapes}" if self.dtypes else shapes

    def fits(self, tensor: AnyTensor) -> bool:
        """Whether a tensor has one of the shapes and types."""
        return tensor.shape in (self.shape, *self.also) and (not self.dtypes or tensor.dtype in self.dtypes)


@dataclass(frozen=True)
class TensorMatch:
    """How a checkpoint's tensors fit a model's needs: names of each kind, in the order of needs and of files.

    A misshapen one has another shape, or another type, than its spec allows. `near` gives a missing tensor's likely
    misspelling among the unexpected ones.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    near: Mapping[str, str] = field(default_factory=dict)

    @property
    def mapped(self) -> bool:
        """Whether every tensor has its place and its shape."""
        return not (self.missing or self.unexpected or self.misshapen)


def match_tensors(
    tensors: Mapping[str, AnyTensor],
    specs: Mapping[str, TensorSpec],
    layout: Layout = HUGGING_FACE,
    *,
    quantized: bool = False,
) -> TensorMatch:
    """Compares names and shapes; no weight is read.

    `*.rotary_emb.inv_freq` is ignored, and of a `quantized` model scales of the cache.
    """
    missing = [name for name, spec in specs.items() if not spec.optional and name not in tensors]
    others = [name for name in tensors if name not in specs]
    ignored = [name for name in others if _IGNORED.search(name) or (quantized and _CACHE_SCALES.search(name))]
    passed = set(ignored)
    unexpected = [name for name in others if name not in passed]
    shared = [name for name in specs if name in tensors]
    return TensorMatch(
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        misshapen=tuple(name for name in shared if not specs[name].fits(tensors[name])),
        ignored=tuple(ignored),
        near=_nearest(missing, unexpected, layout),
    )


def refuse_mismatch(
    match: TensorMatch,
    tensors: Mapping[str, AnyTensor],
    specs: Mapping[str, TensorSpec],
    folder: Path,
    layout: Layout = HUGGING_FACE,
    *,
    quantized: bool = False,
) -> None:
    """Raises one CheckpointError that tells of every missing, unexpected and misshapen tensor by its stored name.

    Many of a kind are summed up by a pattern. `quantized`: whether the config says that the model is.
    """
    problems = [
        *_tell_missing(match, layout),
        *_tell_unexpected(match.unexpected, quantized),
        *_tell_misshapen(match.misshapen, tensors, specs, layout),
    ]
    if problems:
        raise CheckpointError(f"{folder}: tensors must match {layout.config_file}; " + "; ".join(problems))


def patterns(names: Iterable[str]) -> list[str]:
    """Names with layer numbers replaced by "*" where several differ in nothing else, each with its count."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(name)
    return [
        show_name(found[0]) if len(found) == 1 else f"{show_name(pattern)} ({len(found)} tensors)"
        for pattern, found in groups.items()
    ]


def _tell_missing(match: TensorMatch, layout: Layout) -> list[str]:
    if not match.missing:
        return []
    missing = [layout.stored(name) for name in match.missing]
    near = match.near.get(match.missing[0])
    hint = f" (is {show_name(near)} meant for {show_name(missing[0])}?)" if near else ""
    return [f"missing {show_some(patterns(missing))}{hint}"]


def _tell_unexpected(unexpected: Sequence[str], quantized: bool) -> list[str]:
    if not unexpected:
        return []
    hint = ""
    if quantized and any(name.startswith(_EMBEDDING) for name in unexpected):
        hint = " (the embedding must be stored in F32, F16 or BF16)"
    elif not quantized and any(_QUANTIZED.search(name) for name in unexpected):
        hint = " (these look quantized, but config.json has no quantization_config)"
    return [f"unexpected {show_some(patterns(unexpected))}{hint}"]


def _tell_misshapen(
    misshapen: Sequence[str], tensors: Mapping[str, AnyTensor], specs: Mapping[str, TensorSpec], layout: Layout
) -> list[str]:
    if not misshapen:
        return []
    name = misshapen[0]
    more = f" and {len(misshapen) - 1} more misshapen" if len(misshapen) > 1 else ""
    tensor, spec = tensors[name], specs[name]
    got = f"{tensor.dtype} {list(tensor.shape)}" if spec.dtypes else str(list(tensor.shape))
    return [f"{layout.stored(name)} must be {spec}; got {got} in {tensor.file.name}{more}"]


def _nearest(missing: Sequence[str], unexpected: Sequence[str], layout: Layout) -> dict[str, str]:
    """Likely misspellings of the first few missing names."""
    from difflib import get_close_matches

    # difflib is quadratic in the length of names: bounded, for they come from a file.
    short = [candidate for candidate in unexpected[:2000] if len(candidate) <= 200]
    found = {name: get_close_matches(layout.stored(name), short, n=1, cutoff=0.7) for name in missing[:_SEARCHED]}
    return {name: close[0] for name, close in found.items() if close}
