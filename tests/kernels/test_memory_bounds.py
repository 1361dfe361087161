"""No kernel touches memory outside its arrays: each array lies flush against a page that may not be read or written.

Weights at the end of a mapped file lie so. A kernel that strays ends the child that runs it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from children import in_child
from code_rows import make_rows
from coded_weights import KINDS, make_coded
from inferno import _core
from kernel_arrays import STORED, stored

Place = Callable[[np.ndarray], np.ndarray]
PROT_NONE = 0  # no name for it in module mmap
TAILS = [1, 3, 7, 8, 9, 17, 31, 33]


def fenced(values: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy between two forbidden pages, flush against the second or against the first."""
    page = mmap.PAGESIZE
    inner = -(-max(values.nbytes, 1) // page) * page
    room = mmap.mmap(-1, inner + 2 * page)
    base = np.frombuffer(room, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    for start in (0, page + inner):
        status = libc.mprotect(ctypes.c_void_p(base.ctypes.data + start), ctypes.c_size_t(page), PROT_NONE)
        assert status == 0, ctypes.get_errno()
    begin = page + inner - values.nbytes if at_end else page
    copy = base[begin : begin + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


@pytest.fixture(params=["end", "start"])
def place(request: pytest.FixtureRequest) -> Place:
    """Puts an array where the memory after it, or before it, is forbidden."""
    return lambda values: fenced(values, request.param == "end")


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(("at_end", "stride"), [(True, 4), (False, -4)])
def test_the_fence_bites(at_end: bool, stride: int) -> None:
    def stray() -> None:
        faulthandler.disable()  # no report of what is meant to happen
        np.lib.stride_tricks.as_strided(fenced(f32(5), at_end), (6,), (stride,)).sum()

    assert in_child(stray) in (-signal.SIGSEGV, -signal.SIGBUS)


@pytest.mark.parametrize("kind", STORED)
def test_embedding(isa: str, kind: str, place: Place) -> None:
    def body() -> None:
        for dim in TAILS:
            table, ids = place(stored(f32(3, dim), kind, 0)), place(np.array([0, 2], np.int32))
            _core.embedding(place(f32(2, dim)), ids, table, isa=isa)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("axis", [0, 1])
def test_embedding_in_pieces(isa: str, kind: str, axis: int, place: Place) -> None:
    def body() -> None:
        for dim in TAILS:
            parts = [place(stored(f32(*((3, dim) if axis == 0 else (7, dim))), kind, 0)) for _ in range(2)]
            out = place(f32(7, dim if axis == 0 else 2 * dim))
            ids = place(np.array([0, 2, 3, 5, 1, 4, 0], np.int32))
            _core.embedding(out, ids, parts, axis=axis, isa=isa)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", STORED)
def test_rmsnorm(isa: str, kind: str, place: Place) -> None:
    def body() -> None:
        for dim in TAILS:
            _core.rmsnorm(place(f32(2, dim)), place(f32(2, dim)), place(stored(f32(dim), kind, 0)), 1e-5, isa=isa)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("m", [1, 2, 5, 13])
def test_matmul(isa: str, kind: str, m: int, place: Place) -> None:
    def body() -> None:
        for k in [*TAILS, 515]:
            for n in (1, 7, 9, 25):
                more = {name: place(f32(m, n)) for name in ("gate", "residual")}
                more["bias"] = place(stored(f32(n), kind, 0))
                w = place(stored(f32(n, k), kind, 0))
                _core.matmul(place(f32(m, n)), place(f32(m, k)), w, isa=isa, **more)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("m", [1, 5, 13])
def test_matmul_in_pieces(isa: str, kind: str, m: int, axis: int, place: Place) -> None:
    """Each piece lies flush against a forbidden page of its own."""

    def body() -> None:
        for last in [*TAILS, 515]:
            for n in (1, 7, 25):
                ks = [8, 24, last] if axis == 1 else [last] * 3
                w = [place(stored(f32(n, k), kind, 0)) for k in ks]
                k, columns = (sum(ks), n) if axis == 1 else (last, 3 * n)
                more = {name: place(f32(m, columns)) for name in ("gate", "residual")}
                more["bias"] = place(stored(f32(columns), kind, 0))
                _core.matmul(place(f32(m, columns)), place(f32(m, k)), w, axis=axis, isa=isa, **more)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 2, 5, 13])
def test_matmul_coded(isa: str, kind: str, m: int, place: Place) -> None:
    forms: list[dict[str, Any]] = [
        {},
        {"block": (1, 8), "zeros": "packed", "scale": "f16"},
        {"block": (1, 10), "zeros": "bytes", "scale": "bf16"},
        {"block": (1, 8), "zeros": "packed", "scale": "nested", "shuffled": True},
    ]

    def body() -> None:
        for k in [*TAILS, 515]:
            for n in (1, 7, 9, 25):
                for form in forms:
                    coded = make_coded(kind, n, k, **form)
                    rows, columns = coded.weight.n, coded.weight.k
                    more = {name: place(f32(m, rows)) for name in ("gate", "residual", "bias")}
                    more["bias"] = place(f32(rows))
                    out, x = place(f32(m, rows)), place(f32(m, columns))
                    _core.matmul_coded(out, x, coded.placed(place), isa=isa, **more)

    assert in_child(body) == 0


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_quantize_and_its_norm(isa: str, threshold: float, place: Place) -> None:
    """All values are outliers where there is a threshold."""

    def body() -> None:
        for k in [*TAILS, 32, 64]:
            for rule in ("absmax127", "range"):
                rows = _core.quantized_rows(2, k, outliers=threshold > 0)
                _core.quantize(place(rows), place(f32(2, k)), rule=rule, threshold=threshold, isa=isa)
                for kind in STORED:
                    weight = place(stored(f32(k), kind, 0))
                    more = {"rule": rule, "threshold": threshold, "isa": isa}
                    _core.rmsnorm_quantize(place(rows), place(f32(2, k)), weight, 1e-5, **more)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", ["i8", "u8"])
@pytest.mark.parametrize("m", [1, 2, 5, 13])
def test_matmul_int8(isa: str, kind: str, m: int, place: Place) -> None:
    """A block of odd width ends where a row of x does: products read codes of x in pairs."""
    forms: list[dict[str, Any]] = [
        {},
        {"block": (1, 8), "zeros": "packed", "scale": "bf16"},
        {"block": (1, 21), "zeros": "bytes", "scale": "nested"},
        {"block": (5, 31), "zeros": "bytes", "scale": "f32"},
    ]

    def body() -> None:
        for k in [*TAILS, 32, 64, 515]:
            for n in (1, 7, 9, 25):
                for form in forms:
                    weight = make_coded(kind, n, k, **form).placed(place)
                    more = {name: place(f32(m, n)) for name in ("gate", "residual")}
                    more["bias"] = place(f32(n))
                    _core.matmul_int8(place(f32(m, n)), place(_core.quantized_rows(m, k)), weight, isa=isa, **more)
                    everywhere = [dict.fromkeys(range(k), 1.0)] * m
                    rows = place(make_rows(np.ones(m, np.float32), np.zeros((m, k)), everywhere))
                    _core.matmul_int8(place(f32(m, n)), rows, weight, outliers=True, isa=isa)

    assert in_child(body) == 0


def test_round_e4m3(isa: str, place: Place) -> None:
    def body() -> None:
        for n in TAILS:
            for group in (0, 5):
                _core.round_e4m3(place(f32(2, n)), place(f32(2, n)), group=group, isa=isa)

    assert in_child(body) == 0


def test_rope(isa: str, place: Place) -> None:
    def body() -> None:
        for half in TAILS:
            x, angles = place(f32(2, 3, 2 * half)), place(f32(2, 2 * half))
            for interleaved in (False, True):
                _core.rope(place(f32(2, 3, 2 * half)), x, angles, interleaved=interleaved, isa=isa)
            _core.rope_angles(angles, place(np.arange(2, dtype=np.int32)), place(f32(half)), 1.0, isa=isa)

    assert in_child(body) == 0


@pytest.mark.parametrize("kind", STORED)
def test_kv_write_and_attention(isa: str, kind: str, place: Place) -> None:
    def body() -> None:
        for head_dim in TAILS:
            keys = place(stored(f32(2, 2, head_dim, 32), kind, 0))
            values = place(stored(f32(2, 2, 32, head_dim), kind, 0))
            table = place(np.array([0, 1], np.int32))
            k, v = place(f32(40, 2, head_dim)), place(f32(40, 2, head_dim))
            _core.kv_write(keys, values, table, 24, k, v, isa=isa)
            q = place(f32(40, 6, head_dim))
            _core.attention(place(f32(40, 6, head_dim)), q, keys, values, table, 24, 1.0, isa=isa)

    assert in_child(body) == 0


def test_silu_mul(isa: str, place: Place) -> None:
    def body() -> None:
        for n in TAILS:
            _core.silu_mul(place(f32(n)), place(f32(n)), place(f32(n)), isa=isa)

    assert in_child(body) == 0


def test_read_bandwidth(isa: str, place: Place) -> None:
    def body() -> None:
        for size in [*TAILS, 127, 129, 2**20 + 1]:
            data = place(np.ones(size, np.uint8))
            for pattern in _core.READ_PATTERNS:
                _core.read_bandwidth(data, threads=1, pattern=pattern, isa=isa)
                _core.read_all(data, pattern=pattern, isa=isa)

    assert in_child(body) == 0
