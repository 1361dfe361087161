"""Linear layers, by the scheme that their weights are stored in, and the inputs that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from inferno.backend import Array, Backend
from inferno.joined import Matrix
from inferno.quantization.activation import Activation

if TYPE_CHECKING:
    from inferno import _core


@dataclass(frozen=True)
class FloatLinear:
    """y = x @ weight.T + bias, weights in floating point as stored; weight: (n, k), bias: (n,)."""

    n: int
    k: int
    weight: Matrix
    bias: Array | None = None

    @property
    def activation(self) -> None:
        """Inputs are taken as they are."""
        return None

    def record(
        self, backend: Backend, out: str, x: str, *, gate: str | None = None, residual: str | None = None
    ) -> None:
        """Records out = (x @ weight.T + bias) * silu(gate) + residual."""
        backend.matmul(out, x, self.weight, bias=self.bias, gate=gate, residual=residual)


@dataclass(frozen=True)
class CodedLinear:
    """The same with weights as codes, and inputs rounded by `activation`; n, k: the shape of the weight."""

    n: int
    k: int
    weight: _core.CodedWeight
    operation: str
    activation: Activation | None = None
    bias: Array | None = None

    def record(
        self, backend: Backend, out: str, x: str, *, gate: str | None = None, residual: str | None = None
    ) -> None:
        """Records out = (x @ w.T + bias) * silu(gate) + residual; x: what record_inputs made of the input."""
        multiply = backend.matmul_int8 if self.operation == "matmul_int8" else backend.matmul_coded
        multiply(out, x, self.weight, bias=self.bias, gate=gate, residual=residual)


Linear = FloatLinear | CodedLinear


class Norm(NamedTuple):
    """RMSNorm of the buffer `x`."""

    x: str
    weight: Array
    eps: float


def record_inputs(
    backend: Backend, x: str, layers: Sequence[Linear], *, norm: Norm | None = None, outputs: bool = False
) -> list[str]:
    """Records what `layers` read of the buffer x, after `norm` if there is one; the buffer for each layer.

    Layers that round alike share a buffer. A norm whose rows all become the same int8 codes never writes them as
    float32. `outputs`: x has a row for each wanted row of logits.
    """
    rules = list(dict.fromkeys(layer.activation for layer in layers))
    fused = norm is not None and len(rules) == 1 and rules[0] is not None and rules[0].kind == "int8"
    if norm is not None and not fused:
        backend.rmsnorm(x, norm.x, norm.weight, norm.eps)
    made: dict[Activation | None, str] = {None: x}
    for i, rule in enumerate(rules):
        if rule is None:
            continue
        made[rule] = name = f"{x}.{rule.kind}" + (f".{i}" if i else "")
        k = layers[0].k
        if rule.kind == "e4m3":
            backend.buffer(name, k, outputs=outputs)
            backend.round_e4m3(name, x, rule)
            continue
        backend.quantized(name, k, outputs=outputs, outliers=rule.threshold > 0)
        if fused and norm is not None:
            backend.rmsnorm_quantize(name, norm.x, norm.weight, norm.eps, rule)
        else:
            backend.quantize(name, x, rule)
    return [made[layer.activation] for layer in layers]
