"""Rows rounded to int8 codes: every rule by equality with float32 arithmetic in NumPy, and the norm fused before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from code_rows import CodeRows, read_rows
from inferno import _core
from kernel_arrays import STORED, activations, bits, stored

F = np.float32
DYNAMIC = ["absmax127", "absmax127.5", "range-as-served", "range"]
STATIC = ["static-as-served", "static"]
RULES = [*DYNAMIC, *STATIC]
KS = [1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 576, 4099]
# Of the static rules: a step that reaches both ends of the codes, and one that does not.
STATIC_SETTINGS = [(0.0173, 0), (0.0173, -128), (0.031, 77), (0.5, 127)]


def settings_of(rule: str) -> list[dict[str, Any]]:
    if rule in DYNAMIC:
        return [{"rule": rule}]
    return [{"rule": rule, "scale": scale, "zero": zero} for scale, zero in STATIC_SETTINGS]


SETTINGS = [each for rule in RULES for each in settings_of(rule)]


def label(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values())


def quantize(x: np.ndarray, isa: str, **settings: Any) -> np.ndarray:
    """The rows, over memory that held other things."""
    out = _core.quantized_rows(*x.shape, outliers=settings.get("threshold", 0) > 0)
    out[...] = 0x5A
    _core.quantize(out, x, isa=isa, **settings)
    return out


def expected_row(x: np.ndarray, rule: str, scale: float, zero: int) -> tuple[np.float32, np.ndarray]:
    """One row's scale and codes: each operation rounded to float32."""
    nothing = np.zeros(len(x), np.int64)
    if not np.isfinite(x).all():
        return F(np.nan), nothing
    low, high = min(x.min(initial=0), F(0)), max(x.max(initial=0), F(0))
    absmax = np.abs(x).max(initial=0)
    with np.errstate(all="ignore"):
        if rule in STATIC:
            step, offset, factor = F(scale), F(zero), F(1) / F(scale)
        elif rule.startswith("absmax"):
            step, offset = absmax / F(float(rule.removeprefix("absmax"))), F(0)
            factor = F(127) / absmax
        else:
            step = (high - low) / F(255)
            # Of subnormal rows the step is so coarse that the zero may lie beyond the codes.
            offset, factor = min(np.rint(F(-128) - low / step), F(127)), F(1) / step
        if np.isinf(step):
            return F(np.nan), nothing
        divides = rule in ("absmax127.5", "range", "static")
        if rule in DYNAMIC and not (step > 0 and np.isfinite(offset) and (divides or np.isfinite(factor))):
            return F(0), nothing
        q = x / step + offset if divides else np.rint(x * factor) + offset
    return step, (np.rint(np.clip(q, F(-128), F(127))) - offset).astype(np.int64)


def expected(x: np.ndarray, rule: str, scale: float = 1.0, zero: int = 0, threshold: float = 0.0) -> CodeRows:
    scales, codes, outliers = [], [], []
    for row in x:
        far = np.abs(row) >= F(threshold) if threshold else np.zeros(len(row), bool)
        step, code = expected_row(np.where(far, F(0), row), rule, scale, zero)
        scales.append(step)
        codes.append(np.where(far, 0, code))
        outliers.append({int(p): float(row[p]) for p in np.flatnonzero(far)})
    return CodeRows(np.array(scales, F), np.array(codes), outliers)


def assert_rows(rows: np.ndarray, x: np.ndarray, **settings: Any) -> None:
    found, wanted = read_rows(rows, x.shape[1]), expected(x, **settings)
    np.testing.assert_array_equal(found.codes, wanted.codes)
    np.testing.assert_array_equal(found.scale, wanted.scale)
    assert found.outliers == wanted.outliers


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
@pytest.mark.parametrize("k", KS)
def test_every_rule(isa: str, settings: dict[str, Any], k: int) -> None:
    x = activations(np.random.default_rng(k).standard_normal((4, k)) * [[1e-3], [1], [3], [1e5]])
    assert_rows(quantize(x, isa, **settings), x, **settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
def test_rows_of_one_sign(isa: str, settings: dict[str, Any]) -> None:
    """Their range is taken to hold 0, so that the zero point is a code."""
    x = activations(np.random.default_rng(1).uniform(1, 2, (2, 77)) * [[1], [-1]])
    rows = quantize(x, isa, **settings)
    assert_rows(rows, x, **settings)
    found = read_rows(rows, 77)
    assert np.abs(found.codes).max() <= 255


def test_ties_go_to_even(isa: str) -> None:
    """absmax 127: the scale is 1 and codes are the values rounded."""
    x = activations([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5]])
    found = read_rows(quantize(x, isa, rule="absmax127"), 9)
    np.testing.assert_array_equal(found.codes, [[127, 0, 2, 2, 0, -2, -2, 126, -126]])
    assert found.scale == 1


