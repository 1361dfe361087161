"""Products of codes with codes: sums of integers exactly, and everything behind them by equality with float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from code_rows import CodeRows, make_rows, read_rows
from coded_weights import Coded, make_coded
from inferno import _core
from kernel_arrays import STORED, Fenced, U, activations, bits, stored, widened

F = np.float32
KINDS = ["i8", "u8"]
MS = [1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 33]  # around tiles of rows, and where panels begin
NS = [1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65]  # around tiles of columns and the strips that work is cut into
KS = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 511, 512, 513, 1030]  # around vectors and steps along k


def plain(kind: str, codes: np.ndarray, zero: int = 0) -> _core.CodedWeight:
    """A weight of scale 1."""
    n, k = codes.shape
    dtype = np.int8 if kind == "i8" else np.uint8
    return _core.CodedWeight(kind, codes.astype(dtype), n, k, np.ones(1, F), block=(n, k), zero=zero)


def multiply(rows: np.ndarray, weight: _core.CodedWeight, isa: str, **more: Any) -> np.ndarray:
    out = Fenced((len(rows), weight.n))
    _core.matmul_int8(out.array, rows, weight, isa=isa, **more)
    return out.check()


def any_codes(kind: str, n: int, k: int) -> np.ndarray:
    low = -128 if kind == "i8" else 0
    return np.random.default_rng([n, k]).integers(low, low + 256, (n, k))


def any_x(m: int, k: int) -> np.ndarray:
    return np.random.default_rng([m, k, 1]).integers(-255, 256, (m, k))


def ones(m: int) -> np.ndarray:
    return np.ones(m, F)


def blocks_of(coded: Coded) -> tuple[int, int]:
    """Columns of a block, and how many blocks of columns there are."""
    k, width = coded.arguments["k"], coded.arguments["block"][1]
    return width, -(-k // width)


def expected(x: CodeRows, coded: Coded) -> np.ndarray:
    """What float32 makes of exact sums, one rounding at a time: each block's sum, a fused multiply-add with its scale
    (in float64, where the product is exact), the row's scale, then outliers in order."""
    width, count = blocks_of(coded)
    sums = np.zeros((len(x.codes), len(coded.values)), F)
    for c in range(count):
        part = slice(c * width, (c + 1) * width)
        codes = (coded.values - coded.zeros)[:, part].astype(np.int64)
        products = (x.codes[:, part] @ codes.T).astype(F)
        sums = (products.astype(np.float64) * coded.scales[:, part][:, 0] + sums).astype(F)
    sums *= x.scale[:, None]
    for row, outliers in zip(sums, x.outliers, strict=True):
        more = np.zeros(len(row), F)
        for p, value in outliers.items():
            w = (coded.values - coded.zeros)[:, p].astype(F) * coded.scales[:, p].astype(F)
            more = more + F(value) * w
        row += more
    return sums


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", KS)
def test_sums_are_exact(isa: str, kind: str, k: int) -> None:
    """Any codes; sums past 2^24 become the nearest float32."""
    for m in MS:
        x = any_x(m, k)
        for n in NS:
            w = any_codes(kind, n, k)
            got = multiply(make_rows(ones(m), x), plain(kind, w), isa)
            np.testing.assert_array_equal(got, (x @ w.T).astype(F), err_msg=f"m={m} n={n}")


@pytest.mark.parametrize("m", range(1, 41))
def test_every_count_of_rows(isa: str, m: int) -> None:
    x, w = any_x(m, 77), any_codes("i8", 37, 77)
    np.testing.assert_array_equal(multiply(make_rows(ones(m), x), plain("i8", w), isa), (x @ w.T).astype(F))


@pytest.mark.parametrize("m", [1, 3, 13])
@pytest.mark.parametrize(("n", "k"), [(65, 2048), (33, 5632), (19, 14336), (5, 28672)])
def test_long_sums_are_exact(isa: str, m: int, n: int, k: int) -> None:
    x, w = any_x(m, k), any_codes("i8", n, k)
    np.testing.assert_array_equal(multiply(make_rows(ones(m), x), plain("i8", w), isa), (x @ w.T).astype(F))


@pytest.mark.parametrize(("kind", "zero"), [("i8", 0), ("i8", -7), ("u8", 128)])
@pytest.mark.parametrize(("n", "k"), [(4096, 24), (4105, 24), (9001, 17), (100, 4095), (100, 4096)])
def test_one_row_of_x_and_many_columns(isa: str, kind: str, zero: int, n: int, k: int) -> None:
    """More than are summed at once; rows of weights about as long as a page; cut anywhere."""
    x, codes = any_x(1, k), any_codes(kind, n, k)
    weight, rows = plain(kind, codes, zero), make_rows(ones(1), x)
    sums = (x.astype(np.int64) @ (codes - zero).T.astype(np.int64)).astype(F)
    np.testing.assert_array_equal(multiply(rows, weight, isa), sums)
    out = np.zeros((1, n), F)
    for begin, end in ((0, 5), (5, 90), (90, n)):
        _core.matmul_int8(out, rows, weight, isa=isa, n_begin=begin, n_end=end)
    np.testing.assert_array_equal(out, sums)


