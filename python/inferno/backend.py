"""The operations that a model may use.

A model describes one step by calling these methods in the paper's order; nothing is computed then. The backend records
each call, and `Program` runs the record. This one records for the CPU tiers of `_core`; another device would offer the
same methods.

Every buffer has a row for each token of a batch (or for each row whose logits are wanted) and holds float32. Weights
are arrays of the stored type: float32, float16, or uint16 for BF16. They are bound as they lie: no cast, no copy, also
where a matrix lies in several pieces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferno import _core
from inferno.joined import Matrix, pieces

Array = npt.NDArray[Any]


class Backend:
    """Records the operations of a step for one CPU tier ("" is INFERNO_ISA, else the best that this CPU has)."""

    def __init__(self, isa: str = "") -> None:
        self.program = _core.Program(isa)

    @property
    def isa(self) -> str:
        return self.program.isa

    def buffer(self, name: str, width: int, *, outputs: bool = False) -> str:
        """Adds a buffer of `width` columns; with `outputs`, it has a row for each wanted row of logits."""
        self.program.buffer(name, width, outputs=outputs)
        return name

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

    def rope_angles(self, out: str, inv_freq: npt.NDArray[np.float32], factor: float) -> None:
        """Cosines and sines (times factor) of each token's position; inv_freq: (head_dim / 2,)."""
        self.program.rope_angles(out, inv_freq, factor)

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
