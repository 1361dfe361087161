"""Matrices in several pieces: bit for bit the results of the same matrix in one."""

from __future__ import annotations

import weakref
from itertools import pairwise

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import STORED, Fenced, activations, at_offset, bits, stored

MS = [1, 2, 5, 11, 12, 13, 40, 600]  # one; tiles of rows; around the change to panels; more rows than share a panel
# Cuts of k: at one lane block, at 8 times an odd number, around a step of the panel path, with a ragged last segment.
K_CUTS = {
    17: [[8], [16], [8, 16]],
    56: [[24], [8, 48]],
    1101: [[8], [88, 1096], [504, 1016], [512], [520, 1032], [8, 16, 24, 40, 600, 1000]],
}
N = 51
# Cuts of n: one row, around tiles and strips of columns, blocks within one strip.
N_CUTS = [[1], [50], [8, 9], [23, 24, 25], [24, 48], [3, 10, 17, 24, 31, 38, 45]]


def cut(matrix: np.ndarray, cuts: list[int], axis: int) -> list[np.ndarray]:
    """Its pieces, each at an address of its own, odd and even ones."""
    edges = [0, *cuts, matrix.shape[axis]]
    parts = [matrix[a:b] if axis == 0 else matrix[:, a:b] for a, b in pairwise(edges)]
    return [at_offset(part, (7 * i + 1) % 64) for i, part in enumerate(parts)]


