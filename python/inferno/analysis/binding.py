"""The operations of a step against the capability table: a kernel for each, or the refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inferno.capability import KERNELS, NO_WEIGHT, Kernel, Refusal, choose, variants
from inferno.checkpoint import AnyTensor
from inferno.checkpoint.expected import patterns
from inferno.errors import InfernoError, UnsupportedError
from inferno.files import show_some
from inferno.models.listing import Use
from inferno.quantization.resolve import parts_of
from inferno.quantization.scheme import LinearScheme


@dataclass(frozen=True)
class Binding:
    """One operation of a step: the tensor that it reads ("" if none), the stored type, and the kernel that runs it.

    `shape` and `nbytes` are the tensor's. Of a quantized layer `tensor` is its name, `weight_type` the type of the
    codes, `shape` that of the matrix, and `nbytes` counts all its tensors.
    """

    operation: str
    tensor: str
    weight_type: str
    kernel: Kernel
    shape: tuple[int, ...] = ()
    nbytes: int = 0


def bind(
    tensors: Mapping[str, AnyTensor],
    uses: Iterable[Use],
    kv_cache_type: str,
    tier: str,
    schemes: Mapping[str, LinearScheme] | None = None,
    shapes: Mapping[str, tuple[int, int, bool]] | None = None,
) -> tuple[list[Binding], list[InfernoError]]:
    """A binding for each use that can run; an error for each stored type and reason why others can't.

    `schemes` and `shapes` are needed for quantized layers: their schemes, and output and input features.
    """
    available = variants()
    bindings: list[Binding] = []
    refused: dict[tuple[str, str, str], list[AnyTensor]] = {}

    def judge(operation: str, tensor: AnyTensor) -> None:
        cell = choose(operation, tensor.dtype, tier, available)
        if isinstance(cell, Refusal):
            refused.setdefault((tensor.dtype, _runnable(operation), cell.reason), []).append(tensor)

    for use in uses:
        if use.weight_type:
            assert schemes is not None
            assert shapes is not None
            n, k, _ = shapes[use.tensor]
            parts = parts_of(tensors, use.tensor, schemes[use.tensor], n, k)
            cell = choose(use.operation, use.weight_type, tier, available)
            assert isinstance(cell, Kernel), f"{schemes[use.tensor].name} binds a kernel that the table does not have"
            nbytes = sum(part.nbytes for part in parts.values())
            bindings.append(Binding(use.operation, use.tensor, use.weight_type, cell, (n, k), nbytes))
        else:
            tensor = tensors[use.tensor] if use.tensor else None
            weight_type = tensor.dtype if tensor else kv_cache_type.upper() if use.in_cache else NO_WEIGHT
            found = choose(use.operation, weight_type, tier, available)
            if isinstance(found, Kernel):
                shape, nbytes = (tensor.shape, tensor.nbytes) if tensor else ((), 0)
                bindings.append(Binding(use.operation, use.tensor, weight_type, found, shape, nbytes))
            elif tensor is not None:
                judge(use.operation, tensor)
        if use.bias:
            judge("matmul", tensors[use.bias])
    return bindings, [_refusal(*key, found) for key, found in refused.items()]


def _runnable(operation: str) -> str:
    return ", ".join(stored for op, stored in KERNELS if op == operation)


def _refusal(dtype: str, runnable: str, reason: str, found: list[AnyTensor]) -> UnsupportedError:
    names = show_some(patterns(dict.fromkeys(tensor.name for tensor in found)))
    return UnsupportedError(
        f"{found[0].file}: dtype of {names} must be one of {runnable}; got {dtype}: {reason}; save the model in one of "
        "these"
    )
