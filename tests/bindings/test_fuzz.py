"""No arguments end the process or hang it: each call either works or raises one of the few errors it may."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno import _core

ALLOWED = (ValueError, TypeError, MemoryError)
DTYPES = ["f4", "f2", "u2", "f8", "i4", "i8", ">f4", ">f2", ">u2", ">i4", "?", "S3", "U2", "O", "V0", "V3", "c8", "i1"]
DIMS = [0, 1, 2, 3, 4, 6, 32, 33]
SMALL = st.integers(-3, 70)
MOSTLY_ZERO = st.sampled_from([0, 0, 0, 0, 0, -1])
ANY_INT = st.one_of(SMALL, st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63)]))
fuzz = settings(max_examples=300, deadline=None, derandomize=True)


@st.composite
def arrays(draw: st.DrawFn, dtypes: list[str] = DTYPES, max_dims: int = 5) -> np.ndarray:
    """Any shape, type and layout: strided, backwards, broadcast, unaligned, read-only, a matrix."""
    shape = tuple(draw(st.lists(st.sampled_from(DIMS), max_size=max_dims)))
    while np.prod(shape) > 50_000:
        shape = shape[1:]
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    array = np.zeros(shape, dtype)
    if dtype.kind in "iu":
        array[...] = draw(st.integers(-1, 40)) if dtype.kind == "i" else 1
    layout = draw(st.sampled_from(["plain", "plain", "reversed", "transposed", "broadcast", "unaligned", "locked"]))
    if layout == "reversed" and array.ndim:
        return array[::-1]
    if layout == "transposed":
        return array.T
    if layout == "broadcast":
        return np.broadcast_to(array.reshape(-1)[0], shape) if array.size else array
    if layout == "unaligned" and not dtype.hasobject and dtype.itemsize:
        return np.zeros(array.nbytes + 1, np.uint8)[1:].view(dtype).reshape(shape)
    array.flags.writeable = layout != "locked"
    return array


ANYTHING = st.one_of(arrays(), ANY_INT, st.none(), st.floats(), st.text(max_size=3), st.just([1.0]))


@st.composite
def matrices(draw: st.DrawFn, whole: np.ndarray) -> tuple[np.ndarray | list[np.ndarray], int]:
    """This matrix in one piece or cut into two, mostly where it may be, and the axis of the cut."""
    axis = draw(st.sampled_from([0, 1]))
    at = draw(st.sampled_from([0, 0, 1, 2, 3] if axis == 0 else [0, 0, 8, 16, 1]))
    if not 0 < at < whole.shape[axis]:
        return whole, axis + draw(MOSTLY_ZERO)
    return [np.ascontiguousarray(part) for part in np.split(whole, [at], axis)], axis


# For each kind of codes what n and k must be multiples of, the bits of a code, and whether zeros may be packed.
KINDS = {
    "i8": (1, 1, 8, False),
    "u8": (1, 1, 8, True),
    "e4m3": (1, 1, 8, False),
    "u4": (1, 1, 4, True),
    "lut4": (1, 2, 4, False),
    "gptq4": (8, 8, 4, True),
    "gptq8": (8, 8, 8, True),
    "awq4": (8, 8, 4, True),
}
BYTES = ["i8", "i8", "u8", "u8", "e4m3"]


@st.composite
def coded_arguments(draw: st.DrawFn, n: int, k: int, kinds: list[str]) -> dict[str, Any]:
    """Those of a matrix of codes of this shape, or of the next larger that its kind takes: they fit together."""
    kind = draw(st.sampled_from(kinds))
    n_multiple, k_multiple, bits, packed = KINDS[kind]
    n, k = -(-max(n, 1) // n_multiple) * n_multiple, -(-max(k, 1) // k_multiple) * k_multiple
    words = n_multiple > 1
    block = draw(st.sampled_from([(1, k), (1, 3), (1, 8), (1, 1), *([] if words else [(n, k), (2, 8)])]))
    rows, columns = -(-n // block[0]), -(-k // block[1])
    shape = (columns, rows) if words else (rows, columns)
    code = draw(st.integers(0, 255))
    made: dict[str, Any] = {"kind": kind, "n": n, "k": k, "block": block}
    size = n * -(-k * bits // 8)
    made["codes"] = np.full(size, code, np.uint8).view(np.int32 if words else np.uint8)
    made["scales"] = draw(st.sampled_from([np.ones(shape, "f4"), np.ones(shape, "f2"), np.full(shape, 0x3F80, "u2")]))
    if kind not in ("e4m3", "lut4"):
        zeros = [None, np.full(shape, 7, np.int8), np.full(shape, 200, np.uint8)]
        if packed and block[0] == 1:
            each = 32 // bits
            zeros.append(np.full((columns, n // each) if words else (-(-n // each), columns), code, np.int32))
        made["zeros"] = draw(st.sampled_from(zeros))
    if draw(st.sampled_from([False, False, False, True])):
        made["block_of"] = np.array(draw(st.lists(st.integers(0, columns - 1), min_size=k, max_size=k)), np.int32)
    if kind == "lut4":
        made["levels"] = np.arange(16, dtype=np.float32)
    if draw(st.sampled_from([False, False, True])):
        each = draw(st.integers(1, 5))
        made["scales"] = np.full(shape, code, np.uint8)
        made["nested_levels"] = np.arange(256, dtype=np.float32)
        made["nested_scales"] = np.ones(-(-rows * columns // each), np.float32)
        made |= {"nested_block": each, "nested_offset": 0.5}
    return made


@st.composite
def coded(draw: st.DrawFn, n: int, k: int, kinds: list[str]) -> _core.CodedWeight:
    """A matrix of this shape, or of the next larger that its kind takes."""
    return _core.CodedWeight(**draw(coded_arguments(n, k, kinds)))


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """How rows are rounded to codes."""
    names = ["absmax127", "absmax127.5", "range-as-served", "range", "static-as-served", "static", "none"]
    return {
        "rule": draw(st.sampled_from(names)),
        "scale": draw(st.sampled_from([1.0, 0.01, 1e-45, 3e38, 0.0])),
        "zero": draw(st.sampled_from([0, -128, 127, 128])),
        "threshold": draw(st.sampled_from([0.0, 0.0, 0.5, 1e30, -1.0])),
    }


@st.composite
def good(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A function and arguments whose shapes fit together."""
    m, n, k = (draw(st.sampled_from([0, 1, 2, 13, 33])) for _ in range(3))
    kind = draw(st.sampled_from(["f4", "f2", "u2"]))
    heads, group, head_dim = (draw(st.sampled_from(of)) for of in ([1, 2, 1, 2, 0], [1, 2, 3, 0], [1, 2, 8, 1, 0, 513]))
    low = draw(MOSTLY_ZERO)

    def f(*shape: int) -> np.ndarray:
        return np.ones(shape, np.float32)

    def i(count: int) -> np.ndarray:
        return np.array([draw(st.integers(low, 2 - low)) for _ in range(count)], np.int32)

    cache = {"keys": np.zeros((3, heads, head_dim, 32), kind), "values": np.zeros((3, heads, 32, head_dim), kind)}
    place = {"block_table": i(draw(st.sampled_from([3, 3, 2, 0]))), "first_position": draw(SMALL)}
    table, w = draw(matrices(np.ones((3, n), kind))), draw(matrices(np.ones((n, k), kind)))
    codes = draw(coded(n, k, list(KINDS)))
    rule = draw(rules())

    def rows(m: int, k: int) -> np.ndarray:
        return _core.quantized_rows(m, max(k, 1), outliers=rule["threshold"] > 0)

    def filled(x: np.ndarray) -> np.ndarray:
        """With any bytes."""
        x[...] = draw(st.sampled_from([0, 0, 1, 2, 255]))
        return x

    calls: dict[str, dict[str, Any]] = {
        "embedding": {"out": f(m, n), "ids": i(m), "table": table[0], "axis": table[1]},
        "rmsnorm": {"out": f(m, n), "x": f(m, n), "weight": np.ones(n, kind), "eps": draw(st.floats(width=32))},
        "silu_mul": {"out": f(n), "gate": f(n), "up": f(n)},
        "matmul": {
            "out": f(m, n),
            "x": f(m, k),
            "w": w[0],
            "axis": w[1],
            "gate": f(m, n),
            "residual": f(m, n),
            "bias": np.ones(n, kind),
            "n_begin": draw(st.integers(0, n)),
        },
        "quantize": {"out": rows(m, k), "x": f(m, k), **rule},
        "rmsnorm_quantize": {
            "out": rows(m, k),
            "x": f(m, k),
            "weight": np.ones(k, kind),
            "eps": draw(st.floats(width=32)),
            **rule,
        },
        "matmul_int8": {
            "out": f(m, n),
            "x": filled(rows(m, k)),
            "weight": draw(coded(n, k, BYTES)),
            "gate": f(m, n),
            "residual": f(m, n),
            "bias": np.ones(n, kind),
            "outliers": rule["threshold"] > 0,
            "n_begin": draw(st.integers(0, n)),
        },
        "matmul_coded": {
            "out": f(m, codes.n),
            "x": f(m, codes.k),
            "weight": codes,
            "gate": f(m, codes.n),
            "residual": f(m, codes.n),
            "bias": np.ones(codes.n, kind),
            "n_begin": draw(st.integers(0, codes.n)),
        },
        "round_e4m3": {
            "out": f(m, k),
            "x": f(m, k),
            "scale": draw(st.sampled_from([None, None, 1.0, 3e38, 1e-45, 0.0, -1.0])),
            "group": draw(st.sampled_from([0, 0, 1, 7, 8, 100, -1])),
            "reciprocal": draw(st.booleans()),
        },
        "rope_angles": {"out": f(m, 2 * n), "positions": i(m), "inv_freq": f(n), "factor": draw(st.floats(width=32))},
        "rope": {"out": f(m, 2, n), "x": f(m, 2, n), "angles": f(m, n), "interleaved": draw(st.booleans())},
        "kv_write": {**cache, **place, "k": f(m, heads, head_dim), "v": f(m, heads, head_dim)},
        "attention": {
            **cache,
            **place,
            "out": f(m, heads * group, head_dim),
            "q": f(m, heads * group, head_dim),
            "scale": draw(st.floats(width=32)),
        },
        "read_bandwidth": {"data": f(m, n), "threads": draw(st.integers(-1, 4)), "pattern": "2-streams"},
        "read_all": {"data": f(m, n), "pattern": "4-streams-prefetch"},
    }
    name = draw(st.sampled_from(sorted(calls)))
    return name, calls[name]