@pytest.mark.parametrize("m", [1, 4, 13])
@pytest.mark.parametrize("x", [-255, -128, 127, 255])
@pytest.mark.parametrize(("kind", "code", "zero"), [("i8", -128, 0), ("i8", 127, -128), ("u8", 255, 0), ("u8", 0, 255)])
def test_the_largest_codes(isa: str, m: int, x: int, kind: str, code: int, zero: int) -> None:
    """-128 times -128 in every place, and sums up to the last that int32 holds."""
    for k in (1, 31, 64, 1000, 33025):
        rows, w = np.full((m, k), x), np.full((17, k), code)
        got = multiply(make_rows(ones(m), rows), plain(kind, w, zero), isa)
        assert (got == F(k * x * (code - zero))).all(), k


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 4, 13])
def test_each_code_of_each_row(isa: str, kind: str, m: int) -> None:
    """One code of x at a time picks one column of w: what is read is what was stored, zero taken off."""
    k = 67
    w = any_codes(kind, 9, k)
    zero = -77 if kind == "i8" else 99
    for start in range(0, k, m):
        x = np.zeros((m, k), np.int64)
        for i in range(m):
            x[i, (start + i) % k] = 1
        got = multiply(make_rows(ones(m), x), plain(kind, w, zero), isa)
        np.testing.assert_array_equal(got, x @ (w - zero).T)


FORMS: list[dict[str, Any]] = [
    {},
    {"scale": "f32"},
    {"scale": "bf16", "factor": 1 / 127},
    {"zeros": "bytes"},
    {"block": (1, 16)},
    {"block": (1, 24), "zeros": "bytes", "scale": "f32"},
    {"block": (1, 128), "zeros": "packed"},
    {"block": (1, 21), "zeros": "packed"},
    {"block": (1, 7), "zeros": "bytes"},
    {"block": (1, 1)},
    {"block": (3, 33), "zeros": "bytes"},
    {"block": (16, 600)},
    {"block": (1000, 1000), "zeros": "bytes"},
    {"block": (2, 50), "scale": "nested"},
]


def form_label(form: dict[str, Any]) -> str:
    return "-".join(str(value) for value in form.values()) or "channel"


def random_rows(m: int, k: int, outliers: Sequence[dict[int, float]] | None = None) -> np.ndarray:
    scale = np.random.default_rng(m).uniform(0.001, 0.1, m)
    return make_rows(scale, any_x(m, k), outliers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS, ids=form_label)
