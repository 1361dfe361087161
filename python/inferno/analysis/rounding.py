"""What rounding its inputs adds to a quantized model's step: stages, elements, buffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inferno.analysis.plan import Plan
    from inferno.quantization.activation import Activation

# The layers that share an input, by the buffer that it lies in: models/llama.py. True: a norm has just made it.
_INPUTS = (
    ("x", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), True),
    ("attended", ("self_attn.o_proj",), False),
    ("x", ("mlp.gate_proj", "mlp.up_proj"), True),
    ("gate", ("mlp.down_proj",), False),
)


@dataclass(frozen=True)
class Rounding:
    """Beyond what a model in floating point does.

    stages     of the step program, at most: a neighbour's matmul may share one
    elements   of inputs that are rounded for each token of a prompt, besides those that a norm rounds itself
    row_bytes  of the buffers that hold rounded inputs, for each token
    last_bytes of those that hold the head's, for the last token
    """

    stages: int = 0
    elements: int = 0
    row_bytes: int = 0
    last_bytes: int = 0


NO_ROUNDING = Rounding()


def rounding(plan: Plan) -> Rounding:
    """What the planned model's layers.record_inputs will record: it is asked itself."""
    from inferno.layers import CodedLinear, FloatLinear, Linear, Norm, record_inputs
    from inferno.models.llama import linear_layers

    if not plan.rounds_inputs:
        return NO_ROUNDING
    shapes, schemes = linear_layers(plan.config), plan.report.schemes
    nothing: Any = None

    def layer(name: str) -> Linear:
        n, k, _ = shapes[name]
        scheme = schemes.get(name)
        if scheme is None:
            return FloatLinear(n, k, nothing)
        return CodedLinear(n, k, nothing, scheme.operation, scheme.activation)

    recorder = _Recorder()
    backend: Any = recorder
    for x, names, after_norm, outputs in _inputs(plan.config.num_hidden_layers):
        recorder.begin()
        norm = Norm("h", nothing, 0.0) if after_norm else None
        record_inputs(backend, x, [layer(name) for name in names], norm=norm, outputs=outputs)
    return Rounding(
        recorder.stages, recorder.elements, sum(recorder.rows[False].values()), sum(recorder.rows[True].values())
    )


def _inputs(layers: int) -> Iterator[tuple[str, list[str], bool, bool]]:
    """Buffer, layers that read it, whether a norm made it, whether it has a row for each output alone."""
    for i in range(layers):
        for x, names, after_norm in _INPUTS:
            yield x, [f"model.layers.{i}.{name}" for name in names], after_norm, False
    yield "last", ["lm_head"], True, True


class _Recorder:
    """Takes record_inputs' calls of backend.Backend and counts. `rows`: bytes of a buffer's row, outputs apart."""

    def __init__(self) -> None:
        self.stages = self.elements = 0
        self.rows: dict[bool, dict[str, int]] = {False: {}, True: {}}
        self._widths: dict[str, tuple[int, bool]] = {}
        self._rounded = False

    def begin(self) -> None:
        """The next input."""
        self._rounded = False

    def buffer(self, name: str, width: int, *, outputs: bool = False) -> None:
        self._widths[name] = width, outputs
        self.rows[outputs][name] = 4 * width

    def quantized(self, name: str, width: int, *, outputs: bool = False, outliers: bool = False) -> None:
        from inferno import _core

        self._widths[name] = width, outputs
        self.rows[outputs][name] = _core.quantized_rows(1, width, outliers=outliers).nbytes

    def rmsnorm(self, out: str, x: str, weight: object, eps: float) -> None:
        pass

    def rmsnorm_quantize(self, out: str, x: str, weight: object, eps: float, rule: Activation) -> None:
        pass

    def quantize(self, out: str, x: str, rule: Activation) -> None:
        # Roundings of one input wait for each other no more than matmuls do: one stage.
        self.stages += not self._rounded
        self._rounded = True
        width, outputs = self._widths[out]
        self.elements += 0 if outputs else width

    round_e4m3 = quantize
