"""What a function writes shares no memory with what it reads; where it may work in place, the two are one array."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from binding_calls import CALLS, f32
from inferno import _core

SHARED = 8  # bytes


def epilogue() -> dict[str, Any]:
    return {"bias": f32(8), "gate": f32(2, 8), "residual": f32(2, 8)}


def coded(kind: str = "u4", n: int = 8, k: int = 16, **arrays: np.ndarray) -> dict[str, Any]:
    """The arguments of a CodedWeight, by name."""
    codes = np.zeros((n, k // 2 if kind in ("u4", "lut4") else k), np.uint8)
    good: dict[str, Any] = {"kind": kind, "codes": codes, "n": n, "k": k, "scales": f32(n, 2), "block": (1, k // 2)}
    return {**good, **arrays}


GOOD: dict[str, Callable[[], dict[str, Any]]] = {
    **CALLS,
    "matmul": lambda: {"out": f32(2, 8), "x": f32(2, 16), "w": f32(8, 16), **epilogue()},
    "matmul_coded": lambda: {"out": f32(2, 8), "x": f32(2, 16), "weight": coded(), **epilogue()},
    "matmul_int8": lambda: {
        "out": f32(2, 8),
        "x": _core.quantized_rows(2, 16),
        "weight": coded("i8"),
        **epilogue(),
    },
    "quantize": lambda: {"out": _core.quantized_rows(2, 16), "x": f32(2, 16), "rule": "range"},
    "rmsnorm_quantize": lambda: {
        "out": _core.quantized_rows(2, 16),
        "x": f32(2, 16),
        "weight": f32(16),
        "eps": 1e-5,
        "rule": "range",
    },
    "round_e4m3": lambda: {"out": f32(2, 4), "x": f32(2, 4)},
    "group_max": lambda: {"maxima": f32(2), "x": f32(2 * _core.LOGIT_GROUP)},
    "collect": lambda: {
        "ids": np.zeros(2 * _core.LOGIT_GROUP, np.int32),
        "x": f32(2 * _core.LOGIT_GROUP),
        "maxima": f32(2),
        "threshold": 1.0,
    },
    "exp_weights": lambda: {
        "weights": f32(2 * _core.LOGIT_GROUP),
        "sums": np.zeros(2, np.uint64),
        "x": f32(2 * _core.LOGIT_GROUP),
        "peak": 1.0,
        "scale": 1.0,
    },
}

# What each writes if it is not `out`, and what that may be.
WRITTEN = {
    "kv_write": ["keys", "values"],
    "group_max": ["maxima"],
    "collect": ["ids"],
    "exp_weights": ["sums", "weights"],
}
IN_PLACE = {
    "rmsnorm": ["x"],
    "silu_mul": ["gate", "up"],
    "round_e4m3": ["x"],
    "rope": ["x"],
    "exp_weights": ["x"],
    "matmul": ["gate", "residual"],
    "matmul_coded": ["gate", "residual"],
    "matmul_int8": ["gate", "residual"],
}


def pairs() -> list[tuple[str, str, str]]:
    """Each function, an array that it writes, and another that it is given."""
    found = []
    for name, good in GOOD.items():
        arguments = good()
        done = []
        for out in WRITTEN.get(name, ["out"]):
            done.append(out)
            for other, value in arguments.items():
                if isinstance(value, np.ndarray) and other not in done:
                    found.append((name, out, other))
    return found


def side_by_side(first: np.ndarray, second: np.ndarray, shared: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of these shapes, `shared` bytes at the end of the one being the beginning of the other."""
    room = np.zeros(first.nbytes + second.nbytes + 192, np.uint8)
    start, step = 64 + -room.ctypes.data % 64, first.nbytes - shared
    if second.dtype == np.uint8:  # rows of codes, which lie at a multiple of 64
        start += -step % 64
    made = []
    for like, at in ((first, start), (second, start + step)):
        made.append(room[at : at + like.nbytes].view(like.dtype).reshape(like.shape))
    return made[0], made[1]


def call(name: str, arguments: dict[str, Any], isa: str) -> None:
    if isinstance(arguments.get("weight"), dict):
        arguments["weight"] = _core.CodedWeight(**arguments["weight"])
    getattr(_core, name)(**arguments, isa=isa)


