"""The tensors that stand for a linear layer in every published quantized form, with values that make sense."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from model_edits import Edit, Tensors, edit_tensors

Shape = Callable[[int, int], list[int]]
Values = Callable[[int, int], bytes]

_LINEAR = re.compile(r"(.*_proj)\.weight")
_BYTES = {"U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4}
_BYTES["I64"] = 8
# About a hundredth, in each type of scales.
_SMALL = {"F32": struct.pack("<f", 0.01), "F16": b"\x1f\x21", "BF16": b"\x24\x3c", "F8_E4M3": b"\x05", "U8": b"\x79"}
_SMALL["F8_E8M0"] = b"\x79"
# Columns that share a scale.
GROUP = 8


@dataclass(frozen=True)
class Part:
    """A tensor: its type, and shape and values for a weight of n output and k input features; no values: zeros."""

    dtype: str
    shape: Shape
    values: Values | None = None

    def stored(self, n: int, k: int) -> tuple[str, list[int], bytes]:
        dims = self.shape(n, k)
        room = prod(dims) * _BYTES[self.dtype]
        values = bytes(room) if self.values is None else self.values(n, k)
        return self.dtype, dims, (values * room)[:room]


Parts = dict[str, Part]


def stored(parts: Parts, *, where: str = "") -> Edit:
    """Every linear layer of the blocks (of which the name holds `where`) stored as these parts."""

    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if _LINEAR.fullmatch(name) and where in name]:
            n, k = tensors.pop(name)[1]
            for suffix, part in parts.items():
                tensors[f"{name.removesuffix('.weight')}.{suffix}"] = part.stored(n, k)

    return edit_tensors(change)


def without(parts: Parts, *suffixes: str) -> Parts:
    return {suffix: part for suffix, part in parts.items() if suffix not in suffixes}


def valued(parts: Parts, suffix: str, values: bytes) -> Parts:
    """With other values (over and over) in one of them."""
    return {**parts, suffix: replace(parts[suffix], values=lambda n, k: values)}


def full(n: int, k: int) -> list[int]:
    return [n, k]


def rows(n: int, k: int) -> list[int]:
    return [n, 1]


def one(n: int, k: int) -> list[int]:
    return [1]


def groups(n: int, k: int) -> list[int]:
    return [n, k // GROUP]


def half(n: int, k: int) -> list[int]:
    return [n, k // 2]


def eighth(n: int, k: int) -> list[int]:
    return [n, k // 8]


def inputs(n: int, k: int) -> list[int]:
    return [k]


def outputs(n: int, k: int) -> list[int]:
    return [n]


def blob(n: int, k: int) -> list[int]:
    return [n * k // 2, 1]


def blocks(n: int, k: int) -> list[int]:
    return [n * k // 32]


def scalar(n: int, k: int) -> list[int]:
    return []


def scale(dtype: str, shape: Shape) -> Part:
    return Part(dtype, shape, lambda n, k: _SMALL[dtype])


def floats(*values: float) -> Values:
    return lambda n, k: struct.pack(f"<{len(values)}f", *values)


def in_order(n: int, k: int) -> bytes:
    return struct.pack(f"<{k}i", *(column // GROUP for column in range(k)))


def shuffled(n: int, k: int) -> bytes:
    return struct.pack(f"<{k}i", *(column % (k // GROUP) for column in range(k)))


def state(kind: str, nested: bool = False) -> Part:
    """bitsandbytes' JSON of a weight, padded to one length for every layer."""

    def values(n: int, k: int) -> bytes:
        told = {"quant_type": kind, "blocksize": 32, "dtype": "bfloat16", "shape": [n, k]}
        more = {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.03} if nested else {}
        return json.dumps({**told, **more}).encode().ljust(200)

    return Part("U8", lambda n, k: [200], values)


