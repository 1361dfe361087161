"""The operations of a step against the capability table: a kernel for each, or the refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inferno.capability import KERNELS, NO_WEIGHT, Kernel, Refusal, choose, variants
from inferno.checkpoint import AnyTensor
from inferno.checkpoint.expected import patterns
from inferno.errors import InfernoError, UnsupportedError
from inferno.files import show_some
from inferno.models.llama import Use


@dataclass(frozen=True)
class Binding:
    """One operation of a step: the tensor that it reads ("" if none), the stored type, and the kernel that runs it.

    `shape` and `nbytes` are the tensor's.
    """

    operation: str
    tensor: str
    weight_type: str
    kernel: Kernel
    shape: tuple[int, ...] = ()
    nbytes: int = 0


def bind(
    tensors: Mapping[str, AnyTensor], uses: Iterable[Use], kv_cache_type: str, tier: str
) -> tuple[list[Binding], list[InfernoError]]:
    """A binding for each use that can run; an error for each stored type and reason why others can't."""
    available = variants()
    bindings: list[Binding] = []
    refused: dict[tuple[str, str, str], list[AnyTensor]] = {}
    for use in uses:
        tensor = tensors[use.tensor] if use.tensor else None
        weight_type = tensor.dtype if tensor else kv_cache_type.upper() if use.in_cache else NO_WEIGHT
        cell = choose(use.operation, weight_type, tier, available)
        if isinstance(cell, Kernel):
            shape, nbytes = (tensor.shape, tensor.nbytes) if tensor else ((), 0)
            bindings.append(Binding(use.operation, use.tensor, weight_type, cell, shape, nbytes))
        for stored in (tensors[name] for name in (use.tensor, use.bias) if name):
            judged = choose(use.operation, stored.dtype, tier, available)
            if isinstance(judged, Refusal):
                refused.setdefault((stored.dtype, _runnable(use.operation), judged.reason), []).append(stored)
    return bindings, [_refusal(*key, found) for key, found in refused.items()]


def _runnable(operation: str) -> str:
    return ", ".join(stored for op, stored in KERNELS if op == operation)


def _refusal(dtype: str, runnable: str, reason: str, found: list[AnyTensor]) -> UnsupportedError:
    names = show_some(patterns(dict.fromkeys(tensor.name for tensor in found)))
    return UnsupportedError(
        f"{found[0].file}: dtype of {names} must be one of {runnable}; got {dtype}: {reason}; save the model in one of "
        "these"
    )
