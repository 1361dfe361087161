"""One output's bits depend on its row of x and its row of w alone: not on other rows, cuts of n, or addresses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import STORED, Fenced, activations, at_offset, bits, stored

N, K = 50, 1100  # two strips and a bit; two steps along k and a bit, not a multiple of a vector


def case(rows: int, kind: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(rows)
    operands = {
        "w": stored(rng.standard_normal((N, K)), kind),
        "bias": stored(rng.standard_normal(N), kind),
    }
    return activations(rng.standard_normal((rows, K))), operands


@pytest.fixture(scope="module", params=STORED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def matmul(x: np.ndarray, operands: dict[str, np.ndarray], isa: str, **more: np.ndarray) -> np.ndarray:
    out = Fenced((len(x), N))
    _core.matmul(out.array, x, **operands, isa=isa, **more)
    return out.check()


def test_many_rows_equal_one_at_a_time(isa: str, kind: str) -> None:
    x, operands = case(530, kind)
    alone = np.concatenate([matmul(x[i : i + 1], operands, isa) for i in range(530)])
    for m in [*range(1, 41), 511, 512, 513, 530]:
        np.testing.assert_array_equal(bits(matmul(x[:m], operands, isa)), bits(alone[:m]), err_msg=f"m={m}")


def test_rows_may_be_grouped_anyhow(isa: str, kind: str) -> None:
    x, operands = case(60, kind)
    whole = matmul(x, operands, isa)
    for cuts in ([0, 1, 3, 60], [0, 12, 24, 36, 60], [0, 17, 30, 41, 60]):
        parts = [matmul(x[a:b], operands, isa) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(bits(np.concatenate(parts)), bits(whole))


@pytest.mark.parametrize("m", [1, 5, 13])
def test_columns_may_be_cut_anywhere(isa: str, kind: str, m: int) -> None:
    """And nothing outside the cut is written."""
    x, operands = case(m, kind)
    gate = activations(np.random.default_rng(3).standard_normal((m, N)))
    whole = matmul(x, operands, isa, gate=gate, residual=gate)
    for begin, end in [(0, 0), (0, 1), (1, 2), (3, 11), (7, 50), (23, 25), (24, 48), (25, 50), (49, 50), (50, 50)]:
        out = Fenced((m, N), fill=-7)
        _core.matmul(out.array, x, **operands, gate=gate, residual=gate, n_begin=begin, n_end=end, isa=isa)
        got = out.check()
        np.testing.assert_array_equal(bits(got[:, begin:end]), bits(whole[:, begin:end]))
        assert (got[:, :begin] == -7).all()
        assert (got[:, end:] == -7).all()


@pytest.mark.parametrize("m", [1, 5, 13])
@pytest.mark.parametrize("target", ["gate", "residual"])
def test_out_may_be_gate_or_residual(isa: str, kind: str, m: int, target: str) -> None:
    x, operands = case(m, kind)
    rng = np.random.default_rng(m)
    more = {name: activations(rng.standard_normal((m, N))) for name in ("gate", "residual")}
    expected = matmul(x, operands, isa, **more)
    _core.matmul(more[target], x, **operands, **more, isa=isa)
    np.testing.assert_array_equal(bits(more[target]), bits(expected))


def test_alignment_changes_no_bit(isa: str, kind: str) -> None:
    x, operands = case(13, kind)
    expected = matmul(x, operands, isa)
    for offset in (0, 2, 3, 31):
        moved = {name: at_offset(a, offset) for name, a in operands.items()}
        np.testing.assert_array_equal(bits(matmul(x, moved, isa)), bits(expected))
