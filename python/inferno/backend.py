"""The operations that a model may use.

A model describes one step by calling these methods in the paper's order; nothing is computed then. The backend records
each call, and `Program` runs the record. This one records for the CPU tiers of `_core`; another device would offer the
same methods.

Every buffer has a row for each token of a batch (or for each row whose logits are wanted) and holds float32, or what
csrc/kernels/quantize.h makes of it. Weights are arrays of the stored type: float32, float16, uint16 for BF16, or codes
(_core.CodedWeight). They are bound as they lie: no cast, no copy, also where a matrix lies in several pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from inferno import _core
from inferno.joined import Matrix, pieces
from inferno.quantization.activation import Activation, Numerics

if TYPE_CHECKING:
    from inferno.rope import RopeTable

Array = npt.NDArray[Any]


class Backend:
    """Records the operations of a step for one CPU tier ("" is INFERNO_ISA, else the best that this CPU has).

    `numerics` names the rule by which inputs are rounded where a layer asks for it.
    """

    def __init__(self, isa: str = "", numerics: Numerics = "vllm") -> None:
        self.program = _core.Program(isa)
        self.numerics = numerics
        self._declared: dict[str, tuple[int, bool, bool, bool]] = {}

    @property
    def isa(self) -> str:
        return self.program.isa

    def buffer(self, name: str, width: int, *, outputs: bool = False) -> None:
        """Adds a buffer of `width` columns; with `outputs`, it has a row for each wanted row of logits.

        The same buffer may be asked for again.
        """
        self._declare(name, (width, outputs, False, False))

    def quantized(self, name: str, width: int, *, outputs: bool = False, outliers: bool = False) -> None:
        """Adds a buffer whose rows are `width` int8 codes with a scale; with `outliers`, some columns in float32."""
        self._declare(name, (width, outputs, True, outliers))

    def _declare(self, name: str, asked: tuple[int, bool, bool, bool]) -> None:
        known = self._declared.get(name)
        if known is None:
            self._declared[name] = asked
            width, outputs, quantized, outliers = asked
            more = {"quantized": True, "outliers": outliers} if quantized else {}
            self.program.buffer(name, width, outputs=outputs, **more)
        elif known != asked:
            raise ValueError(f"buffer {name}: must be what it was first asked to be, {known}; got {asked}")

    def embedding(self, out: str, table: Matrix) -> None:
        """out[t] = table[token_ids[t]]; table: (vocab_size, hidden_size)."""
        arrays, axis = pieces(table)
        self.program.embedding(out, arrays, axis=axis)

    def rmsnorm(self, out: str, x: str, weight: Array, eps: float) -> None:
        """out = x / sqrt(mean(x^2) + eps) * weight; out may be x."""
        self.program.rmsnorm(out, x, weight, eps)

    def matmul(
        self,
        out: str,
        x: str,
        weight: Matrix,
        *,
        bias: Array | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None:
        """out = (x @ weight.T + bias) * silu(gate) + residual; weight: (n, k). out may be gate or residual, not x."""
        arrays, axis = pieces(weight)
        self.program.matmul(out, x, arrays, axis=axis, bias=bias, gate=gate, residual=residual)

    def quantize(self, out: str, x: str, activation: Activation) -> None:
        """Rounds the rows of x to int8 codes."""
        self.program.quantize(out, x, **self._rule(activation))

    def rmsnorm_quantize(self, out: str, x: str, weight: Array, eps: float, activation: Activation) -> None:
        """rmsnorm, then quantize, without float32 rows between the two."""
        self.program.rmsnorm_quantize(out, x, weight, eps, **self._rule(activation))

    def _rule(self, activation: Activation) -> Any:
        scale = 1.0 if activation.scale is None else activation.scale
        return {
            "rule": activation.rule(self.numerics),
            "scale": scale,
            "zero": activation.zero,
            "threshold": activation.threshold,
        }

    def round_e4m3(self, out: str, x: str, activation: Activation) -> None:
        """Rounds x to what float8 e4m3fn codes and their scale stand for, in float32."""
        served = self.numerics == "vllm"
        self.program.round_e4m3(out, x, scale=activation.scale, group=activation.group, reciprocal=served)

    def matmul_int8(
        self,
        out: str,
        x: str,
        weight: _core.CodedWeight,
        *,
        bias: Array | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None:
        """matmul of int8 codes with int8 or uint8 codes, exact in int32 before the scales; x: a quantized buffer."""
        self.program.matmul_int8(out, x, weight, bias=bias, gate=gate, residual=residual)

    def matmul_coded(
        self,
        out: str,
        x: str,
        weight: _core.CodedWeight,
        *,
        bias: Array | None = None,
        gate: str | None = None,
        residual: str | None = None,
    ) -> None:
        """matmul of float32 with codes that are widened in registers."""
        self.program.matmul_coded(out, x, weight, bias=bias, gate=gate, residual=residual)

    def rope_angles(self, out: str, rope: RopeTable) -> None:
        """Cosines and sines of each token's position, by the table of frequencies."""
        self.program.rope_angles(out, rope.inv_freq, rope.attention_factor)

    def rope(self, out: str, x: str, angles: str, *, interleaved: bool = False) -> None:
        """Rotates every head of x; interleaved reads Meta's order. Writes the half-split order."""
        self.program.rope(out, x, angles, interleaved=interleaved)

    def kv_write(self, k: str, v: str, keys: Array, values: Array) -> None:
        """Stores the tokens' keys and values in one layer's paged cache."""
        self.program.kv_write(k, v, keys, values)

    def attention(self, out: str, q: str, keys: Array, values: Array, scale: float) -> None:
        """Causal grouped-query attention of the tokens over their sequences' caches."""
        self.program.attention(out, q, keys, values, scale)

    def select_rows(self, out: str, x: str) -> None:
        """Keeps the rows whose logits are wanted."""
        self.program.select_rows(out, x)
