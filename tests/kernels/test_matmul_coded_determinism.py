"""Products with codes have the bits of the float product with the same weights: for any m, cut of n, and address."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coded_weights import KINDS, Coded, make_coded
from inferno import _core
from kernel_arrays import Fenced, activations, at_offset, bits

N, K = 152, 1100  # some strips and a bit; two steps along k and a bit, not a multiple of a vector where that may be

# How scales lie: those that fuse, those that do not, those that are looked up for each column.
FORMS: dict[str, dict[str, Any]] = {
    "channels": {"scale": "bf16"},
    "fused": {"block": (1, 32), "zeros": "packed"},
    "inexact": {"block": (1, 128), "scale": "f32", "zeros": "packed"},
    "nested": {"block": (1, 64), "scale": "nested"},
    "shuffled": {"block": (1, 32), "zeros": "packed", "shuffled": True},
    "odd": {"block": (1, 30), "zeros": "bytes"},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=FORMS)
def coded(kind: str, request: pytest.FixtureRequest) -> Coded:
    return make_coded(kind, N, K, **FORMS[request.param])


def rows(m: int, coded: Coded) -> np.ndarray:
    return activations(np.random.default_rng(m).standard_normal((m, coded.weight.k)))


def matmul(x: np.ndarray, coded: Coded, isa: str, **more: Any) -> np.ndarray:
    out = Fenced((len(x), coded.weight.n))
    _core.matmul_coded(out.array, x, more.pop("weight", coded.weight), isa=isa, **more)
    return out.check()


def test_bits_are_those_of_the_float_product(isa: str, coded: Coded) -> None:
    x, w = rows(530 if isa != "scalar" else 70, coded), coded.w.astype(np.float32)
    expected = np.empty((len(x), N), np.float32)
    _core.matmul(expected, x, w, isa=isa)
    for m in [1, 2, 3, 4, 5, 11, 12, 13, 40, 70, 512, 513, 530]:
        if m <= len(x):
            np.testing.assert_array_equal(bits(matmul(x[:m], coded, isa)), bits(expected[:m]), err_msg=f"m={m}")
    for i in range(20):
        np.testing.assert_array_equal(bits(matmul(x[i : i + 1], coded, isa)), bits(expected[i : i + 1]))


@pytest.mark.parametrize("m", [1, 5, 13])
def test_columns_may_be_cut_anywhere(isa: str, coded: Coded, m: int) -> None:
    """And nothing outside the cut is written."""
    x = rows(m, coded)
    gate = activations(np.random.default_rng(3).standard_normal((m, N)))
    whole = matmul(x, coded, isa, gate=gate, residual=gate)
    cuts = [(0, 0), (0, 1), (1, 2), (3, 11), (7, 50), (23, 25), (24, 48), (63, 130), (128, 152), (149, 152), (152, 152)]
    for begin, end in cuts:
        out = Fenced((m, N), fill=-7)
        _core.matmul_coded(out.array, x, coded.weight, gate=gate, residual=gate, n_begin=begin, n_end=end, isa=isa)
        got = out.check()
        np.testing.assert_array_equal(bits(got[:, begin:end]), bits(whole[:, begin:end]))
        assert (got[:, :begin] == -7).all()
        assert (got[:, end:] == -7).all()


@pytest.mark.parametrize("m", [1, 5, 13])
@pytest.mark.parametrize("target", ["gate", "residual"])
def test_out_may_be_gate_or_residual(isa: str, kind: str, m: int, target: str) -> None:
    coded = make_coded(kind, N, 64)
    x, rng = rows(m, coded), np.random.default_rng(m)
    more = {name: activations(rng.standard_normal((m, N))) for name in ("gate", "residual")}
    expected = matmul(x, coded, isa, **more)
    _core.matmul_coded(more[target], x, coded.weight, **more, isa=isa)
    np.testing.assert_array_equal(bits(more[target]), bits(expected))


def test_alignment_changes_no_bit(isa: str, coded: Coded) -> None:
    for m in (1, 5, 13):
        x = rows(m, coded)
        expected = matmul(x, coded, isa)
        for offset in (1, 2, 31):
            weight = coded.placed(lambda array, offset=offset: at_offset(array, offset))
            np.testing.assert_array_equal(bits(matmul(x, coded, isa, weight=weight)), bits(expected))


def test_threads_and_cuts_of_a_program_change_no_bit(isa: str, coded: Coded) -> None:
    x = rows(5, coded)
    expected = matmul(x, coded, isa)
    program = _core.Program(isa)
    program.buffer("x", coded.weight.k)
    program.buffer("y", N)
    program.embedding("x", x)
    program.matmul_coded("y", "x", coded.weight)
    for threads in (1, 2, 3):
        program.run(
            np.arange(5, dtype=np.int32),
            np.array([5], np.int32),
            np.array([0], np.int32),
            np.zeros((1, 1), np.int32),
            np.zeros(0, np.int32),
            threads=threads,
        )
        np.testing.assert_array_equal(bits(program.read("y")), bits(expected))
