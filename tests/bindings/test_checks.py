"""The gate for arguments: every refusal of the plain functions, by its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from binding_calls import CALLS, f32, ids
from inferno import _core

F = np.float32


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def unaligned(array: np.ndarray) -> np.ndarray:
    room = np.zeros(array.nbytes + 1, np.uint8)
    return room[1:].view(array.dtype).reshape(array.shape)


GOOD: dict[str, Callable[[], dict[str, Any]]] = {
    **CALLS,
    "matmul": lambda: {"out": f32(2, 4), "x": f32(2, 3), "w": f32(4, 3)},
    "read_bandwidth": lambda: {"data": f32(9), "threads": 1},
    "read_all": lambda: {"data": f32(9)},
    "fma_peak": lambda: {"threads": 1, "rounds": 1},
}
PLAIN = "must be a contiguous, aligned"
STORED = "must be float32, float16 or uint16 (BF16)"

# What to change in good arguments, and the message that follows.
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("embedding", {"out": np.zeros((2, 3))}, f"embedding: out {PLAIN} 2-d array of float32; got (2, 3) float64"),
    ("embedding", {"out": f32(6)}, f"embedding: out {PLAIN} 2-d array of float32; got (6,) float32"),
    ("embedding", {"out": f32(3, 2).T}, "got (2, 3) float32, strided"),
    ("embedding", {"out": unaligned(f32(2, 3))}, "got (2, 3) float32, unaligned"),
    ("embedding", {"out": read_only(f32(2, 3))}, "embedding: out must be writeable; got a read-only array"),
    ("embedding", {"out": f32(2, 4)}, "embedding: out must be (2, 3) to match ids and table; got (2, 4) float32"),
    ("embedding", {"ids": np.zeros(2, np.int64)}, f"embedding: ids {PLAIN} 1-d array of int32; got (2,) int64"),
    ("embedding", {"ids": ids(0, 5)}, "embedding: token ids must be in [0, 5); got 5"),
    ("embedding", {"ids": ids(-1, 0)}, "embedding: token ids must be in [0, 5); got -1"),
    ("embedding", {"table": np.zeros((5, 3))}, f"embedding: table {STORED}; got (5, 3) float64"),
    ("embedding", {"table": np.zeros((5, 3), np.int16)}, f"embedding: table {STORED}; got (5, 3) int16"),
    ("embedding", {"table": np.zeros((5, 3), ">f2")}, f"embedding: table {STORED}; got (5, 3) >f2"),
    ("embedding", {"table": np.zeros((5, 3), ">u2")}, f"embedding: table {STORED}; got (5, 3) >u2"),
    ("embedding", {"table": np.zeros((5, 3), ">f4")}, f"embedding: table {STORED}; got (5, 3) >f4"),
    ("embedding", {"table": np.zeros((5, 3), np.dtype([]))}, f"embedding: table {STORED}; got (5, 3) []"),
    ("embedding", {"table": f32(5, 6)[:, ::2]}, "embedding: table must be contiguous; got (5, 3) float32, strided"),
    ("embedding", {"table": f32(5, 3, 1)}, "embedding: table must be (vocab, dim); got (5, 3, 1) float32"),
    ("embedding", {"table": f32(0, 3)}, "embedding: table must be (vocab, dim); got (0, 3) float32"),
    ("embedding", {"axis": 2}, "embedding: table: axis must be 0 (blocks of rows) or 1 (blocks of columns); got 2"),
    ("embedding", {"axis": -1}, "axis must be 0 (blocks of rows) or 1 (blocks of columns); got -1"),
    ("embedding", {"table": []}, "embedding: table must be an array or a list of at least one; got an empty list"),
    (
        "embedding",
        {"table": [f32(3, 3), f32(2, 4)]},
        "embedding: table[1] must have 3 columns to match table[0]; got",
    ),
    ("embedding", {"table": [f32(3, 3), f32(1, 3)]}, "embedding: token ids must be in [0, 4); got 4"),
    ("embedding", {"table": [f32(5, 2), f32(5, 2)], "axis": 1}, "embedding: out must be (2, 4) to match ids and table"),
    ("rmsnorm", {"x": f32(6)}, f"rmsnorm: x {PLAIN} 2-d array of float32; got (6,) float32"),
    ("rmsnorm", {"x": f32(2, 0)}, "rmsnorm: x must have at least one column; got (2, 0) float32"),
    ("rmsnorm", {"out": f32(3, 3)}, "rmsnorm: out must be (2, 3) to match x; got (3, 3) float32"),
    ("rmsnorm", {"weight": f32(4)}, "rmsnorm: weight must be (3,) to match x; got (4,) float32"),
    ("rmsnorm", {"weight": np.zeros(3, np.uint8)}, f"rmsnorm: weight {STORED}; got (3,) uint8"),
    ("silu_mul", {"gate": f32(1, 3)}, f"silu_mul: gate {PLAIN} 1-d array of float32; got (1, 3) float32"),
    ("silu_mul", {"up": f32(4)}, "silu_mul: up must be (3,) to match gate; got (4,) float32"),
    ("silu_mul", {"out": f32(4)}, "silu_mul: out must be (3,) to match gate; got (4,) float32"),
    ("matmul", {"w": f32(4)}, "matmul: w must be (n, k); got (4,) float32"),
    ("matmul", {"w": f32(4, 0)}, "matmul: w must be (n, k); got (4, 0) float32"),
    ("matmul", {"w": np.zeros((4, 3), np.int8)}, f"matmul: w {STORED}; got (4, 3) int8"),
    ("matmul", {"w": f32(3, 4).T}, "matmul: w must be contiguous; got (4, 3) float32, strided"),
    ("matmul", {"x": f32(2, 4)}, "matmul: x must be (2, 3) to match w; got (2, 4) float32"),
    ("matmul", {"x": f32(2, 6)[:, :3]}, f"matmul: x {PLAIN} 2-d array of float32; got (2, 3) float32, strided"),
    ("matmul", {"out": f32(2, 3)}, "matmul: out must be (2, 4) to match x and w; got (2, 3) float32"),
    ("matmul", {"bias": f32(3)}, "matmul: bias must be (4,) to match w; got (3,) float32"),
    ("matmul", {"bias": np.zeros(4)}, f"matmul: bias {STORED}; got (4,) float64"),
    ("matmul", {"gate": f32(2, 3)}, "matmul: gate must be (2, 4) to match out; got (2, 3) float32"),
    ("matmul", {"gate": f32(8)}, f"matmul: gate {PLAIN} 2-d array of float32; got (8,) float32"),
    ("matmul", {"residual": f32(1, 4)}, "matmul: residual must be (2, 4) to match out; got (1, 4) float32"),
    ("matmul", {"n_end": 5}, "matmul: n_begin and n_end must select from 4 columns; got 0 and 5"),
    ("matmul", {"n_begin": 3, "n_end": 2}, "matmul: n_begin and n_end must select from 4 columns; got 3 and 2"),
    ("matmul", {"axis": 2}, "matmul: w: axis must be 0 (blocks of rows) or 1 (blocks of columns); got 2"),
    ("matmul", {"w": []}, "matmul: w must be an array or a list of at least one; got an empty list"),
    ("matmul", {"w": [f32(2, 3), f32(6)]}, "matmul: w[1] must be (n, k); got (6,) float32"),
    ("matmul", {"w": [f32(4, 3), f32(0, 3)]}, "matmul: w[1] must be (n, k); got (0, 3) float32"),
    ("matmul", {"w": [f32(2, 3), np.zeros((2, 3))]}, f"matmul: w[1] {STORED}; got (2, 3) float64"),
    ("matmul", {"w": [f32(2, 3), f32(3, 2).T]}, "matmul: w[1] must be contiguous; got (2, 3) float32, strided"),
    (
        "matmul",
        {"w": [f32(2, 3), np.zeros((2, 3), np.float16)]},
        "matmul: w[1] must have the dtype of w[0]; got (2, 3) float16",
    ),
    ("matmul", {"w": [f32(2, 3), f32(2, 2)]}, "matmul: w[1] must have 3 columns to match w[0]; got (2, 2) float32"),
    (
        "matmul",
        {"w": [f32(4, 8), f32(3, 3)], "axis": 1},
        "matmul: w[1] must have 4 rows to match w[0]; got (3, 3) float32",
    ),
    (
        "matmul",
        {"w": [f32(4, 2), f32(4, 1)], "axis": 1},
        "matmul: w must be cut along k at multiples of 8; got a cut at 2",
    ),
    (
        "matmul",
        {"w": [f32(4, 8), f32(4, 12), f32(4, 8)], "axis": 1},
        "matmul: w must be cut along k at multiples of 8; got a cut at 20",
    ),
    ("matmul", {"w": [f32(4, 8), f32(4, 3)], "axis": 1}, "matmul: x must be (2, 11) to match w; got (2, 3) float32"),
    ("matmul", {"w": [f32(3, 3), f32(2, 3)]}, "matmul: out must be (2, 5) to match x and w; got (2, 4) float32"),
    ("rope_angles", {"positions": f32(2)}, f"rope_angles: positions {PLAIN} 1-d array of int32; got (2,) float32"),
    ("rope_angles", {"out": f32(2, 3)}, "rope_angles: out must be (2, 6) to match positions and inv_freq; got (2, 3)"),
    ("rope_angles", {"inv_freq": np.zeros(3)}, f"rope_angles: inv_freq {PLAIN} 1-d array of float32; got (3,) float64"),
    ("rope", {"x": f32(2, 3, 5)}, "rope: x must have an even last dimension; got (2, 3, 5) float32"),
    ("rope", {"x": f32(2, 3, 0)}, "rope: x must have an even last dimension; got (2, 3, 0) float32"),
    ("rope", {"x": f32(6, 4)}, f"rope: x {PLAIN} 3-d array of float32; got (6, 4) float32"),
    ("rope", {"out": f32(2, 4, 4)}, "rope: out must be (2, 3, 4) to match x; got (2, 4, 4) float32"),
    ("rope", {"angles": f32(3, 4)}, "rope: angles must be (2, 4) to match x; got (3, 4) float32"),
    ("read_bandwidth", {"data": f32(0)}, "read_bandwidth: data must hold at least one byte; got none"),
    ("read_bandwidth", {"data": f32(4)[::-1]}, "read_bandwidth: data must be contiguous; got (4,) float32, strided"),
    ("read_bandwidth", {"data": np.broadcast_to(f32(1), (1 << 40,))}, "read_bandwidth: data must be contiguous"),
    ("read_bandwidth", {"threads": 0}, "read_bandwidth: threads must be in [1, 1024]; got 0"),
    ("read_bandwidth", {"threads": 1025}, "read_bandwidth: threads must be in [1, 1024]; got 1025"),
    (
        "read_bandwidth",
        {"pattern": "3-streams"},
        "read_bandwidth: pattern must be one of 1-stream, 2-streams, 4-streams, 1-stream-prefetch, "
        "2-streams-prefetch, 4-streams-prefetch; got 3-streams",
    ),
    ("read_all", {"pattern": ""}, "read_all: pattern must be one of 1-stream, 2-streams, "),
    ("read_all", {"data": f32(4)[::-1]}, "read_all: data must be contiguous; got (4,) float32, strided"),
    ("fma_peak", {"threads": -1}, "fma_peak: threads must be in [1, 1024]; got -1"),
]
for where in ("kv_write", "attention"):
    BAD += [
        (where, {"keys": f32(2, 3, 4)}, f"{where}: keys {PLAIN} 4-d array; got (2, 3, 4) float32"),
        (
            where,
            {"keys": f32(2, 3, 4, 16)},
            f"{where}: keys must be (blocks, kv_heads, head_dim, 32); got (2, 3, 4, 16)",
        ),
        (where, {"keys": f32(2, 0, 4, 32)}, f"{where}: keys must have at least one head; got (2, 0, 4, 32) float32"),
        (where, {"keys": f32(2, 3, 0, 32)}, f"{where}: head_dim must be in [1, 512]; got 0"),
        (where, {"keys": f32(2, 3, 513, 32)}, f"{where}: head_dim must be in [1, 512]; got 513"),
        (where, {"keys": np.zeros((2, 3, 4, 32), np.int8)}, f"{where}: keys {STORED}; got (2, 3, 4, 32) int8"),
        (where, {"keys": unaligned(np.zeros((2, 3, 4, 32), np.float16))}, "got (2, 3, 4, 32) float16, unaligned"),
        (where, {"keys": read_only(f32(2, 3, 4, 32))}, f"{where}: keys must be writeable; got a read-only array"),
        (where, {"values": read_only(f32(2, 3, 32, 4))}, f"{where}: values must be writeable; got a read-only array"),
        (
            where,
            {"values": np.zeros((2, 3, 32, 4), np.float16)},
            f"{where}: values must have the dtype of keys; got (2, 3, 32, 4) float16",
        ),
        (
            where,
            {"values": f32(2, 3, 4, 32)},
            f"{where}: values must be (2, 3, 32, 4) to match keys; got (2, 3, 4, 32)",
        ),
        (where, {"block_table": f32(2)}, f"{where}: block_table {PLAIN} 1-d array of int32; got (2,) float32"),
        (where, {"block_table": ids(1)}, f"{where}: block_table must cover the positions; got (1,) int32"),
        (where, {"block_table": ids(1, 2)}, f"{where}: block numbers must be in [0, 2); got 2"),
        (where, {"block_table": ids(-1, 1)}, f"{where}: block numbers must be in [0, 2); got -1"),
        (where, {"first_position": -1}, f"{where}: first_position must be >= 0; got -1"),
        (where, {"first_position": 2**31 - 1}, f"{where}: block_table must cover the positions; got (2,) int32"),
    ]
BAD += [
    ("kv_write", {"k": f32(2, 4, 4)}, "kv_write: k must be (2, 3, 4) to match keys; got (2, 4, 4) float32"),
    ("kv_write", {"k": np.zeros((2, 3, 4))}, f"kv_write: k {PLAIN} 3-d array of float32; got (2, 3, 4) float64"),
    ("kv_write", {"v": f32(1, 3, 4)}, "kv_write: v must be (2, 3, 4) to match k; got (1, 3, 4) float32"),
    ("attention", {"q": f32(2, 6, 5)}, "attention: q must be (2, 6, 4) to match keys; got (2, 6, 5) float32"),
    ("attention", {"q": f32(2, 5, 4)}, "attention: q must have a multiple of 3 heads; got (2, 5, 4) float32"),
    ("attention", {"q": f32(12, 4)}, f"attention: q {PLAIN} 3-d array of float32; got (12, 4) float32"),
    ("attention", {"out": f32(2, 3, 4)}, "attention: out must be (2, 6, 4) to match q; got (2, 3, 4) float32"),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_arguments_pass(name: str) -> None:
    getattr(_core, name)(**GOOD[name]())


@pytest.mark.parametrize(
    ("name", "changes", "message"), BAD, ids=[f"{b[0]}-{'-'.join(b[1])}-{i}" for i, b in enumerate(BAD)]
)
def test_bad_arguments_are_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(_core, name)(**{**GOOD[name](), **changes})


@pytest.mark.parametrize("name", [n for n in GOOD if n not in ("read_bandwidth", "read_all", "fma_peak")])
def test_nothing_is_converted(name: str) -> None:
    """A list is no array: a cast would be a copy that nobody asked for, and an out that nobody sees."""
    good = GOOD[name]()
    array = next(key for key, value in good.items() if isinstance(value, np.ndarray))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        getattr(_core, name)(**{**good, array: good[array].tolist()})


@pytest.mark.parametrize("name", GOOD)
def test_unknown_tier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"isa=avx: this CPU has no avx in this build; it can run scalar"):
        getattr(_core, name)(**GOOD[name](), isa="avx")


def test_refused_calls_write_nothing() -> None:
    out = np.full((2, 3), 7, F)
    with pytest.raises(ValueError, match="token ids"):
        _core.embedding(out, ids(0, 9), f32(5, 3))
    assert (out == 7).all()