@pytest.mark.parametrize(("name", "out", "other"), pairs())
@pytest.mark.parametrize("first", [True, False])
def test_a_part_in_common_is_refused(name: str, out: str, other: str, first: bool, isa: str) -> None:
    """And arrays that only touch are taken."""
    for shared in (0, SHARED):
        arguments = GOOD[name]()
        both = [out, other] if first else [other, out]
        arguments.update(zip(both, side_by_side(*(arguments[key] for key in both), shared), strict=True))
        if not shared:
            call(name, arguments, isa)
            continue
        where = f"be {other} or lie outside its memory" if in_place(name, out, other) else "lie outside the memory of "
        with pytest.raises(ValueError, match=f"^{name}: {out} must {where}.*; got {SHARED} bytes of both$"):
            call(name, arguments, isa)


def in_place(name: str, out: str, other: str) -> bool:
    return other in IN_PLACE.get(name, []) and out != "sums"


@pytest.mark.parametrize(("name", "out", "other"), [pair for pair in pairs() if in_place(*pair)])
def test_in_place(name: str, out: str, other: str, isa: str) -> None:
    """The bits of a call with arrays of their own."""
    apart, same = GOOD[name](), GOOD[name]()
    same[out] = same[other]
    call(name, apart, isa)
    call(name, same, isa)
    np.testing.assert_array_equal(same[out], apart[out])


@pytest.mark.parametrize(
    ("name", "other", "shapes"),
    [
        ("matmul", "x", {"x": (2, 8), "w": (8, 8)}),
        ("matmul_coded", "x", {"x": (2, 8)}),
        ("attention", "q", {}),
    ],
)
def test_the_same_array_is_refused_where_it_would_go_wrong(
    name: str, other: str, shapes: dict[str, tuple[int, ...]], isa: str
) -> None:
    arguments = {**GOOD[name](), **{key: f32(*shape) for key, shape in shapes.items()}}
    arguments["out"] = arguments[other]
    if name == "matmul_coded":
        arguments["weight"] = coded(k=8)
    message = f"{name}: out must lie outside the memory of {other}; got {arguments['out'].nbytes} bytes of both"
    with pytest.raises(ValueError, match=re.escape(message)):
        call(name, arguments, isa)


def test_interleaved_rotation_is_not_done_in_place() -> None:
    x = f32(2, 3, 4)
    message = "rope: out must lie outside the memory of x in interleaved order; got 96 bytes of both"
    with pytest.raises(ValueError, match=message):
        _core.rope(x, x, f32(2, 4), interleaved=True)


@pytest.mark.parametrize("name", ["matmul", "embedding"])
def test_every_piece_of_a_matrix_counts(name: str) -> None:
    """The second one lies in out."""
    arguments = GOOD[name]()
    key = "w" if name == "matmul" else "table"
    pieces = [arguments[key][:2].copy(), arguments[key][2:].copy()]
    arguments["out"], pieces[1] = side_by_side(arguments["out"], pieces[1], SHARED)
    arguments[key] = pieces
    with pytest.raises(ValueError, match=f"{name}: out must lie outside the memory of {key}; got 8 bytes of both"):
        getattr(_core, name)(**arguments)


CODED: list[tuple[str, dict[str, Any], str]] = [
    ("matmul_coded", coded(), "codes"),
    ("matmul_coded", coded(), "scales"),
    ("matmul_coded", coded(zeros=np.zeros((8, 2), np.uint8)), "zeros"),
    (
        "matmul_coded",
        coded("lut4", scales=np.zeros((8, 2), np.uint8), levels=f32(16), nested_levels=f32(256), nested_scales=f32(2))
        | {"nested_block": 8},
        "nested_scales",
    ),
    ("matmul_int8", coded("i8"), "codes"),
    ("matmul_int8", coded("i8"), "scales"),
    ("matmul_int8", coded("u8", zeros=np.zeros((8, 2), np.uint8)), "zeros"),
]


@pytest.mark.parametrize(("name", "weight", "key"), CODED, ids=lambda value: value if isinstance(value, str) else "")
def test_every_array_of_a_coded_weight_counts(name: str, weight: dict[str, Any], key: str, isa: str) -> None:
    arguments = GOOD[name]()
    arguments["out"], part = side_by_side(arguments["out"], weight[key], SHARED)
    part[...] = weight[key]
    made = _core.CodedWeight(**{**weight, key: part})
    message = f"{name}: out must lie outside the memory of weight; got {SHARED} bytes of both"
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(_core, name)(**{**arguments, "weight": made}, isa=isa)


def test_what_is_empty_overlaps_nothing(isa: str) -> None:
    x = f32(0, 16)
    _core.matmul(x, x, f32(16, 16), isa=isa)