CHANGES = st.one_of(st.just([]), st.lists(st.tuples(st.integers(0, 99), ANYTHING), max_size=2))


@settings(fuzz, max_examples=1000)  # of some twenty functions
@given(good(), CHANGES, st.booleans())
def test_plain_functions(call: tuple[str, dict[str, Any]], changes: list[tuple[int, Any]], scalar: bool) -> None:
    name, arguments = call
    for which, value in changes:
        key = list(arguments)[which % len(arguments)]
        if key != "threads":
            arguments[key] = value
    with suppress(*ALLOWED):
        getattr(_core, name)(**arguments, isa="scalar" if scalar else "")


@fuzz
@given(st.integers(1, 40), st.integers(1, 40), st.data(), CHANGES)
def test_matrices_of_codes(n: int, k: int, data: st.DataObject, changes: list[tuple[int, Any]]) -> None:
    """One that is taken holds the same numbers for every tier: rows of the identity bring them out as they are."""
    arguments = data.draw(coded_arguments(n, k, list(KINDS)))
    for which, value in changes:
        arguments[list(arguments)[which % len(arguments)]] = value
    try:
        weight = _core.CodedWeight(**arguments)
    except ALLOWED:
        assert changes
        return
    x = np.eye(min(weight.k, 9), weight.k, weight.k // 2, dtype=np.float32)
    found = []
    for isa in ("scalar", ""):
        for rows in (x, x[:1]):
            found.append(np.empty((len(rows), weight.n), np.float32))
            _core.matmul_coded(found[-1], rows, weight, isa=isa)
    np.testing.assert_array_equal(found[2], found[0])
    np.testing.assert_array_equal(found[3], found[1])
    np.testing.assert_array_equal(found[1], found[0][:1])


NAMES = st.sampled_from([*"abcdeabcdeabcdeabcde", "nosuch"])
WIDTHS = st.sampled_from([4, 4, 4, 4, 4, 4, 4, 8, 3])
HOLDS = st.sampled_from([{}, {}, {}, {"quantized": True}, {"quantized": True, "outliers": True}])


@st.composite
def recordings(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A call that records something, with names and shapes that often fit."""
    kind = draw(st.sampled_from(["f4", "f2", "u2"]))
    width, other = draw(WIDTHS), draw(WIDTHS)
    heads, head_dim = draw(st.sampled_from([(1, 4), (2, 2), (4, 1), (1, 2), (2, 4), (0, 4)]))
    cache = {"keys": np.zeros((3, heads, head_dim, 32), kind), "values": np.zeros((3, heads, 32, head_dim), kind)}
    table, w = draw(matrices(np.ones((4, width), kind))), draw(matrices(np.ones((width, other), kind)))
    rule = draw(rules())
    maybe = st.one_of(st.none(), st.none(), st.none(), NAMES)
    out, x = draw(NAMES), draw(NAMES)
    calls: dict[str, dict[str, Any]] = {
        "buffer": {"name": out, "width": draw(st.one_of(WIDTHS, ANY_INT)), "outputs": draw(st.booleans())},
        "embedding": {"out": out, "table": table[0], "axis": table[1]},
        "rmsnorm": {"out": out, "x": x, "weight": np.ones(width, kind), "eps": 1e-5},
        "matmul": {
            "out": out,
            "x": x,
            "w": w[0],
            "axis": w[1],
            "gate": draw(maybe),
            "residual": draw(maybe),
        },
        "quantize": {"out": out, "x": x, **rule},
        "rmsnorm_quantize": {"out": out, "x": x, "weight": np.ones(width, kind), "eps": 1e-5, **rule},
        "matmul_int8": {
            "out": out,
            "x": x,
            "weight": draw(coded(width, other, BYTES)),
            "gate": draw(maybe),
            "residual": draw(maybe),
        },
        "matmul_coded": {
            "out": out,
            "x": x,
            "weight": draw(coded(width, other, list(KINDS))),
            "gate": draw(maybe),
            "residual": draw(maybe),
        },
        "round_e4m3": {"out": out, "x": x, "group": draw(st.sampled_from([0, 3, -1]))},
        "rope_angles": {"out": out, "inv_freq": np.ones(width // 2, np.float32), "factor": 1.0},
        "rope": {"out": out, "x": x, "angles": draw(NAMES), "interleaved": draw(st.booleans())},
        "kv_write": {**cache, "k": out, "v": x},
        "attention": {**cache, "out": out, "q": x, "scale": 1.0},
        "select_rows": {"out": out, "x": x},
    }
    name = draw(st.sampled_from(sorted(calls)))
    return name, calls[name]


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    """A batch that often fits: one or two sequences, sometimes with something wrong about it."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=2))
    tokens = sum(lengths) - draw(MOSTLY_ZERO)
    low = draw(MOSTLY_ZERO)

    def i(values: list[int]) -> np.ndarray:
        return np.array(values, np.int32)

    batch: dict[str, Any] = {
        "token_ids": i([draw(st.integers(low, 3)) for _ in range(tokens)]),
        "lengths": i(lengths),
        "starts": i([draw(st.integers(low, 40)) for _ in lengths]),
        "block_tables": i([draw(st.integers(low, 2)) for _ in range(3 * len(lengths))]).reshape(-1, 3),
        "output_rows": i(draw(st.lists(st.integers(low, tokens - 1), max_size=4))),
        "threads": draw(st.sampled_from([1, 2, 3, 0])),
        "first": -draw(MOSTLY_ZERO),
    }
    if draw(st.integers(0, 9)) == 0:
        batch[draw(st.sampled_from(["token_ids", "lengths", "starts", "block_tables", "output_rows", "last"]))] = draw(
            st.one_of(arrays(["i4"], 3), ANYTHING)
        )
    return batch


@fuzz
@given(
    st.lists(st.tuples(WIDTHS, st.sampled_from([False, False, False, True]), HOLDS), min_size=5, max_size=5),
    st.lists(st.one_of(recordings(), batches()), min_size=1, max_size=25),
)
def test_programs(buffers: list[tuple[int, bool, dict[str, bool]]], actions: list[Any]) -> None:
    program = _core.Program()
    for name, (width, outputs, holds) in zip("abcde", buffers, strict=True):
        program.buffer(name, width, outputs=outputs, **holds)
    for action in actions:
        with suppress(*ALLOWED):
            if isinstance(action, dict):
                program.run(**action)
            else:
                getattr(program, action[0])(**action[1])
        for name in "abcde":
            assert program.read(name).ndim == 2
