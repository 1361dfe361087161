"""Statistics of values: every stored type against NumPy, in pieces of any length, and what counts as odd."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inferno.analysis.values import MAX_ROWS, SCANNED, Scan, TensorValues, _table, _widened
from inferno.checkpoint.dtypes import DTYPES
from safetensors_writer import to_stored, widen


def scanned(stored: np.ndarray, dtype: str, name: str = "w", piece: int = 4096) -> TensorValues:
    scan = Scan(name, dtype, stored.shape)
    raw = stored.tobytes()
    for begin in range(0, len(raw), piece):
        scan.add(memoryview(raw[begin : begin + piece]))
    return TensorValues.of(name, [scan])


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [(7, 33), (1, 5), (64,), (3, 4, 5), (300, 1000), ()])
@pytest.mark.parametrize("piece", [1, 13, 4096, 1 << 22])
def test_floats_match_numpy(dtype, shape, piece):
    if math.prod(shape) > 1000:
        piece = max(piece, 40_001)
    rng = np.random.default_rng(3)
    stored = np.asarray(to_stored(rng.standard_normal(shape), dtype))
    exact = widen(stored, dtype)
    found = scanned(stored, dtype, piece=piece)
    assert found.elements == exact.size
    assert found.rows == math.prod(shape[:-1])
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    # row sums in float32: at most k roundings of 2^-24 each, halved by the root
    assert found.rms == pytest.approx(np.sqrt(np.mean(exact**2)), rel=(shape[-1] if shape else 1) * 2.0**-24)
    assert (found.nan, found.inf, found.zero_rows, found.outlier_rows) == (0, 0, 0, 0)
    assert found.ends is None


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_nan_and_inf_are_counted_and_left_out(dtype, piece):
    values = np.ones((5, 40))
    values[1, 3] = -3.0
    stored = values if dtype == "F64" else to_stored(values, dtype)
    bits = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F64": ("<u8", 0x7FF << 52)}
    view, infinity = bits[dtype]
    raw = stored.view(view)
    raw[0, 0], raw[0, 39], raw[4, 7] = infinity | 1, infinity, infinity
    raw[3] = infinity
    found = scanned(stored, dtype, piece=piece)
    assert (found.nan, found.inf) == (1, 42)
    assert (found.minimum, found.maximum) == (-3.0, 1.0)
    assert found.rms == pytest.approx(math.sqrt((200 - 43 + 8) / (200 - 43)), rel=1e-6)
    assert found.zero_rows == 0  # a row of Inf holds no zeros


def test_all_nan():
    found = scanned(np.full((2, 2), np.nan, np.float32), "F32")
    assert (found.nan, found.minimum, found.maximum, found.rms) == (4, None, None, None)


def test_squares_beyond_float32():
    found = scanned(np.array([[1e30, -2e30]], np.float32), "F32")
    assert (found.nan, found.inf) == (0, 0)
    assert found.rms == pytest.approx(math.sqrt(2.5) * 1e30, rel=1e-6)
    found = scanned(np.array([[1e-30, 0.0], [0.0, 0.0]], np.float32), "F32")
    assert found.zero_rows == 1  # a square that underflows is no zero


def test_zero_and_outlier_rows():
    values = np.ones((50, 16), np.float32)
    values[[3, 4]] = 0
    values[7] = 19
    assert (scanned(values, "F32").zero_rows, scanned(values, "F32").outlier_rows) == (2, 0)
    values[9, :4] = 100  # a root mean square of 50
    found = scanned(values, "F32")
    assert (found.outlier_rows, found.outlier_factor) == (1, pytest.approx(50, rel=1e-2))
    assert scanned(np.zeros((4, 4), np.float32), "F32").outlier_rows == 0


def test_int8_codes_at_the_ends():
    codes = np.zeros((4, 25), np.int8)
    codes[0, 0], codes[1, 1], codes[2, 2], codes[3, 3], codes[0, 4] = 127, -127, -128, 126, -126
    found = scanned(codes, "I8")
    assert found.ends == 0.03
    assert (found.minimum, found.maximum) == (-128, 127)


@pytest.mark.parametrize("name", ["l.weight_scale", "l.weight_scale_inv", "l.scales", "l.SCB", "l.weight.absmax"])
def test_bad_scales(name):
    scales = np.array([1, 0, -1, np.nan, np.inf, 2], np.float32)
    assert scanned(scales, "F32", name).bad_scales == 4
    assert scanned(scales, "F32", "l.weight").bad_scales == 0


def test_types_without_values_of_their_own():
    for dtype in sorted(DTYPES.keys() - SCANNED):
        scan = Scan("w", dtype, (4, 8))
        scan.add(memoryview(bytes(16)))
        assert TensorValues.of("w", [scan]) == TensorValues("w", dtype)


def test_pieces_of_a_tensor_count_together():
    a, b = Scan("w", "F32", (2, 4)), Scan("w", "F32", (3, 4))
    a.add(memoryview(np.ones((2, 4), np.float32).tobytes()))
    b.add(memoryview(np.full((3, 4), 2, np.float32).tobytes()))
    found = TensorValues.of("w", [a, b])
    assert (found.elements, found.rows, found.minimum, found.maximum) == (20, 5, 1, 2)
    assert found.rms == pytest.approx(math.sqrt((8 + 48) / 20))


def test_any_number_of_rows_takes_bounded_memory():
    scan = Scan("w", "F32", (MAX_ROWS + 1, 1))
    assert len(scan.squares) == 1
    scan = Scan("w", "F32", (1 << 60, 0))
    assert len(scan.squares) == 0


# value of code: from the tables of the OCP specifications and, for FNUZ, of arXiv:2206.02915
EIGHT_BIT = {
    "F8_E4M3": {0x00: 0, 0x01: 2.0**-9, 0x07: 7 * 2.0**-9, 0x08: 2.0**-6, 0x38: 1, 0x7E: 448, 0xFE: -448, 0xC0: -2},
    "F8_E5M2": {0x01: 2.0**-16, 0x03: 3 * 2.0**-16, 0x04: 2.0**-14, 0x3C: 1, 0x7B: 57344, 0x7C: math.inf, 0xBC: -1},
    "F8_E4M3FNUZ": {0x01: 2.0**-10, 0x40: 1, 0x7F: 240, 0xFF: -240},
    "F8_E5M2FNUZ": {0x01: 2.0**-17, 0x40: 1, 0x7F: 57344, 0xFF: -57344},
    "F8_E8M0": {0: 2.0**-127, 127: 1, 254: 2.0**127, 128: 2},
}
NANS = {"F8_E4M3": 2, "F8_E5M2": 6, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "F8_E8M0": 1}


@pytest.mark.parametrize("dtype", EIGHT_BIT)
def test_eight_bit_floats(dtype):
    for code, value in EIGHT_BIT[dtype].items():
        assert _widened(np.array([code], np.uint8), dtype)[0] == value, hex(code)
    assert np.isnan(_table(dtype)).sum() == NANS[dtype]
