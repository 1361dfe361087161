"""Codes in int32 words, as compressed-tensors' pack-quantized has them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def packed_width(k: int, bits: int) -> int:
    """Words for a row of k codes."""
    return -(-k * bits // 32)


def pack_rows(codes: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.int32]:
    """Codes (rows, k) of 4 or 8 bits -> words (rows, ceil(k * bits / 32)).

    A code is stored as code + 2^(bits - 1), unsigned, from the lowest bits of a row's words up; what is left of the
    last word is 0.
    """
    rows, k = codes.shape
    unsigned = (codes.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    padded = np.zeros((rows, packed_width(k, bits) * 32 // bits), np.uint8)
    padded[:, :k] = unsigned
    as_bytes = padded if bits == 8 else padded[:, 0::2] | (padded[:, 1::2] << 4)
    return np.ascontiguousarray(as_bytes).view("<i4")
