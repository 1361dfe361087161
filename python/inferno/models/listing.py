"""The operations of a step as a list of names: what the model would record, told before a weight is bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inferno.checkpoint import HeadChoice
from inferno.config import LlamaConfig
from inferno.layers import CodedLinear, FloatLinear, Linear
from inferno.models.llama import Llama
from inferno.quantization.activation import Activation
from inferno.quantization.scheme import LinearScheme


@dataclass(frozen=True)
class Use:
    """An operation of the step, by the names of capability.py, and the tensors that it reads.

    tensor       the weight, "" if none; of a quantized layer its name without a suffix
    bias         "" if none
    weight_type  of a quantized layer the type of its codes; else "", for the tensor's own counts
    in_cache     whether it uses the KV cache
    """

    operation: str
    tensor: str = ""
    bias: str = ""
    weight_type: str = ""
    in_cache: bool = False


def uses(
    config: LlamaConfig,
    head: HeadChoice,
    interleaved_rope: bool = False,
    schemes: Mapping[str, LinearScheme] | None = None,
) -> list[Use]:
    """The operations that `Llama.record` records, in its order: it is asked itself, with names for weights."""
    weights: Any = _Names(schemes or {})
    listing: Any = Listing()
    nothing: Any = None
    pages = [(nothing, nothing)] * config.num_hidden_layers
    Llama(config, weights, head, pages, nothing, interleaved_rope).record(listing)
    found: list[Use] = listing.uses
    return found


@dataclass(frozen=True)
class _Codes:
    """Stands for the CodedWeight of a layer."""

    layer: str
    weight_type: str


class _Names:
    """models.weights.Weights, with the names of tensors for the tensors."""

    def __init__(self, schemes: Mapping[str, LinearScheme]) -> None:
        self._schemes = schemes

    def matrix(self, name: str) -> Any:
        return name

    def vector(self, name: str) -> Any:
        return name

    def linear(self, layer: str, n: int, k: int, bias: bool = False) -> Linear:
        b: Any = f"{layer}.bias" if bias else None
        scheme = self._schemes.get(layer)
        if scheme is None:
            return FloatLinear(n, k, self.matrix(f"{layer}.weight"), b)
        codes: Any = _Codes(layer, scheme.weight_type)
        return CodedLinear(n, k, codes, scheme.operation, scheme.activation, b)


class Listing:
    """Takes the calls of backend.Backend and notes what they use."""

    def __init__(self) -> None:
        self.uses: list[Use] = []

    def buffer(self, name: str, width: int, *, outputs: bool = False) -> None:
        pass

    def quantized(self, name: str, width: int, *, outputs: bool = False, outliers: bool = False) -> None:
        pass

    def embedding(self, out: str, table: str) -> None:
        self.uses.append(Use("embedding", table))

    def rmsnorm(self, out: str, x: str, weight: str, eps: float) -> None:
        self.uses.append(Use("rmsnorm", weight))

    def quantize(self, out: str, x: str, activation: Activation) -> None:
        self.uses.append(Use("quantize"))

    def rmsnorm_quantize(self, out: str, x: str, weight: str, eps: float, activation: Activation) -> None:
        self.uses.append(Use("rmsnorm_quantize", weight))

    def round_e4m3(self, out: str, x: str, activation: Activation) -> None:
        self.uses.append(Use("round_e4m3"))

    def matmul(
        self,
        out: str,
        x: str,
        weight: str,
        *,
        bias: str | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None:
        self.uses.append(Use("matmul", weight, bias or ""))

    def matmul_int8(
        self,
        out: str,
        x: str,
        weight: _Codes,
        *,
        bias: str | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None:
        self.uses.append(Use("matmul_int8", weight.layer, bias or "", weight.weight_type))

    def matmul_coded(
        self,
        out: str,
        x: str,
        weight: _Codes,
        *,
        bias: str | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None:
        self.uses.append(Use("matmul_coded", weight.layer, bias or "", weight.weight_type))

    def rope_angles(self, out: str, rope: object) -> None:
        self.uses.append(Use("rope_angles"))

    def rope(self, out: str, x: str, angles: str, *, interleaved: bool = False) -> None:
        self.uses.append(Use("rope_interleaved" if interleaved else "rope_half_split"))

    def kv_write(self, k: str, v: str, keys: object, values: object) -> None:
        self.uses.append(Use("kv_write", in_cache=True))

    def attention(self, out: str, q: str, keys: object, values: object, scale: float) -> None:
        self.uses.append(Use("attention", in_cache=True))

    def select_rows(self, out: str, x: str) -> None:
        pass