def test_every_form_of_scales_and_zeros(isa: str, kind: str, form: dict[str, Any]) -> None:
    for n, k in ((1, 64), (9, 5), (20, 64), (37, 129), (67, 1031)):
        coded = make_coded(kind, n, k, **form)
        for m in (1, 3, 4, 9, 10, 17):
            rows = random_rows(m, k)
            got = multiply(rows, coded.weight, isa)
            np.testing.assert_array_equal(bits(got), bits(expected(read_rows(rows, k), coded)), err_msg=f"{m} {n} {k}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 5, 17])
@pytest.mark.parametrize("group", [16, 128, 2048])
def test_stays_within_the_bound_of_float64(isa: str, kind: str, m: int, group: int) -> None:
    """Each block's sum is rounded once and added once; the row's scale once more. One for terms of second order."""
    n, k = 33, 2048
    coded = make_coded(kind, n, k, block=(1, group), zeros="bytes", scale="f32")
    rows = random_rows(m, k)
    x = read_rows(rows, k)
    values = x.codes * x.scale.astype(np.float64)[:, None]
    w = (coded.values - coded.zeros) * coded.scales
    bound = (k // group + 3) * U * (np.abs(values) @ np.abs(w).T)
    assert (np.abs(multiply(rows, coded.weight, isa) - values @ w.T) <= bound).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [{}, {"block": (1, 24), "zeros": "bytes"}], ids=form_label)
@pytest.mark.parametrize("m", [1, 4, 13])
def test_outliers(isa: str, kind: str, form: dict[str, Any], m: int) -> None:
    """None, one, several, and all columns."""
    n, k = 41, 70
    rng = np.random.default_rng(m)
    found = []
    for i in range(m):
        columns = np.sort(rng.choice(k, [0, 1, 5, k][i % 4 if m > 1 else 2], replace=False))
        found.append({int(p): float(F(rng.standard_normal() * 50)) for p in columns})
    coded = make_coded(kind, n, k, **form)
    rows = random_rows(m, k, found)
    got = multiply(rows, coded.weight, isa, outliers=True)
    np.testing.assert_array_equal(bits(got), bits(expected(read_rows(rows, k), coded)))


def test_rows_without_room_for_outliers_give_equal_bits(isa: str) -> None:
    coded = make_coded("i8", 41, 70)
    for m in (1, 5, 13):
        narrow, wide = random_rows(m, 70), random_rows(m, 70, [{}] * m)
        a, b = multiply(narrow, coded.weight, isa), multiply(wide, coded.weight, isa, outliers=True)
        np.testing.assert_array_equal(bits(a), bits(b))


@pytest.mark.parametrize("m", [1, 4, 13])
@pytest.mark.parametrize("outliers", [False, True])
def test_the_epilogue_comes_last(isa: str, m: int, outliers: bool) -> None:
    """bias, then residual, in float32."""
    n, k = 35, 50
    coded = make_coded("i8", n, k)
    rows = random_rows(m, k, [{3: 1.5, 49: -0.25}] * m if outliers else None)
    rng = np.random.default_rng(m)
    residual = activations(rng.standard_normal((m, n)))
    sums = expected(read_rows(rows, k), coded)
    for kind in STORED:
        bias = stored(rng.standard_normal(n), kind)
        got = multiply(rows, coded.weight, isa, outliers=outliers, bias=bias, residual=residual)
        np.testing.assert_array_equal(bits(got), bits(sums + widened(bias).astype(F) + residual))


@pytest.mark.parametrize("m", [1, 4, 13])
def test_the_gate(isa: str, m: int) -> None:
    """silu(gate) times what stands before it: exp to 2 units in the last place, 1 + e, the quotient, the product."""
    n, k = 35, 50
    coded = make_coded("u8", n, k)
    rows, gate = random_rows(m, k), activations(np.random.default_rng(m).standard_normal((m, n)) * 4)
    wide = gate.astype(np.float64)
    truth = expected(read_rows(rows, k), coded) * (wide / (1 + np.exp(-wide)))
    np.testing.assert_allclose(multiply(rows, coded.weight, isa, gate=gate), truth, rtol=8 * U, atol=0)


@pytest.mark.parametrize("m", [1, 4, 13])
def test_rows_that_are_no_numbers(isa: str, m: int) -> None:
    """A row whose scale is a NaN gives NaNs, one of scale 0 zeros; others are as they were."""
    coded = make_coded("i8", 35, 50)
    x = activations(np.random.default_rng(m).standard_normal((m, 50)))
    rows = _core.quantized_rows(m, 50)
    _core.quantize(rows, x, rule="absmax127", isa=isa)
    before = multiply(rows, coded.weight, isa)
    x[0, 7] = np.inf
    x[-1] = 0 if m > 1 else x[-1]
    _core.quantize(rows, x, rule="absmax127", isa=isa)
    after = multiply(rows, coded.weight, isa)
    assert np.isnan(after[0]).all()
    if m > 1:
        np.testing.assert_array_equal(bits(after[1:-1]), bits(before[1:-1]))
        assert (after[-1] == 0).all()


def test_an_outlier_that_is_no_number_shows(isa: str) -> None:
    coded = make_coded("i8", 35, 50)
    got = multiply(random_rows(1, 50, [{4: np.inf}]), coded.weight, isa, outliers=True)
    assert not np.isfinite(got).any()


@pytest.mark.parametrize("rule", ["absmax127", "absmax127.5", "range-as-served", "range"])
@pytest.mark.parametrize("m", [1, 13])
def test_a_whole_layer(isa: str, rule: str, m: int) -> None:
    """Rounded inputs lie half a step from the true ones at most, or where a range is clamped one."""
    n, k = 64, 576
    rng = np.random.default_rng(m)
    x, coded = activations(rng.standard_normal((m, k))), make_coded("i8", n, k, scale="f32")
    rows = _core.quantized_rows(m, k)
    _core.quantize(rows, x, rule=rule, isa=isa)
    got = multiply(rows, coded.weight, isa)
    step = read_rows(rows, k).scale.astype(np.float64)[:, None]
    bound = step * np.abs(coded.w).sum(axis=1) + 1e-5 * (np.abs(x) @ np.abs(coded.w).T)
    assert (np.abs(got - x.astype(np.float64) @ coded.w.T) <= bound).all()
