"""One output's bits depend on its row of x and its row of w alone: not on other rows, cuts, threads or addresses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from code_rows import make_rows
from coded_weights import Coded, make_coded, moved
from inferno import _core
from kernel_arrays import Fenced, activations, bits

N, K = 131, 1100  # two panels and a bit; two steps along k and a bit, not a multiple of a vector
FORMS: dict[str, dict[str, Any]] = {
    "channel": {"scale": "f32"},
    "groups": {"block": (1, 96), "zeros": "bytes", "scale": "f32"},
    "odd-groups": {"block": (1, 13), "zeros": "packed"},
    "blocks": {"block": (32, 128), "zeros": "bytes"},
}


@pytest.fixture(params=FORMS)
def coded(request: pytest.FixtureRequest) -> Coded:
    return make_coded("u8", N, K, **FORMS[str(request.param)])


def rows_of(m: int) -> np.ndarray:
    rng = np.random.default_rng(m)
    outliers = [{i % K: 9.5, K - 1: -2.25} if i % 3 == 0 else {} for i in range(m)]
    return make_rows(rng.uniform(0.01, 0.1, m), rng.integers(-255, 256, (m, K)), outliers)


def part(rows: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Some rows, at a multiple of 64 bytes as they all are."""
    copy = _core.quantized_rows(end - begin, K, outliers=True)
    copy[...] = rows[begin:end]
    return copy


def multiply(rows: np.ndarray, weight: _core.CodedWeight, isa: str, **more: Any) -> np.ndarray:
    out = Fenced((len(rows), N))
    _core.matmul_int8(out.array, rows, weight, outliers=True, isa=isa, **more)
    return out.check()


def test_many_rows_equal_one_at_a_time(isa: str, coded: Coded) -> None:
    count = 262 if isa != "scalar" else 30
    rows = rows_of(count)
    alone = np.concatenate([multiply(part(rows, i, i + 1), coded.weight, isa) for i in range(count)])
    for m in [*range(1, 31), 255, 256, 257, 262]:
        if m <= count:
            got = multiply(part(rows, 0, m), coded.weight, isa)
            np.testing.assert_array_equal(bits(got), bits(alone[:m]), err_msg=f"m={m}")


def test_rows_may_be_grouped_anyhow(isa: str, coded: Coded) -> None:
    rows = rows_of(60)
    whole = multiply(rows, coded.weight, isa)
    for cuts in ([0, 1, 3, 60], [0, 12, 24, 36, 60], [0, 17, 30, 41, 60]):
        parts = [multiply(part(rows, a, b), coded.weight, isa) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(bits(np.concatenate(parts)), bits(whole))


@pytest.mark.parametrize("m", [1, 5, 13])
def test_columns_may_be_cut_anywhere(isa: str, coded: Coded, m: int) -> None:
    """And nothing outside the cut is written."""
    rows, gate = rows_of(m), activations(np.random.default_rng(3).standard_normal((m, N)))
    whole = multiply(rows, coded.weight, isa, gate=gate, residual=gate)
    for begin, end in [(0, 0), (0, 1), (1, 2), (3, 11), (7, 50), (31, 33), (32, 64), (63, 130), (130, 131), (131, 131)]:
        out = Fenced((m, N), fill=-7)
        cut = {"n_begin": begin, "n_end": end}
        _core.matmul_int8(out.array, rows, coded.weight, outliers=True, gate=gate, residual=gate, isa=isa, **cut)
        got = out.check()
        np.testing.assert_array_equal(bits(got[:, begin:end]), bits(whole[:, begin:end]))
        assert (got[:, :begin] == -7).all()
        assert (got[:, end:] == -7).all()


@pytest.mark.parametrize("m", [1, 5, 13])
@pytest.mark.parametrize("target", ["gate", "residual"])
def test_out_may_be_gate_or_residual(isa: str, coded: Coded, m: int, target: str) -> None:
    rows, rng = rows_of(m), np.random.default_rng(m)
    more = {name: activations(rng.standard_normal((m, N))) for name in ("gate", "residual")}
    wanted = multiply(rows, coded.weight, isa, **more)
    _core.matmul_int8(more[target], rows, coded.weight, outliers=True, isa=isa, **more)
    np.testing.assert_array_equal(bits(more[target]), bits(wanted))


@pytest.mark.parametrize("m", [1, 5, 13])
def test_alignment_changes_no_bit(isa: str, coded: Coded, m: int) -> None:
    rows = rows_of(m)
    wanted = multiply(rows, coded.weight, isa)
    for offset in (1, 3, 31):
        weight = coded.placed(lambda array, offset=offset: moved(array, offset))
        np.testing.assert_array_equal(bits(multiply(rows, weight, isa)), bits(wanted))


@pytest.mark.parametrize("m", [1, 5, 13, 40])
def test_tiers_give_equal_bits(coded: Coded, m: int) -> None:
    rows = rows_of(m)
    tiers = [name for name, available in _core.tiers().items() if available]
    first, *rest = [multiply(rows, coded.weight, isa) for isa in tiers]
    for each in rest:
        np.testing.assert_array_equal(bits(each), bits(first))


def test_threads_change_no_bit(isa: str, coded: Coded) -> None:
    """A program of embedding, rounding and product, whole and one token at a time."""
    tokens = 37
    x = activations(np.random.default_rng(5).standard_normal((tokens, K)))
    p = _core.Program(isa)
    p.buffer("x", K)
    p.buffer("q", K, quantized=True, outliers=True)
    p.buffer("out", N)
    p.embedding("x", x)
    p.quantize("q", "x", rule="range-as-served", threshold=2.5)
    p.matmul_int8("out", "q", coded.weight)
    table, none = np.array([[0, 1]], np.int32), np.zeros(0, np.int32)

    def run(first: int, count: int, threads: int) -> np.ndarray:
        ids = np.arange(first, first + count, dtype=np.int32)
        p.run(ids, np.array([count], np.int32), np.zeros(1, np.int32), table, none, threads=threads)
        return p.read("out")

    rows = _core.quantized_rows(tokens, K, outliers=True)
    _core.quantize(rows, x, rule="range-as-served", threshold=2.5, isa=isa)
    wanted = multiply(rows, coded.weight, isa)
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(bits(run(0, tokens, threads)), bits(wanted))
        np.testing.assert_array_equal(bits(run(11, 1, threads)), bits(wanted[11:12]))
