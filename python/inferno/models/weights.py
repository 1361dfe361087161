"""A model's weights as its architecture asks for them: bound where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from inferno.backend import Array
from inferno.checkpoint import Checkpoint, Tensor
from inferno.joined import Matrix
from inferno.layers import CodedLinear, FloatLinear, Linear
from inferno.quantization.resolve import parts_of

if TYPE_CHECKING:
    from inferno.quantization.scheme import LinearScheme


class Weights:
    """The tensors of a checkpoint that was matched; `schemes` says which layers are quantized, and how."""

    def __init__(self, ckpt: Checkpoint, schemes: Mapping[str, LinearScheme]) -> None:
        self._ckpt, self._schemes = ckpt, schemes

    def matrix(self, name: str) -> Matrix:
        """A matrix in floating point, in one piece or several."""
        return self._ckpt[name].matrix

    def vector(self, name: str) -> Array:
        """A weight that no layout cuts."""
        tensor = self._ckpt[name]
        assert isinstance(tensor, Tensor)
        return tensor.array

    def linear(self, layer: str, n: int, k: int, bias: bool = False) -> Linear:
        """The layer of that name with n output and k input features."""
        b = self.vector(f"{layer}.bias") if bias else None
        scheme = self._schemes.get(layer)
        if scheme is None:
            return FloatLinear(n, k, self.matrix(f"{layer}.weight"), b)
        weight, activation = scheme.bind(parts_of(self._ckpt, layer, scheme, n, k), n, k)
        return CodedLinear(n, k, weight, scheme.operation, activation, b)
