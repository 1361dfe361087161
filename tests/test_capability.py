"""The capability table, cell by cell: what it promises runs, and what it refuses is refused everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from code_rows import make_rows, read_rows
from coded_weights import make_coded
from inferno import _core
from inferno.analysis import analyze_folder, make_plan
from inferno.capability import (
    FALLBACK_COSTS,
    KERNELS,
    NO_WEIGHT,
    OPERATIONS,
    SCHEME_REFUSALS,
    WEIGHT_TYPES,
    WEIGHTED,
    Kernel,
    Refusal,
    cells,
    choose,
    variants,
)
from inferno.checkpoint.dtypes import DTYPES
from inferno.errors import UnsupportedError, UsageError
from inferno.kv_cache import KV_CACHE_TYPES
from inferno.models import load_model
from kernel_arrays import stored
from meta_writer import write_meta
from model_edits import Tensors, edit_tensors
from tiny import stored_tensors, tiny_config, write_tiny

TIERS = list(_core.tiers())
CELLS = list(cells(variants()))
STORED = ("F32", "F16", "BF16")
# They measure the machine; no model asks for them.
PROBES = {"read_all", "fma_peak", "madd_peak"}
# Tensors of the tiny model whose type decides what an operation is asked for.
READ_BY = {
    "embedding": "model.embed_tokens.weight",
    "rmsnorm": "model.norm.weight",
    "matmul": "model.layers.0.mlp.up_proj.weight",
}


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def empty(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def numbers(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def cache(dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, 1, 4, _core.KV_BLOCK), dtype), np.zeros((1, 1, _core.KV_BLOCK, 4), dtype)


def embedding(w: Callable[..., np.ndarray], isa: str) -> None:
    out = empty(2, 9)
    _core.embedding(out, numbers([1, 0]), w(3, 9), isa=isa)
    assert (out == 1).all()


def rmsnorm(w: Callable[..., np.ndarray], isa: str) -> None:
    out = empty(2, 9)
    _core.rmsnorm(out, ones(2, 9), w(9), 3.0, isa=isa)
    np.testing.assert_allclose(out, 0.5, rtol=1e-6)  # 1 / sqrt(1 + 3)


def matmul(w: Callable[..., np.ndarray], isa: str) -> None:
    out = empty(2, 5)
    _core.matmul(out, ones(2, 9), w(5, 9), bias=w(5), isa=isa)
    assert (out == 10).all()


def quantize(w: Callable[..., np.ndarray], isa: str) -> None:
    rows = _core.quantized_rows(2, 9)
    _core.quantize(rows, 3 * ones(2, 9), rule="absmax127", isa=isa)
    assert (read_rows(rows, 9).codes == 127).all()


def rmsnorm_quantize(w: Callable[..., np.ndarray], isa: str) -> None:
    rows = _core.quantized_rows(2, 9)
    _core.rmsnorm_quantize(rows, ones(2, 9), w(9), 3.0, rule="static", scale=0.25, isa=isa)
    assert (read_rows(rows, 9).codes == 2).all()  # 1 / sqrt(1 + 3)


def matmul_int8(kind: str, isa: str) -> None:
    out, coded = empty(2, 8), make_coded(kind, 8, 8, exact=True)
    _core.matmul_int8(out, make_rows(ones(2), ones(2, 8)), coded.weight, isa=isa)
    assert (out == coded.w.sum(axis=1)).all()


def matmul_coded(kind: str, isa: str) -> None:
    out, coded = empty(2, 8), make_coded(kind, 8, 8, exact=True)
    _core.matmul_coded(out, ones(2, 8), coded.weight, isa=isa)
    assert (out == coded.w.sum(axis=1)).all()


def round_e4m3(w: Callable[..., np.ndarray], isa: str) -> None:
    out = empty(2, 9)
    _core.round_e4m3(out, 3 * ones(2, 9), isa=isa)
    assert (out == 3).all()


def rope_angles(w: Callable[..., np.ndarray], isa: str) -> None:
    out = empty(1, 4)
    _core.rope_angles(out, numbers([0]), ones(2), 2.0, isa=isa)
    assert out.tolist() == [[2, 2, 0, 0]]


def rope(*, interleaved: bool) -> Callable[[Callable[..., np.ndarray], str], None]:
    def run(w: Callable[..., np.ndarray], isa: str) -> None:
        out, x = empty(1, 1, 4), np.arange(4, dtype=np.float32).reshape(1, 1, 4)
        _core.rope(out, x, numbers([[1, 1, 0, 0]]).astype(np.float32), interleaved=interleaved, isa=isa)
        assert out.ravel().tolist() == ([0, 2, 1, 3] if interleaved else [0, 1, 2, 3])

    return run


def kv_write(w: Callable[..., np.ndarray], isa: str) -> None:
    one = w(1)[0]
    keys, values = cache(one.dtype)
    _core.kv_write(keys, values, numbers([0]), 3, ones(1, 1, 4), ones(1, 1, 4), isa=isa)
    assert (keys[0, 0, :, 3] == one).all()
    assert (values[0, 0, 3] == one).all()
    assert np.count_nonzero(keys) == np.count_nonzero(values) == 4


def attention(w: Callable[..., np.ndarray], isa: str) -> None:
    one = w(1)[0]
    keys, values = cache(one.dtype)
    values[0, 0, :2] = one
    out = empty(1, 1, 4)
    _core.attention(out, ones(1, 1, 4), keys, values, numbers([0]), 1, 1.0, isa=isa)
    np.testing.assert_allclose(out, 1, rtol=1e-6)


def silu_mul(w: Callable[..., np.ndarray], isa: str) -> None:
    out = empty(9)
    _core.silu_mul(out, ones(9), 2 * ones(9), isa=isa)
    np.testing.assert_allclose(out, 2 / (1 + math.exp(-1)), rtol=1e-6)


def group_max(w: Callable[..., np.ndarray], isa: str) -> None:
    maxima = empty(1)
    assert _core.group_max(maxima, np.arange(9, dtype=np.float32), isa=isa) == (8, False)
    assert maxima[0] == 8


def collect(w: Callable[..., np.ndarray], isa: str) -> None:
    ids = numbers([-1] * 9)
    assert _core.collect(ids, np.arange(9, dtype=np.float32), 8 * ones(1), 7, isa=isa) == 2
    assert ids[:2].tolist() == [7, 8]


def exp_weights(w: Callable[..., np.ndarray], isa: str) -> None:
    weights, sums = empty(9), np.zeros(1, np.uint64)
    _core.exp_weights(weights, sums, ones(9), 1.0, 1.0, isa=isa)
    assert (weights == 1).all()
    assert sums[0] == 9 << 40  # mass is counted in 2^-40


# Operations whose weights are codes, not stored numbers: they take a kind of code.
RUNS_CODED: dict[str, Callable[[str, str], None]] = {"matmul_int8": matmul_int8, "matmul_coded": matmul_coded}
RUNS: dict[str, Callable[[Callable[..., np.ndarray], str], None]] = {
    "embedding": embedding,
    "rmsnorm": rmsnorm,
    "matmul": matmul,
    "rope_angles": rope_angles,
    "rope_half_split": rope(interleaved=False),
    "rope_interleaved": rope(interleaved=True),
    "kv_write": kv_write,
    "attention": attention,
    "quantize": quantize,
    "rmsnorm_quantize": rmsnorm_quantize,
    "round_e4m3": round_e4m3,
    "silu_mul": silu_mul,
    "group_max": group_max,
    "collect": collect,
    "exp_weights": exp_weights,
}


def test_the_table_is_whole() -> None:
    assert len(CELLS) == len(OPERATIONS) * (1 + len(WEIGHT_TYPES)) * len(TIERS)
    assert len({cell[:3] for cell in CELLS}) == len(CELLS)
    assert set(DTYPES) <= set(WEIGHT_TYPES)
    for _, _, _, what in CELLS:
        assert (what.name in KERNELS.values()) if isinstance(what, Kernel) else len(what.reason) > 10


def test_kernels_are_those_of_the_extension() -> None:
    for tier, kernels in _core.kernel_variants().items():
        assert set(kernels) - PROBES == set(KERNELS.values()), tier
        assert kernels.keys() >= PROBES
    assert variants() == _core.kernel_variants()


def test_every_fallback_has_its_cost_and_no_other_has() -> None:
    fallbacks = set()
    for operation, weight_type, tier, what in CELLS:
        if isinstance(what, Kernel):
            assert what.tier == _core.kernel_variants()[tier][what.name]
            assert (what.cost is not None) == (what.tier != tier), (operation, weight_type, tier)
            if what.cost is not None:
                fallbacks.add(what.name)
    assert fallbacks == set(FALLBACK_COSTS), "a cost of what is no fallback any more"


@pytest.mark.parametrize(("operation", "weight_type"), KERNELS)
def test_what_the_table_promises_runs(operation: str, weight_type: str, isa: str) -> None:
    assert isinstance(choose(operation, weight_type, isa, variants()), Kernel)
    if operation in RUNS_CODED:
        RUNS_CODED[operation](weight_type.lower(), isa)
        return
    kind = "f32" if weight_type == NO_WEIGHT else weight_type.lower()
    # The cache, which is ours, lies aligned; weights lie as their file has them.
    RUNS[operation](lambda *shape: stored(ones(*shape), kind, 0 if operation in ("kv_write", "attention") else 1), isa)


# An array of U16 is one of BF16: the type's name tells, which the binding does not see.
@pytest.mark.parametrize("operation", [operation for operation in WEIGHTED if operation not in RUNS_CODED])
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in (*STORED, "U16")])
def test_the_binding_refuses_what_the_table_refuses(operation: str, dtype: str, isa: str) -> None:
    assert isinstance(choose(operation, dtype, isa, variants()), Refusal)
    numpy = DTYPES[dtype].numpy or np.dtype(np.uint8)
    with pytest.raises(ValueError, match=r"must be float32, float16 or uint16 \(BF16\)"):
        RUNS[operation](lambda *shape: np.ones(shape, numpy), isa)


@pytest.mark.parametrize("operation", READ_BY)
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in STORED])
def test_a_model_stored_so_is_refused_with_the_reason(operation: str, dtype: str, tmp_path: Path) -> None:
    def retype(tensors: Tensors) -> None:
        _, shape, _ = tensors[READ_BY[operation]]
        tensors[READ_BY[operation]] = (dtype, shape, bytes(math.prod(shape) * DTYPES[dtype].bits // 8))

    edit_tensors(retype)(write_tiny(tmp_path, {"intermediate_size": 80}))
    errors = [finding.error for finding in analyze_folder(tmp_path).errors]
    assert [type(error) for error in errors] == [UnsupportedError]
    for tier in TIERS:
        cell = choose(operation, dtype, tier, variants())
        assert isinstance(cell, Refusal)
        assert f"dtype of {READ_BY[operation]} must be one of F32, F16, BF16; got {dtype}: {cell.reason}; " in str(
            errors[0]
        )


@pytest.mark.parametrize("dtype", [dtype for dtype in WEIGHT_TYPES if dtype not in STORED])
def test_a_cache_of_another_type_is_refused(dtype: str, tmp_path: Path) -> None:
    assert {name.upper() for name in KV_CACHE_TYPES} == set(STORED)
    for tier in TIERS:
        for operation in ("kv_write", "attention"):
            assert isinstance(choose(operation, dtype, tier, variants()), Refusal)
    with pytest.raises(UsageError, match="kv_cache_type: must be one of f32, f16, bf16"):
        make_plan(analyze_folder(write_tiny(tmp_path)), kv_cache_type=dtype.lower())


@pytest.mark.parametrize("scheme", SCHEME_REFUSALS)
def test_no_operation_takes_a_scheme(scheme: str) -> None:
    """That such models are refused is the zoo's, which has one of each."""
    for operation in OPERATIONS:
        for tier in TIERS:
            assert isinstance(choose(operation, scheme, tier, variants()), Refusal)
    cell = choose("matmul", scheme, "scalar", variants())
    assert isinstance(cell, Refusal)
    assert cell.reason == SCHEME_REFUSALS[scheme]