def test_served_zero_points_are_added_after_rounding(isa: str) -> None:
    """2.5 -> 2, then + 1: 3; as written 3.5 -> 4. The zero point is taken off again."""
    x = activations([[2.5, 200, -200]])
    served = read_rows(quantize(x, isa, rule="static-as-served", zero=1), 3)
    written = read_rows(quantize(x, isa, rule="static", zero=1), 3)
    np.testing.assert_array_equal(served.codes, [[2, 126, -129]])
    np.testing.assert_array_equal(written.codes, [[3, 126, -129]])


def test_the_lowest_code_is_reached(isa: str) -> None:
    """-127.5 is a tie between -127 and -128; +127.5 is clamped first."""
    x = activations([[-127.5, 127.5, 1], [127.5, -3, 1]])
    found = read_rows(quantize(x, isa, rule="absmax127.5"), 3)
    np.testing.assert_array_equal(found.codes, [[-128, 127, 1], [127, -3, 1]])


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
def test_rows_without_numbers(isa: str, settings: dict[str, Any]) -> None:
    """Zeros of either sign have scale 0; a NaN or an infinity gives the whole row a NaN for its scale. Other rows do
    not notice."""
    x = np.random.default_rng(2).standard_normal((7, 45)).astype(F)
    x[1], x[2] = 0, -0.0
    x[3, 44], x[4, 0], x[5, 31] = np.nan, np.inf, -np.inf
    x = activations(x)
    rows = quantize(x, isa, **settings)
    assert_rows(rows, x, **settings)
    found = read_rows(rows, 45)
    assert np.isnan(found.scale[3:6]).all()
    assert (found.codes[1:3] == 0).all()
    if settings["rule"] in DYNAMIC:
        assert (found.scale[1:3] == 0).all()


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
def test_magnitudes(isa: str, settings: dict[str, Any]) -> None:
    """Down to subnormals, and up to the largest float32, where a row's range is none and its scale a NaN."""
    sizes = [1e-45, 3e-45, 1e-42, 1e-38, 3e-37, 1e-30, 1e30, 1e37, 3.4e38]
    x = np.random.default_rng(3).uniform(-1, 1, (len(sizes), 19))
    x[:, 0], x[:, 1] = 1, -1
    x = x * np.array(sizes)[:, None]
    one_sign = np.zeros((1, 19))
    one_sign[0, :2] = -380 * 2.0**-149, -7 * 2.0**-149  # a step of 2^-149: the zero of this range would be 252
    x = activations(np.concatenate([x, -np.abs(x), one_sign]))
    assert_rows(quantize(x, isa, **settings), x, **settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
@pytest.mark.parametrize("k", [1, 8, 9, 33, 576])
def test_outliers(isa: str, settings: dict[str, Any], k: int) -> None:
    x = activations(np.random.default_rng(k).standard_normal((6, k)))
    x[1] = np.where(np.abs(x[1]) < 0.9, x[1], 2)  # none of the last row's, all of this one's
    x[2], x[3] = 5, -5
    x[4, -1] = np.inf
    x[5] = np.clip(x[5], -0.5, 0.5)
    more = {**settings, "threshold": 0.9}
    rows = quantize(x, isa, **more)
    assert_rows(rows, x, **more)
    found = read_rows(rows, k)
    assert len(found.outliers[2]) == len(found.outliers[3]) == k
    assert found.outliers[5] == {}


def test_the_threshold_itself_is_an_outlier(isa: str) -> None:
    below = np.nextafter(F(6), F(0))
    x = activations([[6, -6, below, -below, 1]])
    found = read_rows(quantize(x, isa, rule="absmax127", threshold=6.0), 5)
    assert found.outliers == [{0: 6.0, 1: -6.0}]
    np.testing.assert_array_equal(found.codes, [[0, 0, 127, -127, 21]])


def test_nan_is_no_outlier(isa: str) -> None:
    x = activations([[np.nan, 7, 1]])
    found = read_rows(quantize(x, isa, rule="absmax127", threshold=6.0), 3)
    assert np.isnan(found.scale).all()
    assert found.outliers == [{1: 7.0}]


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
def test_each_row_is_rounded_alone(isa: str, settings: dict[str, Any]) -> None:
    x = activations(np.random.default_rng(5).standard_normal((9, 100)))
    whole = quantize(x, isa, **settings)
    for i in range(9):
        np.testing.assert_array_equal(quantize(activations(x[i : i + 1]), isa, **settings), whole[i : i + 1])


def compared(rows: np.ndarray, k: int) -> list[Any]:
    """What a row says, in comparable form: after its outliers, bytes mean nothing."""
    found = read_rows(rows, k)
    return [bits(found.scale).tolist(), found.codes.tolist(), repr(found.outliers)]


@pytest.mark.parametrize("settings", SETTINGS, ids=label)
@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("k", [1, 9, 33, 64, 577])
def test_the_fused_norm_gives_equal_bits(isa: str, settings: dict[str, Any], kind: str, k: int) -> None:
    rng = np.random.default_rng(k)
    x, weight = activations(rng.standard_normal((5, k))), stored(rng.standard_normal(k), kind)
    x[3], x[4, 0] = 0, np.nan
    for threshold in (0.0, 1.5):
        more = {**settings, "threshold": threshold}
        normed = activations(x)
        _core.rmsnorm(normed, x, weight, 1e-5, isa=isa)
        fused = _core.quantized_rows(5, k, outliers=threshold > 0)
        fused[...] = 0x5A
        _core.rmsnorm_quantize(fused, x, weight, 1e-5, isa=isa, **more)
        assert compared(fused, k) == compared(quantize(normed, isa, **more), k)


def test_rows_that_are_made(isa: str) -> None:
    """Aligned to cache lines, zero, and as long as their parts."""
    for k in KS:
        plain, wide = _core.quantized_rows(3, k), _core.quantized_rows(3, k, outliers=True)
        for rows in (plain, wide):
            assert rows.ctypes.data % 64 == 0
            assert rows.shape[1] % 64 == 0
            assert not rows.any()
        assert plain.shape[1] >= 64 + 2 * (k + k % 2)
        assert wide.shape[1] >= plain.shape[1] + 8 * k
    assert _core.quantized_rows(0, 5).shape[0] == 0


def program_of(isa: str, x: np.ndarray, record: Callable[[_core.Program], None], outliers: bool) -> _core.Program:
    p = _core.Program(isa)
    p.buffer("x", x.shape[1])
    p.buffer("q", x.shape[1], quantized=True, outliers=outliers)
    p.embedding("x", x)
    record(p)
    return p


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
@pytest.mark.parametrize("fused", [False, True])
def test_in_a_program(isa: str, threads: int, threshold: float, fused: bool) -> None:
    """Program.read tells what codes stand for."""
    rng = np.random.default_rng(8)
    x, weight = activations(rng.standard_normal((21, 50))), activations(rng.standard_normal(50))
    settings: dict[str, Any] = {"rule": "range", "threshold": threshold}

    def record(p: _core.Program) -> None:
        if fused:
            p.rmsnorm_quantize("q", "x", weight, 1e-5, **settings)
        else:
            p.quantize("q", "x", **settings)

    p = program_of(isa, x, record, threshold > 0)
    assert p.operations[-1] == ("rmsnorm_quantize" if fused else "quantize")
    ids = np.arange(21, dtype=np.int32)
    one, zero = np.array([21], np.int32), np.zeros(1, np.int32)
    p.run(ids, one, zero, np.zeros((1, 1), np.int32), zero, threads=threads)
    rows = activations(x)
    if fused:
        _core.rmsnorm(rows, x, weight, 1e-5, isa=isa)
    found = read_rows(quantize(rows, isa, **settings), 50)
    values = found.scale[:, None] * found.codes.astype(F)
    for row, outliers in zip(values, found.outliers, strict=True):
        row[list(outliers)] = list(outliers.values())
    np.testing.assert_array_equal(bits(p.read("q")), bits(values))
