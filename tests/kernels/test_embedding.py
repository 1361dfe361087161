"""Embedding gather: a selection and an exact widening, so every comparison is by bits."""

from __future__ import annotations

import numpy as np
import pytest

from inferno import _core
from kernel_arrays import SIZES, STORED, Fenced, bits, stored, widened

PATTERNS = np.arange(65536, dtype=np.uint32).astype(np.uint16)


def embed(table: np.ndarray, ids: list[int] | np.ndarray, isa: str) -> np.ndarray:
    out = Fenced((len(ids), table.shape[1]))
    _core.embedding(out.array, np.asarray(ids, np.int32), table, isa=isa)
    return out.check()


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("dim", SIZES)
def test_gathers_rows(isa: str, kind: str, dim: int) -> None:
    table = stored(np.random.default_rng(dim).standard_normal((11, dim)), kind)
    ids = [10, 0, 3, 3, 7, 0]
    np.testing.assert_array_equal(embed(table, ids, isa), widened(table)[ids])


@pytest.mark.parametrize("kind", STORED)
def test_no_ids_give_no_rows(isa: str, kind: str) -> None:
    assert embed(stored(np.ones((3, 9)), kind), [], isa).shape == (0, 9)


def test_widens_every_f16(isa: str) -> None:
    halves = PATTERNS.view(np.float16)
    got = embed(halves.reshape(8, 8192), list(range(8)), isa).ravel()
    nan = np.isnan(halves)
    # Subnormals times 2^24 are whole numbers: NumPy's own widening is checked on the way.
    np.testing.assert_array_equal(got[:1024].astype(np.float64) * 2.0**24, np.arange(1024))
    np.testing.assert_array_equal(bits(got)[~nan], bits(halves.astype(np.float32))[~nan])
    assert np.isnan(got[nan]).all()


def test_widens_every_bf16(isa: str) -> None:
    got = embed(PATTERNS.reshape(8, 8192), list(range(8)), isa).ravel()
    np.testing.assert_array_equal(bits(got), PATTERNS.astype(np.uint32) << 16)


def test_keeps_every_kind_of_f32(isa: str) -> None:
    table = (PATTERNS.astype(np.uint32) << 16 | 0x1234).view(np.float32).reshape(8, 8192)
    np.testing.assert_array_equal(bits(embed(table, list(range(8)), isa)), bits(table))
