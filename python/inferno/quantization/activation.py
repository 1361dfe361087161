"""How the inputs of a quantized layer are rounded before they meet its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferno.errors import UsageError

Numerics = Literal["vllm", "compressed-tensors"]
# By the names of who computes so: vllm is what serves such models (absmax / 127), compressed-tensors what writes them
# (absmax / 127.5). docs/quantization.md compares the two.
NUMERICS: tuple[Numerics, ...] = ("vllm", "compressed-tensors")
# What each does, in a line.
NUMERICS_TOLD: dict[Numerics, str] = {
    "vllm": "vllm: inputs are rounded as served (int8: absmax / 127)",
    "compressed-tensors": "compressed-tensors: inputs are rounded as the model's writer does (int8: absmax / 127.5)",
}


def check_numerics(name: str) -> Numerics:
    """The name, if it is one of NUMERICS; else UsageError."""
    for known in NUMERICS:
        if name == known:
            return known
    raise UsageError(f"numerics: must be one of {', '.join(NUMERICS)}; got {name!r}")


@dataclass(frozen=True)
class Activation:
    """A rule for the rows of a layer's input.

    `kind` is the type of the codes: "int8", or "e4m3" (float8 e4m3fn, kept as the float32 that they stand for).
    Dynamic: scale (and zero point, unless symmetric) from each row; with `group`, from each group of so many columns
    (e4m3 alone). Static: `scale` and `zero` as stored. `threshold`: columns of a row with |x| of at least this are
    outliers, kept in float32 (0: none). `one_rule`: absmax / 127 under every numerics, for LLM.int8 knows no other.
    """

    kind: Literal["int8", "e4m3"]
    symmetric: bool = True
    dynamic: bool = True
    group: int = 0
    scale: float | None = None
    zero: int = 0
    threshold: float = 0.0
    one_rule: bool = False

    def rule(self, numerics: Numerics) -> str:
        """The name of csrc/kernels/quantize.h's rule for int8 codes."""
        served = numerics == "vllm"
        if not self.dynamic:
            return "static-as-served" if served else "static"
        if not self.symmetric:
            return "range-as-served" if served else "range"
        return "absmax127" if served or self.one_rule else "absmax127.5"

    def __str__(self) -> str:
        kind = "int8" if self.kind == "int8" else "FP8"
        if not self.dynamic:
            return f"{kind}, static per tensor"
        per = f"group of {self.group}" if self.group else "token"
        parts = [kind, f"dynamic per {per}"]
        if not self.symmetric:
            parts.append("with zero points")
        if self.threshold:
            parts.append(f"outliers from {self.threshold:g} on in float32")
        return ", ".join(parts)
