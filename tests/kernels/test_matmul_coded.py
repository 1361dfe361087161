"""Products with weights of codes: exactly where the arithmetic is exact, else against float64; and the epilogue."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from coded_weights import BITS, E4M3, KINDS, WORDS, Coded, make_coded, shape_of
from inferno import _core
from kernel_arrays import STORED, Fenced, U, activations, stored, widened

MS = [1, 2, 5, 11, 12, 33]  # one; around a tile of rows; around the change from streaming to panels
NS = [1, 3, 8, 23, 24, 25, 49, 136]  # around tiles of columns and the strips that work is cut into
KS = [1, 7, 8, 9, 31, 33, 511, 513, 1030]  # around vectors and steps along k
ZEROS = ["constant", "bytes", "packed"]
SCALES = [*STORED, "nested"]


def matmul(x: np.ndarray, coded: Coded, isa: str, **epilogue: Any) -> np.ndarray:
    out = Fenced((len(x), coded.weight.n))
    _core.matmul_coded(out.array, x, coded.weight, isa=isa, **epilogue)
    return out.check()


def whole_numbers(m: int, k: int) -> np.ndarray:
    return activations(np.random.default_rng(m * k).integers(-8, 9, (m, k)))


def normal(m: int, k: int) -> np.ndarray:
    return activations(np.random.default_rng(m + k).standard_normal((m, k)))


def sum_bound(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """As of the float product, for weights in float32 that were rounded once: `w` is those."""
    return (x.shape[1] / 8 + 6) * U * (np.abs(x.astype(np.float64)) @ np.abs(w).T)


def assert_near(got: np.ndarray, x: np.ndarray, coded: Coded) -> None:
    expected = x.astype(np.float64) @ coded.w.T
    assert (np.abs(got - expected) <= sum_bound(x, coded.w)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", KS)
def test_whole_numbers_are_exact(isa: str, kind: str, k: int) -> None:
    for n in NS:
        coded = make_coded(kind, n, k, exact=True)
        for m in MS:
            x = whole_numbers(m, coded.weight.k)
            expected = x.astype(np.float64) @ coded.w.T
            np.testing.assert_array_equal(matmul(x, coded, isa), expected, err_msg=f"m={m} n={n}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.parametrize(
    ("block", "shuffled"),
    [((1, 8), False), ((1, 32), False), ((1, 10), False), ((1, 32), True), ((1, 10), True), ((1, 1000), False)],
)
def test_groups(isa: str, kind: str, scale: str, zeros: str, block: tuple[int, int], shuffled: bool) -> None:
    """With scales that are powers of two every tier has the same bits as NumPy, with others it is as near as may be."""
    for k in (104, 600):
        for exact in (True, False):
            coded = make_coded(
                kind, 25, k, block=block, scale=scale, zeros=zeros, shuffled=shuffled, exact=exact, seed=k
            )
            for m in (1, 3, 13):
                if exact:
                    x = whole_numbers(m, coded.weight.k)
                    np.testing.assert_array_equal(matmul(x, coded, isa), x.astype(np.float64) @ coded.w.T)
                else:
                    x = normal(m, coded.weight.k)
                    assert_near(matmul(x, coded, isa), x, coded)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WORDS])
@pytest.mark.parametrize("block", [(50, 2000), (7, 16), (16, 128), (128, 128), (2, 33)])
@pytest.mark.parametrize("zeros", ["constant", "bytes"])
def test_blocks_of_rows(isa: str, kind: str, block: tuple[int, int], zeros: str) -> None:
    coded = make_coded(kind, 50, 300, block=block, zeros=zeros, exact=True)
    for m in (1, 4, 13):
        x = whole_numbers(m, 300)
        np.testing.assert_array_equal(matmul(x, coded, isa), x.astype(np.float64) @ coded.w.T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [1, 63, 64, 65, 300])
def test_many_groups(isa: str, kind: str, groups: int) -> None:
    """More than a kernel reads scales of at a time; the last is not whole."""
    coded = make_coded(kind, 9, 16 * groups - 8, block=(1, 16), scale="bf16", zeros="packed", seed=groups)
    for m in (1, 2, 12):
        x = normal(m, coded.weight.k)
        assert_near(matmul(x, coded, isa), x, coded)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shuffled", [False, True])
def test_long_rows(isa: str, kind: str, shuffled: bool) -> None:
    """Longer than what kernels copy of x or of w at a time."""
    for k in (9001, 100001):
        coded = make_coded(kind, 9, k, block=(1, 1024), exact=True, shuffled=shuffled)
        for m in (1, 3):
            # A sum of 1e5 products below 2^7 stays below 2^24.
            x = activations(np.random.default_rng(m).integers(-1, 2, (m, coded.weight.k)))
            np.testing.assert_array_equal(matmul(x, coded, isa), x.astype(np.float64) @ coded.w.T)


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_in_every_place(isa: str, kind: str) -> None:
    """Row j of the weight is code j in every column; x picks one column after the other."""
    n, k = 2 ** BITS[kind], 16
    codes = np.repeat(np.arange(n)[:, None], k, axis=1)
    coded = make_coded(kind, n, k, codes=codes, exact=True)
    x = activations(np.eye(k))
    # The product itself would be 0 * NaN.
    expected = np.broadcast_to(coded.w[:, 0], (k, n))
    np.testing.assert_array_equal(matmul(x, coded, isa), expected)
    for p in range(k):
        np.testing.assert_array_equal(matmul(x[p : p + 1], coded, isa), expected[p : p + 1])


def test_e4m3_values_are_those_of_the_format() -> None:
    assert E4M3[0x7E] == 448
    assert E4M3[0x01] == 2.0**-9
    assert E4M3[0x08] == 2.0**-6
    assert np.isnan(E4M3[[0x7F, 0xFF]]).all()
    assert np.isfinite(np.delete(E4M3, [0x7F, 0xFF])).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2.0**-140, 2.0**-100, 2.0**-80, 2.0**80, 2.0**119])
def test_scales_of_any_size(isa: str, kind: str, size: float) -> None:
    """Where a shortcut would leave the range of float32, the result is still exact."""
    coded = make_coded(kind, 12, 40, exact=True, scale="f32", factor=size)
    x = activations(np.random.default_rng(1).integers(-1, 2, (13, coded.weight.k)))
    for m in (1, 3, 13):
        expected = (x[:m].astype(np.float64) @ coded.w.T).astype(np.float32)
        np.testing.assert_array_equal(matmul(x[:m], coded, isa), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zeros", ["constant", "packed"])
@pytest.mark.parametrize("factor", [1 / 127, 2.0**-124 / 127])
def test_scales_of_all_bits(isa: str, kind: str, zeros: str, factor: float) -> None:
    """One weight at a time: (code - zero) * scale is rounded once, whatever the product of zero and scale would be."""
    coded = make_coded(kind, 40, 64, block=(1, 16), scale="f32", zeros=zeros, factor=factor)
    x = activations(np.eye(64)[:33])
    for m in (1, 3, 33):
        expected = coded.w.T[:m]
        expected = np.where(np.isnan(coded.w).any(axis=1), np.nan, expected)
        np.testing.assert_array_equal(matmul(x[:m], coded, isa), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_scale_stays_in_its_row(isa: str, kind: str) -> None:
    coded = make_coded(kind, 24, 64, block=(1, 16), scale="f32", exact=True)
    side = coded.arguments["scales"]
    side[(1, 5) if kind in WORDS else (5, 1)] = np.nan
    side[(2, 9) if kind in WORDS else (9, 2)] = np.inf
    for m in (1, 3, 13):
        x = activations(np.ones((m, 64)))
        with np.errstate(invalid="ignore"):
            plain = make_coded(kind, 24, 64, block=(1, 16), scale="f32", exact=True)
        got = matmul(x, coded, isa)
        assert np.isnan(got[:, 5]).all()
        assert not np.isfinite(got[:, 9]).any()
        others = [j for j in range(24) if j not in (5, 9)]
        np.testing.assert_array_equal(got[:, others], matmul(x, plain, isa)[:, others])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_past_the_end_of_a_row_adds_nothing(isa: str, kind: str) -> None:
    """With an infinite scale, 0 where a vector is not full would make a NaN of the sum."""
    for k in (9, 33, 46):
        codes = np.full(
            shape_of(kind, 8, k, "constant"), 0x38 if kind == "e4m3" else 2 ** BITS[kind] - 1 >> (kind == "i8")
        )
        coded = make_coded(kind, 8, k, scale="f32", codes=codes, exact=True)
        coded.arguments["scales"][...] = np.inf
        for m in (1, 3, 13):
            assert (matmul(activations(np.ones((m, coded.weight.k))), coded, isa) == np.inf).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_negative_or_zero_scale(isa: str, kind: str) -> None:
    coded = make_coded(kind, 24, 64, block=(1, 16), scale="f32", exact=True, zeros="bytes")
    sign = np.array([1, -1, 0, 1], np.float32)
    coded.arguments["scales"] *= sign[:, None] if kind in WORDS else sign
    coded.scales = coded.scales * np.repeat(sign, 16)
    for m in (1, 3, 13):
        x = whole_numbers(m, 64)
        np.testing.assert_array_equal(matmul(x, coded, isa), x.astype(np.float64) @ coded.w.T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 3, 13])
def test_epilogue_is_that_of_the_float_product(isa: str, kind: str, m: int) -> None:
    """Bias, gate and residual: bit for bit what matmul gives for the same weights in float32."""
    coded = make_coded(kind, 31, 72, block=(1, 24))
    n, k = coded.weight.n, coded.weight.k
    if kind == "e4m3":
        coded = make_coded(kind, n, k, block=(1, 24), codes=np.random.default_rng(0).integers(0, 0x7F, (n, k)))
    rng = np.random.default_rng(m)
    x, w = normal(m, k), stored(coded.w, "f32")
    for bias_kind in STORED:
        more = {
            "bias": stored(rng.standard_normal(n), bias_kind),
            "gate": activations(rng.standard_normal((m, n)) * 3),
            "residual": activations(rng.standard_normal((m, n))),
        }
        for names in (["bias"], ["gate"], ["residual"], ["bias", "gate", "residual"]):
            chosen = {name: more[name] for name in names}
            expected = Fenced((m, n))
            _core.matmul(expected.array, x, w, isa=isa, **chosen)
            np.testing.assert_array_equal(matmul(x, coded, isa, **chosen), expected.check())


GOOD = {"x": (2, 24), "out": (2, 8)}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"x": np.zeros((2, 23), np.float32)}, "x must be (2, 24) to match weight; got (2, 23) float32"),
    ({"x": np.zeros((2, 24))}, "x must be a contiguous, aligned 2-d array of float32; got (2, 24) float64"),
    ({"out": np.zeros((2, 9), np.float32)}, "out must be (2, 8) to match x and weight; got (2, 9) float32"),
    ({"out": np.zeros(16, np.float32)}, "out must be a contiguous, aligned 2-d array of float32; got (16,) float32"),
    ({"bias": np.zeros(9, np.float32)}, "bias must be (8,) to match weight; got (9,) float32"),
    ({"bias": np.zeros(8)}, "bias must be float32, float16 or uint16 (BF16); got (8,) float64"),
    ({"gate": np.zeros((2, 9), np.float32)}, "gate must be (2, 8) to match out; got (2, 9) float32"),
    ({"residual": np.zeros((1, 8), np.float32)}, "residual must be (2, 8) to match out; got (1, 8) float32"),
    ({"n_begin": 5, "n_end": 4}, "n_begin and n_end must select from 8 columns; got 5 and 4"),
    ({"n_end": 9}, "n_begin and n_end must select from 8 columns; got 0 and 9"),
]


@pytest.mark.parametrize(("change", "text"), BAD)
def test_refused(change: dict[str, Any], text: str, isa: str) -> None:
    arguments = {name: np.zeros(shape, np.float32) for name, shape in GOOD.items()} | change
    with pytest.raises(ValueError, match=re.escape(f"matmul_coded: {text}")):
        _core.matmul_coded(weight=make_coded("u8", 8, 24).weight, isa=isa, **arguments)


@pytest.mark.parametrize("weight", [None, np.zeros((8, 24), np.float32)])
def test_only_codes_are_a_weight(weight: Any, isa: str) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.matmul_coded(np.zeros((2, 8), np.float32), np.zeros((2, 24), np.float32), weight, isa=isa)


def test_widened_helper_knows_the_types() -> None:
    """A scale that the helper misread would hide in every expectation above."""
    for kind in STORED:
        np.testing.assert_array_equal(widened(stored(np.array([0.5, -3.0]), kind, 0)), [0.5, -3.0])
