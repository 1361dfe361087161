"""What every quantized scheme offers: the tensors of a layer, checks of their values, and the kernel that it binds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from inferno.checkpoint.expected import TensorSpec
from inferno.checkpoint.tensor import Tensor
from inferno.quantization.activation import Activation

if TYPE_CHECKING:
    from inferno import _core

# Tensors of one layer by what stands after its name: "weight", "weight_scale", "qzeros".
Parts = Mapping[str, Tensor]

# Sums of products of two codes must fit int32: largest |activation code| * largest |weight code| * k < 2^31.
MAX_INT32 = 2**31


class LinearScheme(Protocol):
    """How one linear layer of n output and k input features is stored, and what computes with it.

    Implementations are frozen dataclasses, a file each; each file's `scheme(claim, parts, n, k, where)` makes one from
    what the config claims and what is stored, or raises UnsupportedError (ConfigError) for what cannot run.
    """

    @property
    def name(self) -> str:
        """One of recognize.SIGNATURES."""

    @property
    def operation(self) -> str:
        """With weight_type, a cell of capability.py: "matmul_int8" or "matmul_coded"."""

    @property
    def weight_type(self) -> str:
        """The type of the codes: "I8", "U8", "U4", "LUT4", "E4M3", "GPTQ4", "GPTQ8" or "AWQ4"."""

    @property
    def activation(self) -> Activation | None:
        """How inputs are rounded, as far as headers and config tell; None: they are not. Static scales are bind's."""

    def tensors(self, n: int, k: int) -> dict[str, TensorSpec]:
        """Suffix -> shape and types of every tensor of the layer but its bias."""

    def check(self, parts: Parts, n: int, k: int) -> None:
        """Reads the values of side tensors, never of the codes. CheckpointError for one that makes no sense."""

    def bind(self, parts: Parts, n: int, k: int) -> tuple[_core.CodedWeight, Activation | None]:
        """The matrix over the tensors where they lie, and the rule for its inputs with static scales read."""
