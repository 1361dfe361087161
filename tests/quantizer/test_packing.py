"""Packed words, read back by the tests' own definition of the format."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.quantizer.packing import pack_rows, packed_width
from numpy_codes import unpack


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("k", [1, 3, 4, 7, 8, 9, 64, 77])
def test_words_hold_the_codes(bits, k):
    half = 1 << (bits - 1)
    codes = np.random.default_rng(k).integers(-half, half, (5, k)).astype(np.int8)
    words = pack_rows(codes, bits)
    assert words.shape == (5, packed_width(k, bits)) == (5, -(-k * bits // 32))
    assert words.dtype == np.int32
    np.testing.assert_array_equal(unpack(words, bits, k) - half, codes)


def test_the_last_word_ends_in_zeros():
    words = pack_rows(np.array([[-8, 7, 0]], np.int8), 4)
    assert words.tolist() == [[0x8F0]]