def operands(m: int, k: int, kind: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(m + k)
    epilogue = {
        "bias": stored(rng.standard_normal(N), kind),
        "gate": activations(rng.standard_normal((m, N))),
        "residual": activations(rng.standard_normal((m, N))),
    }
    return activations(rng.standard_normal((m, k))), stored(rng.standard_normal((N, k)), kind), epilogue


def matmul(x: np.ndarray, w: np.ndarray | list[np.ndarray], isa: str, **more: object) -> np.ndarray:
    out = Fenced((len(x), N), fill=-7)
    _core.matmul(out.array, x, w, isa=isa, **more)  # type: ignore[arg-type]
    return out.check()


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("k", K_CUTS)
@pytest.mark.parametrize("m", MS)
def test_segments_of_k_equal_one_piece(isa: str, kind: str, m: int, k: int) -> None:
    x, w, epilogue = operands(m, k, kind)
    plain, whole = matmul(x, w, isa), matmul(x, w, isa, **epilogue)
    for cuts in K_CUTS[k]:
        parts = cut(w, cuts, 1)
        np.testing.assert_array_equal(bits(matmul(x, parts, isa, axis=1)), bits(plain), err_msg=str(cuts))
        np.testing.assert_array_equal(bits(matmul(x, parts, isa, axis=1, **epilogue)), bits(whole), err_msg=str(cuts))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("k", K_CUTS)
@pytest.mark.parametrize("m", MS)
def test_blocks_of_rows_equal_one_piece(isa: str, kind: str, m: int, k: int) -> None:
    x, w, epilogue = operands(m, k, kind)
    plain, whole = matmul(x, w, isa), matmul(x, w, isa, **epilogue)
    for cuts in N_CUTS:
        parts = cut(w, cuts, 0)
        np.testing.assert_array_equal(bits(matmul(x, parts, isa)), bits(plain), err_msg=str(cuts))
        np.testing.assert_array_equal(bits(matmul(x, parts, isa, **epilogue)), bits(whole), err_msg=str(cuts))


@pytest.mark.parametrize("bias_kind", STORED)
@pytest.mark.parametrize("axis", [0, 1])
def test_bias_of_another_type_moves_with_its_block(isa: str, bias_kind: str, axis: int) -> None:
    x, w, _ = operands(3, 56, "bf16")
    bias = stored(np.random.default_rng(1).standard_normal(N), bias_kind)
    whole = matmul(x, w, isa, bias=bias)
    np.testing.assert_array_equal(bits(matmul(x, cut(w, [16], axis), isa, axis=axis, bias=bias)), bits(whole))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("m", [1, 5, 13])
def test_columns_may_be_cut_anywhere(isa: str, m: int, axis: int) -> None:
    """And nothing outside the cut is written, in whichever block it lies."""
    x, w, epilogue = operands(m, 56, "bf16")
    whole, parts = matmul(x, w, isa, **epilogue), cut(w, [8, 24, 48], axis)
    for begin, end in [(0, 0), (0, 1), (7, 9), (8, 24), (9, 23), (23, 49), (24, 24), (48, 51), (50, 51), (51, 51)]:
        got = matmul(x, parts, isa, axis=axis, n_begin=begin, n_end=end, **epilogue)
        np.testing.assert_array_equal(bits(got[:, begin:end]), bits(whole[:, begin:end]))
        assert (np.delete(got, np.s_[begin:end], axis=1) == -7).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("target", ["gate", "residual"])
def test_out_may_be_gate_or_residual(isa: str, axis: int, target: str) -> None:
    x, w, epilogue = operands(13, 56, "f16")
    whole = matmul(x, w, isa, **epilogue)
    _core.matmul(epilogue[target], x, cut(w, [8, 40], axis), axis=axis, isa=isa, **epilogue)
    np.testing.assert_array_equal(bits(epilogue[target]), bits(whole))


@pytest.mark.parametrize("axis", [0, 1])
def test_one_piece_may_come_in_a_list(isa: str, axis: int) -> None:
    x, w, _ = operands(5, 17, "f16")
    np.testing.assert_array_equal(bits(matmul(x, [w], isa, axis=axis)), bits(matmul(x, w, isa)))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cuts", [[1], [5, 6], [8, 16, 19], [19], [3, 9]])
def test_embedding_equals_one_piece(isa: str, kind: str, axis: int, cuts: list[int]) -> None:
    """No sum runs over a row of the table, so it may be cut anywhere."""
    table = stored(np.random.default_rng(2).standard_normal((20, 20)), kind)
    ids = np.array([*range(20), 19, 0, 7], np.int32)
    whole, out = Fenced((23, 20)), Fenced((23, 20))
    _core.embedding(whole.array, ids, table, isa=isa)
    _core.embedding(out.array, ids, cut(table, cuts, axis), axis=axis, isa=isa)
    np.testing.assert_array_equal(bits(out.check()), bits(whole.check()))


def program(isa: str, axis: int | None, outer: int, inner: int) -> _core.Program:
    """Embedding, two matmuls in one stage, one that closes over both: in one piece, or cut along `axis`."""

    def weight(n: int, k: int, seed: int) -> np.ndarray | list[np.ndarray]:
        w = stored(np.random.default_rng(seed).standard_normal((n, k)), "bf16")
        return w if axis is None else cut(w, [8, 32], axis)

    p = _core.Program(isa)
    for name, width in (("h", outer), ("gate", inner), ("up", inner), ("out", outer)):
        p.buffer(name, width)
    how = {"axis": axis or 0}
    p.embedding("h", weight(70, outer, 0), **how)
    p.matmul("gate", "h", weight(inner, outer, 1), **how)
    p.matmul("up", "h", weight(inner, outer, 2), **how)
    p.matmul("up", "h", weight(inner, outer, 2), gate="gate", **how)
    bias = stored(np.random.default_rng(3).standard_normal(outer), "f16")
    p.matmul("out", "up", weight(outer, inner, 4), bias=bias, residual="h", **how)
    return p


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("tokens", [1, 7, 33])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_program_equals_one_piece(isa: str, axis: int, tokens: int, threads: int) -> None:
    rng = np.random.default_rng(tokens)
    batch = {
        "token_ids": rng.integers(0, 70, tokens).astype(np.int32),
        "lengths": np.array([tokens], np.int32),
        "starts": np.zeros(1, np.int32),
        "block_tables": np.zeros((1, 2), np.int32),
        "output_rows": np.zeros(0, np.int32),
    }
    whole, joined = program(isa, None, 72, 131), program(isa, axis, 72, 131)
    for p in (whole, joined):
        p.run(**batch, threads=threads)
    assert joined.operations == whole.operations
    assert joined.stages == whole.stages
    for name in ("h", "gate", "up", "out"):
        np.testing.assert_array_equal(bits(joined.read(name)), bits(whole.read(name)), err_msg=name)


def test_a_program_keeps_the_pieces_alive() -> None:
    """The caller's list and arrays may go."""
    p = _core.Program()
    for name in "ab":
        p.buffer(name, 16)
    parts = [np.ones((16, 8), np.float32) for _ in range(2)]
    held = [weakref.ref(part) for part in parts]
    p.embedding("a", parts, axis=1)
    p.matmul("b", "a", parts, axis=1)
    parts.clear()
    assert all(part() is not None for part in held)
    del p
    assert all(part() is None for part in held)