@pytest.mark.parametrize(
    ("operation", "weight_type", "reason"),
    [
        ("silu_mul", "BF16", "the operation reads nothing from storage"),
        ("silu_mul", "gptq", "the operation reads nothing from storage"),
        ("matmul", NO_WEIGHT, "the operation reads from storage, and works on nothing without"),
        ("matmul", "I8", "I8 says nothing of the numbers that it stands for without a scheme"),
        ("matmul", "F64", "float64 weights are not implemented, and no checkpoint needs them; save the model in F32"),
        ("matmul", "Q4", "Q4 says nothing of the numbers that it stands for without a scheme"),
    ],
)
def test_reasons(operation: str, weight_type: str, reason: str) -> None:
    assert choose(operation, weight_type, "scalar", variants()) == Refusal(reason)


def test_what_does_not_exist_is_no_cell() -> None:
    with pytest.raises(KeyError, match="convolution"):
        choose("convolution", "F32", "scalar", variants())
    with pytest.raises(KeyError, match="avx9"):
        choose("matmul", "F32", "avx9", variants())


# What the program calls both orders of pairs.
RECORDED = {"rope_half_split": "rope", "rope_interleaved": "rope"}


# Meta's layout has neither biases nor tied heads.
@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("huggingface", {}),
        ("huggingface", {"attention_bias": True, "mlp_bias": True, "num_hidden_layers": 3}),
        ("huggingface", {"tie_word_embeddings": True, "num_hidden_layers": 1}),
        ("meta", {"intermediate_size": 80}),
    ],
    ids=["plain", "biases", "tied", "meta"],
)
def test_the_plan_is_what_is_recorded(layout: str, config: dict[str, Any], isa: str, tmp_path: Path) -> None:
    if layout == "meta":
        full = tiny_config(config)
        write_meta(tmp_path, stored_tensors(full, "BF16", 0), full, "BF16")
    else:
        write_tiny(tmp_path, config, "BF16")
    model = load_model(tmp_path, threads=1, ctx_size=32, isa=isa)
    planned = [binding.operation for binding in model.plan.bindings]
    assert ("rope_interleaved" in planned) == (layout == "meta")
    recorded = [operation for operation in model.program.operations if operation != "select_rows"]  # moves rows alone
    assert [RECORDED.get(operation, operation) for operation in planned] == recorded
    for binding in model.plan.bindings:
        assert binding.kernel == choose(binding.operation, binding.weight_type, isa, variants())
