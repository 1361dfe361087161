"""What bitsandbytes stores of a 4-bit weight beside its numbers: a tensor of bytes that are JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError
from inferno.files import show, show_name, unique_keys
from inferno.quantization.scales import refuse_value

# Some two hundred bytes in real models.
MAX_STATE_BYTES = 4096
# The values that the codes stand for. NF4: quantiles of the normal distribution (Dettmers et al., QLoRA, appendix E).
# FP4: sign, two bits of exponent, one of mantissa, over the largest, 12.
_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
_FP4 = tuple(sign * value / 12 for sign in (1, -1) for value in (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0))
LEVELS = {"nf4": _NF4, "fp4": _FP4}
# Tables are float32 that versions of bitsandbytes computed in their own ways.
_TOLERANCE = 1e-5
_REPAIR = "fetch the model again, or save it again with a recent bitsandbytes"
# The type that the model had before, of no consequence: everything here is float32.
_IGNORED = ("dtype", "nested_dtype")
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class QuantState:
    """`shape` of the weight; `nested_blocksize`: None unless absmax is quantized itself."""

    quant_type: str
    blocksize: int
    shape: tuple[int, int]
    nested_blocksize: int | None = None
    nested_offset: float = 0.0
    where: str = ""

    def check(self, expected: QuantState) -> None:
        """Raises CheckpointError where it says other than the tensors do. The offset is its own alone."""
        for field in ("quant_type", "blocksize", "shape", "nested_blocksize"):
            got, must = getattr(self, field), getattr(expected, field)
            if got != must:
                raise CheckpointError(
                    f"{self.where}: {field} must be {show(must)} to match the tensors; got {show(got)}; {_REPAIR}"
                )


def read_state(tensor: Tensor) -> QuantState:
    """What a tensor of at most MAX_STATE_BYTES says. CheckpointError if it is no such JSON."""
    where = f"{tensor.file}: {show_name(tensor.name)}"
    try:
        values: Any = json.loads(tensor.array.tobytes().decode(), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as problem:
        reason = "brackets nested too deeply" if isinstance(problem, RecursionError) else _reason(problem)
        raise CheckpointError(f"{where}: must be JSON; {reason}; {_REPAIR}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: must be a JSON object; got {show(values)}; {_REPAIR}")
    nested = {"nested_blocksize", "nested_offset"} & values.keys()
    keys = {"quant_type", "blocksize", "shape", *nested, *_IGNORED}
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise CheckpointError(f"{where}: must hold only keys that are known; got {show(unknown[0])}")
    shape = values.get("shape")
    if not isinstance(shape, list) or len(shape) != 2:
        raise CheckpointError(f"{where}: shape must be a list of two sizes; got {show(shape)}; {_REPAIR}")
    rows, columns = (_size(where, "shape", size) for size in shape)
    return QuantState(
        quant_type=str(values.get("quant_type")),
        blocksize=_size(where, "blocksize", values.get("blocksize")),
        shape=(rows, columns),
        nested_blocksize=_size(where, "nested_blocksize", values.get("nested_blocksize")) if nested else None,
        nested_offset=_offset(where, values.get("nested_offset")) if nested else 0.0,
        where=where,
    )


def check_levels(quant_map: Tensor, quant_type: str) -> None:
    """Raises CheckpointError unless the table is that of the type, which bitsandbytes knows by heart."""
    found, known = quant_map.array.reshape(-1), np.array(LEVELS[quant_type])
    wrong = ~(np.abs(found - known) <= _TOLERANCE)
    if wrong.any():
        first = int(np.argmax(wrong))
        got = f"{found[first]:g} at {first} instead of {known[first]:g}"
        refuse_value(quant_map, f"hold the values of {quant_type}", got, int(wrong.sum()))


def _size(where: str, key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{where}: {key} must be a positive integer; got {show(value)}; {_REPAIR}")
    return value


def _offset(where: str, value: object) -> float:
    # compared before it is converted: an integer of JSON may be too large for a float
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -_MAX_FLOAT32 <= value <= _MAX_FLOAT32:
        return float(value)
    raise CheckpointError(f"{where}: nested_offset must be a finite float32; got {show(value)}; {_REPAIR}")


def _reason(problem: ValueError) -> str:
    return problem.msg if isinstance(problem, json.JSONDecodeError) else "it is no UTF-8, or gives a key twice"
