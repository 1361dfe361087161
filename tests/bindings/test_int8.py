"""The gate for rows of codes: every refusal by its words, of the plain functions and of what is recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from code_rows import make_rows
from inferno import _core


def f32(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def weight(kind: str = "i8", n: int = 4, k: int = 3, **more: Any) -> _core.CodedWeight:
    more = {"block": (1, k), **more}
    return _core.CodedWeight(kind, np.zeros((n, k), np.uint8), n, k, f32(n, -(-k // more["block"][1])), **more)


def read_only(rows: np.ndarray) -> np.ndarray:
    rows.flags.writeable = False
    return rows


def misplaced(rows: np.ndarray) -> np.ndarray:
    """A copy that lies 4 bytes past a multiple of 64."""
    room = np.zeros(rows.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + 4
    return room[start : start + rows.nbytes].reshape(rows.shape)


def outliers_of(count: int, column: int = 0) -> np.ndarray:
    """A row of three that claims outliers."""
    rows = make_rows(f32(1), f32(1, 3), [{column: 1.0}])
    rows[0, 4:8] = np.array([count], np.int32).view(np.uint8)
    return rows


GOOD: dict[str, Callable[[], dict[str, Any]]] = {
    "quantize": lambda: {"out": _core.quantized_rows(2, 3), "x": f32(2, 3), "rule": "range"},
    "rmsnorm_quantize": lambda: {
        "out": _core.quantized_rows(2, 3),
        "x": f32(2, 3),
        "weight": f32(3),
        "eps": 1e-5,
        "rule": "range",
    },
    "matmul_int8": lambda: {"out": f32(2, 4), "x": _core.quantized_rows(2, 3), "weight": weight()},
    "madd_peak": lambda: {"threads": 1, "rounds": 1},
}
MADE = "must be what quantized_rows makes; got"
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("matmul_int8", {"weight": weight("u4", k=4)}, "matmul_int8: weight must be of kind i8 or u8; got u4"),
    ("matmul_int8", {"weight": weight("e4m3")}, "matmul_int8: weight must be of kind i8 or u8; got e4m3"),
    (
        "matmul_int8",
        {"weight": weight(block=(1, 2), block_of=np.array([1, 0, 0], np.int32))},
        "matmul_int8: weight must have its columns in order of their blocks; got block_of",
    ),
    (
        "matmul_int8",
        {"weight": weight(n=1, k=65794)},
        "matmul_int8: blocks of weight must be at most 65793 columns wide, so that int32 holds their sums; got 65794",
    ),
    ("matmul_int8", {"weight": weight("u8", n=1, k=33026)}, "at most 33025 columns wide"),
    ("matmul_int8", {"weight": weight("u8", n=1, k=65794, zero=128)}, "at most 65793 columns wide"),
    ("matmul_int8", {"weight": weight(n=1, k=33026, zeros=np.zeros(1, np.int8))}, "at most 33025 columns wide"),
    ("matmul_int8", {"weight": weight(n=1, k=33026, zeros=np.zeros(1, np.uint8))}, "at most 21988 columns wide"),
    ("matmul_int8", {"x": f32(2, 3)}, f"matmul_int8: x {MADE} (2, 3) float32"),
    ("matmul_int8", {"x": misplaced(_core.quantized_rows(2, 3))}, f"matmul_int8: x {MADE} (2, 128) uint8"),
    ("matmul_int8", {"x": np.zeros((2, 128), np.int8)}, f"matmul_int8: x {MADE} (2, 128) int8"),
    ("matmul_int8", {"x": _core.quantized_rows(4, 3)[::2]}, f"matmul_int8: x {MADE} (2, 128) uint8, strided"),
    ("matmul_int8", {"x": _core.quantized_rows(3, 3)}, "matmul_int8: x must be (2, 128) to match x, k and outliers"),
    ("matmul_int8", {"x": _core.quantized_rows(2, 33)}, "matmul_int8: x must be (2, 128) to match"),
    ("matmul_int8", {"outliers": True}, "matmul_int8: x must be (2, 192) to match"),
    ("matmul_int8", {"out": f32(2, 3)}, "matmul_int8: out must be (2, 4) to match weight; got (2, 3) float32"),
    ("matmul_int8", {"out": f32(8)}, "matmul_int8: out must be a contiguous, aligned 2-d array of float32; got (8,)"),
    ("matmul_int8", {"bias": f32(3)}, "matmul_int8: bias must be (4,) to match weight; got (3,) float32"),
    ("matmul_int8", {"bias": np.zeros(4)}, "matmul_int8: bias must be float32, float16 or uint16 (BF16); got (4,)"),
    ("matmul_int8", {"gate": f32(2, 3)}, "matmul_int8: gate must be (2, 4) to match out; got (2, 3) float32"),
    ("matmul_int8", {"residual": f32(1, 4)}, "matmul_int8: residual must be (2, 4) to match out; got (1, 4) float32"),
    ("matmul_int8", {"n_end": 5}, "matmul_int8: n_begin and n_end must select from 4 columns; got 0 and 5"),
    ("matmul_int8", {"n_begin": 3, "n_end": 2}, "must select from 4 columns; got 3 and 2"),
    ("madd_peak", {"threads": 0}, "madd_peak: threads must be in [1, 1024]; got 0"),
    ("quantize", {"x": f32(2, 0)}, "quantize: x must have at least one column; got (2, 0) float32"),
    ("quantize", {"x": np.zeros((2, 3))}, "quantize: x must be a contiguous, aligned 2-d array of float32; got (2, 3)"),
    ("rmsnorm_quantize", {"x": f32(2, 0)}, "rmsnorm_quantize: x must have at least one column; got (2, 0) float32"),
    ("rmsnorm_quantize", {"weight": f32(4)}, "rmsnorm_quantize: weight must be (3,) to match x; got (4,) float32"),
    ("rmsnorm_quantize", {"weight": np.zeros(3)}, "rmsnorm_quantize: weight must be float32, float16 or uint16"),
]
for where in ("quantize", "rmsnorm_quantize"):
    BAD += [
        (
            where,
            {"rule": "absmax"},
            f"{where}: rule must be one of absmax127, absmax127.5, range-as-served, range, static-as-served, static; "
            "got absmax",
        ),
        *[
            (where, {"scale": scale}, f"{where}: scale must be positive and finite, and so its reciprocal in float32; ")
            for scale in (0.0, -1.0, np.nan, np.inf, 1e39, 1e-40, 1e-60)
        ],
        (where, {"zero": 128}, f"{where}: zero must be in [-128, 127]; got 128"),
        (where, {"zero": -129}, f"{where}: zero must be in [-128, 127]; got -129"),
        *[
            (where, {"threshold": threshold}, f"{where}: threshold must be 0, or positive and finite; got {threshold}")
            for threshold in (-1.0, np.nan, np.inf)
        ],
        (where, {"out": f32(2, 3)}, f"{where}: out {MADE} (2, 3) float32"),
        (where, {"out": misplaced(_core.quantized_rows(2, 3))}, f"{where}: out {MADE} (2, 128) uint8"),
        (where, {"out": _core.quantized_rows(1, 3)}, f"{where}: out must be (2, 128) to match x, k and outliers"),
        (where, {"threshold": 6.0}, f"{where}: out must be (2, 192) to match x, k and outliers; got (2, 128) uint8"),
        (where, {"out": read_only(_core.quantized_rows(2, 3))}, f"{where}: out must be writeable; got a read-only"),
    ]


@pytest.mark.parametrize("name", GOOD)
def test_taken(isa: str, name: str) -> None:
    getattr(_core, name)(**GOOD[name](), isa=isa)


@pytest.mark.parametrize(("name", "change", "message"), BAD)
def test_refused(name: str, change: dict[str, Any], message: str) -> None:
    arguments = {**GOOD[name](), **change}
    if name == "matmul_int8" and "weight" in change:
        k = change["weight"].k
        arguments |= {"out": f32(2, change["weight"].n), "x": _core.quantized_rows(2, k)}
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(_core, name)(**arguments)


@pytest.mark.parametrize("k", [33025, 65793])
def test_the_widest_blocks_are_taken(k: int) -> None:
    kind = "i8" if k == 65793 else "u8"
    _core.matmul_int8(f32(1, 1), _core.quantized_rows(1, k), weight(kind, 1, k))
    _core.matmul_int8(f32(1, 1), _core.quantized_rows(1, 3 * k), weight(kind, 1, 3 * k, block=(1, k)))


@pytest.mark.parametrize(
    "rows", [outliers_of(4), outliers_of(-1), outliers_of(2**31 - 1), outliers_of(1, 3), outliers_of(1, -1)]
)
def test_outliers_lie_in_their_row(isa: str, rows: np.ndarray) -> None:
    message = "matmul_int8: x must hold rows that quantize has filled; got outliers past the end of row 0"
    with pytest.raises(ValueError, match=message):
        _core.matmul_int8(f32(1, 4), rows, weight(), outliers=True, isa=isa)


@pytest.mark.parametrize(
    ("rows", "k"), [(-1, 3), (2, 0), (2, -1), (2**30, 3), (1, 2**30)], ids=lambda value: str(value)
)
def test_rows_of_no_size_are_not_made(rows: int, k: int) -> None:
    message = f"quantized_rows: rows must be in [0, 1073741823] and k in [1, 1073741823]; got {rows}, {k}"
    with pytest.raises(ValueError, match=re.escape(message)):
        _core.quantized_rows(rows, k)


def program() -> _core.Program:
    """Buffers of width 3: x floats, q codes, o codes with outliers, n codes of width 4; z and l of the outputs; y of
    width 4."""
    p = _core.Program()
    for name in ("x", "f"):
        p.buffer(name, 3)
    p.buffer("y", 4)
    p.buffer("q", 3, quantized=True)
    p.buffer("o", 3, quantized=True, outliers=True)
    p.buffer("n", 4, quantized=True)
    p.buffer("z", 3, quantized=True, outputs=True)
    p.buffer("l", 4, outputs=True)
    return p


def test_recorded() -> None:
    p = program()
    p.quantize("q", "x", rule="range")
    p.quantize("o", "x", rule="range", threshold=1.0)
    p.rmsnorm_quantize("q", "x", f32(3), 1e-5, rule="range")
    p.matmul_int8("y", "q", weight(), bias=f32(4), gate="y", residual="y")
    p.matmul_int8("l", "z", weight("u8"))
    assert p.operations == ["quantize", "quantize", "rmsnorm_quantize", "matmul_int8", "matmul_int8"]


NOT_FLOATS = "must hold float32; got one of codes"
NOT_CODES = "must hold codes; got one of float32"
ROOM = "out must have room for outliers where there is a threshold, and only there; got"
RECORDINGS: list[tuple[Callable[[_core.Program], None], str]] = [
    (lambda p: p.quantize("f", "x", rule="range"), f"quantize: out: buffer f {NOT_CODES}"),
    (lambda p: p.quantize("q", "o", rule="range"), f"quantize: x: buffer o {NOT_FLOATS}"),
    (lambda p: p.quantize("n", "x", rule="range"), "quantize: out: buffer n must be 3 wide; got 4"),
    (lambda p: p.quantize("q", "x", rule="range", threshold=1.0), f"quantize: {ROOM} q"),
    (lambda p: p.quantize("o", "x", rule="range"), f"quantize: {ROOM} o"),
    (lambda p: p.quantize("z", "x", rule="range"), "quantize: out and x must have the same rows; got z, x"),
    (lambda p: p.quantize("q", "x", rule="max"), "quantize: rule must be one of"),
    (lambda p: p.quantize("q", "none", rule="range"), "program: there is no buffer named none"),
    (
        lambda p: p.rmsnorm_quantize("q", "x", f32(1, 3), 1e-5, rule="range"),
        "rmsnorm_quantize: weight must be (dim,); got (1, 3) float32",
    ),
    (
        lambda p: p.rmsnorm_quantize("q", "x", f32(4), 1e-5, rule="range"),
        "rmsnorm_quantize: x: buffer x must be 4 wide; got 3",
    ),
    (
        lambda p: p.rmsnorm_quantize("o", "x", f32(3), 1e-5, rule="range"),
        f"rmsnorm_quantize: {ROOM} o",
    ),
    (lambda p: p.matmul_int8("y", "x", weight()), f"matmul_int8: x: buffer x {NOT_CODES}"),
    (lambda p: p.matmul_int8("n", "q", weight()), f"matmul_int8: out: buffer n {NOT_FLOATS}"),
    (lambda p: p.matmul_int8("x", "q", weight()), "matmul_int8: out: buffer x must be 4 wide; got 3"),
    (lambda p: p.matmul_int8("y", "n", weight()), "matmul_int8: x: buffer n must be 3 wide; got 4"),
    (lambda p: p.matmul_int8("y", "q", weight("u4", k=4)), "matmul_int8: weight must be of kind i8 or u8; got u4"),
    (lambda p: p.matmul_int8("y", "q", weight(), gate="n"), f"matmul_int8: gate: buffer n {NOT_FLOATS}"),
    (lambda p: p.matmul_int8("y", "q", weight(), residual="x"), "residual: buffer x must be 4 wide; got 3"),
    (
        lambda p: p.matmul_int8("l", "q", weight()),
        "matmul_int8: out, gate and residual must have the rows of x, buffer q",
    ),
    (lambda p: p.matmul("y", "q", f32(4, 3)), f"matmul: x: buffer q {NOT_FLOATS}"),
    (lambda p: p.rmsnorm("q", "x", f32(3), 1e-5), f"rmsnorm: out: buffer q {NOT_FLOATS}"),
    (lambda p: p.select_rows("z", "q"), NOT_FLOATS),
    (lambda p: p.embedding("q", f32(5, 3)), f"embedding: out: buffer q {NOT_FLOATS}"),
    (lambda p: p.read_into("q", f32(0, 3)), f"Program.read_into: buffer q {NOT_FLOATS}"),
    (lambda p: p.buffer("r", 3, outliers=True), "Program.buffer: outliers must be False unless quantized; got True"),
]


@pytest.mark.parametrize(("record", "message"), RECORDINGS)
def test_recording_refuses(record: Callable[[_core.Program], None], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        record(program())


def test_codes_that_nothing_has_written_are_zero() -> None:
    """Also past what an earlier, smaller run has made room for."""
    p = program()
    p.matmul_int8("y", "o", weight("u8"))
    for tokens in (1, 50):
        ids = np.zeros(tokens, np.int32)
        one, none = np.array([tokens], np.int32), np.zeros(0, np.int32)
        p.run(ids, one, np.zeros(1, np.int32), np.zeros((1, 2), np.int32), none, threads=1)
        assert (p.read("y") == 0).all()
        assert (p.read("o") == 0).all()
        assert p.read("q").shape == (tokens, 3)