INT8: Parts = {"weight": Part("I8", full), "weight_scale": scale("BF16", rows)}
UINT8: Parts = {
    "weight": Part("U8", full),
    "weight_scale": scale("F16", rows),
    "weight_zero_point": Part("U8", rows, lambda n, k: b"\x80"),
}
FP8: Parts = {"weight": Part("F8_E4M3", full), "weight_scale": scale("BF16", rows)}
FP8_TENSOR: Parts = {**FP8, "weight_scale": scale("F32", one), "input_scale": scale("F32", one)}
BLOCKS: Parts = {
    "weight": Part("F8_E4M3", full),
    "weight_scale_inv": scale("F32", lambda n, k: [-(-n // 16), -(-k // 16)]),
}
PACKED: Parts = {
    "weight_packed": Part("I32", eighth),
    "weight_shape": Part("I64", lambda n, k: [2], lambda n, k: struct.pack("<2q", n, k)),
    "weight_scale": scale("BF16", groups),
}
PACKED8: Parts = {**PACKED, "weight_packed": Part("I32", lambda n, k: [n, k // 4])}
PACKED_ZEROS = Part("I32", lambda n, k: [n // 8, k // GROUP])
AWQ: Parts = {
    "qweight": Part("I32", lambda n, k: [k, n // 8]),
    "qzeros": Part("I32", lambda n, k: [k // GROUP, n // 8]),
    "scales": scale("F16", lambda n, k: [k // GROUP, n]),
}
GPTQ: Parts = {**AWQ, "qweight": Part("I32", lambda n, k: [k // 8, n]), "g_idx": Part("I32", inputs, in_order)}
GPTQ8: Parts = {
    **GPTQ,
    "qweight": Part("I32", lambda n, k: [k // 4, n]),
    "qzeros": Part("I32", lambda n, k: [k // GROUP, n // 4]),
}
BNB8: Parts = {"weight": Part("I8", full), "SCB": scale("F32", outputs), "weight_format": Part("U8", scalar)}
_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
_FP4 = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
STATE = "weight.quant_state.bitsandbytes__"
NF4: Parts = {
    "weight": Part("U8", blob),
    "weight.absmax": scale("F32", blocks),
    "weight.quant_map": Part("F32", lambda n, k: [16], floats(*_NF4)),
    STATE + "nf4": state("nf4"),
}
FP4: Parts = {
    **without(NF4, STATE + "nf4"),
    "weight.quant_map": Part("F32", lambda n, k: [16], floats(*_FP4, *(-level for level in _FP4))),
    STATE + "fp4": state("fp4"),
}
NESTED: Parts = {
    **NF4,
    "weight.absmax": Part("U8", blocks),
    "weight.nested_absmax": scale("F32", lambda n, k: [-(-n * k // 32 // 256)]),
    "weight.nested_quant_map": Part("F32", lambda n, k: [256], floats(*(level / 256 for level in range(256)))),
    STATE + "nf4": state("nf4", nested=True),
}

# Recognised, and refused.
NVFP4: Parts = {
    "weight_packed": Part("U8", half),
    "weight_scale": scale("F8_E4M3", groups),
    "weight_global_scale": scale("F32", one),
}
MXFP4: Parts = {"weight_packed": Part("U8", half), "weight_scale": scale("U8", groups)}
MXFP8: Parts = {"weight": Part("F8_E4M3", full), "weight_scale": scale("U8", groups)}
TORCHAO: Parts = {"_weight_qdata": Part("I8", full), "_weight_scale": scale("F32", rows)}
QUANTO: Parts = {
    "weight._data": Part("I8", full),
    "weight._scale": scale("BF16", rows),
    "input_scale": scale("BF16", one),
}
QUANTO4: Parts = {
    "weight._data": Part("U8", half),
    "weight._scale": scale("BF16", rows),
    "weight._shift": Part("U8", rows),
}
MLX: Parts = {"weight": Part("U32", eighth), "scales": scale("F16", groups), "biases": Part("F16", groups)}

# Forms that nothing here knows.
MARLIN24: Parts = {
    "weight_packed": Part("I32", half),
    "scale_packed": scale("F16", groups),
    "meta": Part("I16", groups),
}
BITMASK: Parts = {
    "compressed": Part("BF16", half),
    "bitmask": Part("U8", eighth),
    "shape": Part("I64", lambda n, k: [2]),
}
HQQ: Parts = {"W_q": Part("U8", half), "scale": scale("F16", groups), "zero": Part("F16", groups)}
EETQ: Parts = {"weight": Part("I8", lambda n, k: [k, n]), "weight_scales": scale("F16", outputs)}
AQLM: Parts = {
    "codes": Part("I16", groups),
    "codebooks": Part("F16", lambda n, k: [1, 256, 1, 8]),
    "scales": scale("F16", rows),
}
BITNET: Parts = {"weight": Part("U8", lambda n, k: [n // 4, k]), "weight_scale": scale("BF16", one)}
