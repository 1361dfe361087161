"""Linear layers, by the scheme that their weights are stored in."""

from __future__ import annotations

from dataclasses import dataclass

from inferno.backend import Array, Backend
from inferno.joined import Matrix


@dataclass(frozen=True)
class Linear:
    """y = x @ weight.T + bias, weights in floating point as stored; weight: (n, k), bias: (n,)."""

    weight: Matrix
    bias: Array | None = None

    @property
    def out_features(self) -> int:
        return int(self.weight.shape[0])

    def record(
        self, backend: Backend, out: str, x: str, *, gate: str | None = None, residual: str | None = None
    ) -> None:
        """Records out = (x @ weight.T + bias) * silu(gate) + residual."""
        backend.matmul(out, x, self.weight, bias=self.bias, gate=gate, residual=residual)
