"""Tiny checkpoints in every quantized scheme: logits, single layers, and equal bits however a step is run.

The definition is tests/helpers/numpy_quantized.py, in float64; tests/oracle/README.md says who wrote the checkpoints
and how the texts were chosen, so that no activation lies where float32 might round it to another code.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import inferno
from inferno.analysis import analyze_folder
from inferno.backend import Backend
from inferno.errors import CheckpointError
from inferno.layers import CodedLinear, record_inputs
from inferno.models import Model, load_model
from inferno.models.llama import linear_layers
from inferno.models.weights import Weights
from inferno.program import Batch, Program
from model_edits import drop_tensors, edit_config, rename_tensors
from numpy_llama import U
from quantized_cases import CASES
from quantized_references import NUMERICS, exact_logits, float32_bound, has_tie, opened, reference
from tiny import random_normal, random_tokens

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
both_numerics = pytest.mark.parametrize("numerics", NUMERICS)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantized")


@every_case
@both_numerics
def test_logits_equal_the_reference(case, isa, numerics, scratch):
    known = reference(case)
    llm = inferno.LLM(case.folder(scratch), threads=1, ctx_size=64, kv_cache_type="f32", isa=isa, numerics=numerics)
    logits = llm.logits(known.token_ids).astype(np.float64)
    bound = float32_bound(case, numerics, scratch)
    assert np.abs(logits - known.logits[numerics]).max() <= bound
    if has_tie(case, numerics, scratch):
        # The bound is wide; that the name changes the rule shows against the other one's, which is not.
        assert np.abs(logits - known.logits["vllm"]).max() > 10 * float32_bound(case, "vllm", scratch)
    else:
        assert np.abs(logits - exact_logits(case, numerics, scratch)).max() <= bound


heads = pytest.mark.parametrize("case", [case for case in CASES if "head" in case.name], ids=lambda case: case.name)


@heads
def test_a_quantized_head_is_used_though_the_config_ties_it(case, isa, tmp_path, scratch):
    """What is stored counts: the embedding serves as head only where no head is stored, in whatever form."""
    folder = shutil.copytree(case.folder(scratch), tmp_path / "tied")
    edit_config(tie_word_embeddings=True)(folder)
    known = reference(case)
    models = (inferno.LLM(path, ctx_size=64, threads=1, isa=isa) for path in (case.folder(scratch), folder))
    untied, tied = (llm.logits(known.token_ids) for llm in models)
    np.testing.assert_array_equal(tied, untied)


@heads
@pytest.mark.parametrize("table", ["lm_head", "model.embed_tokens"])
def test_one_quantized_table_cannot_serve_as_both(case, table, tmp_path, scratch):
    """Stored as the head, or as the embedding."""
    folder = shutil.copytree(case.folder(scratch), tmp_path / "tied")
    edit_config(tie_word_embeddings=True)(folder)
    drop_tensors("model.embed_tokens.weight")(folder)
    rename_tensors(lambda name: name.replace("lm_head.", f"{table}."))(folder)
    head = r"must hold model.embed_tokens.weight; got a quantized head alone, which cannot serve as embedding"
    embedding = r"unexpected model.embed_tokens..* \(the embedding must be stored in F32, F16 or BF16\)"
    with pytest.raises(CheckpointError, match=head if table == "lm_head" else embedding):
        load_model(folder, ctx_size=64)


def awkward_inputs(k: int, seed: int) -> np.ndarray:
    """float32 (24, k): rows of many sizes, of zeros, of one number, of one sign, with ties, outliers and extremes."""
    x = random_normal((seed, k), (24, k)).astype(np.float32)
    x *= np.float32(2) ** np.arange(-8, 4).repeat(2)[:, None].astype(np.float32)
    column = np.arange(k)
    x[0] = 0
    x[1] = -0.75
    x[2] = np.abs(x[2])
    x[3] = -np.abs(x[3])
    x[4] = column % 255 - 127  # under absmax / 127 each is a code
    x[5] = column % 254 - 126.5  # and each of these is a tie
    x[5, 0] = 127
    # Ties but for the rounding of scale and quotient, which tells x / s from x * (1 / s):
    x[6] = (column % 250 - k // 2 + 0.5) * 0.01
    x[6, 0] = 1.27
    x[7] = x[6]
    x[7, 1] = -1.28
    x[8] = (17 + 2 * (column % 8)) / 16 * 2.0 ** (column % 8) * 0.1  # between two of e4m3
    x[8, ::16] = 44.8
    x[9, ::5] *= 1000
    x[10, 1:] = 0
    x[11, :2] = [1e-30, -1e-30]
    return x


def run_layer(layer: CodedLinear, x: np.ndarray, isa: str, numerics: str) -> np.ndarray:
    """layer(x), through the backend, which takes x for the table of an embedding."""
    backend = Backend(isa, numerics)
    backend.buffer("x", layer.k)
    backend.buffer("out", layer.n)
    backend.embedding("x", x)
    (inputs,) = record_inputs(backend, "x", [layer])
    layer.record(backend, "out", inputs)
    program = Program(backend.program, 1)
    program.run(Batch.of_one(range(len(x)), 0, np.zeros(1, np.int32), []))
    return program.read("out")


@every_case
@both_numerics
def test_every_layer_rounds_to_the_same_codes(case, isa, numerics, scratch):
    """On the very same float32 inputs, ties included.

    What is left is the rounding of each weight (u) and of a sum of k products in any order (at most k u of the sum of
    their magnitudes), of scales, bias and result: a few u of the same. A code more would be off by 1e3 times that.
    """
    report = analyze_folder(case.folder(scratch))
    weights, definition = Weights(report.checkpoint, report.schemes), opened(case, numerics, scratch)
    assert report.schemes
    for seed, (name, (n, k, bias)) in enumerate(linear_layers(report.config).items()):
        if name not in report.schemes:
            continue
        layer = weights.linear(name, n, k, bias)
        x = awkward_inputs(k, seed)
        if layer.activation is not None and layer.activation.scale is not None:
            x[12] = (np.arange(k) - k // 2 + 0.5) * layer.activation.scale
        w = definition.weights[f"{name}.weight"]
        b = definition.weights.get(f"{name}.bias", np.zeros(n))
        rounded = definition.rules[name](x).values if name in definition.rules else x.astype(np.float64)
        bound = (k + 8) * U * (np.abs(rounded) @ np.abs(w).T + np.abs(b))
        difference = np.abs(run_layer(layer, x, isa, numerics) - (rounded @ w.T + b))
        assert np.all(difference <= bound), name


def in_chunks(model: Model, token_ids: list[int], sizes: list[int]) -> np.ndarray:
    sequence = model.new_sequence()
    ends = np.cumsum(sizes)
    rows = [model.forward(sequence, token_ids[end - size : end], "all") for size, end in zip(sizes, ends, strict=True)]
    sequence.release()
    return np.concatenate(rows)


@every_case
@both_numerics
def test_threads_chunks_and_company_change_no_bit(case, isa, numerics, scratch):
    """Also beside a sequence with large and small activations: nothing is shared between rows."""
    ids = random_tokens(case.overrides["vocab_size"], 75, 3)
    folder = case.folder(scratch)
    models = [
        load_model(folder, ctx_size=256, threads=threads, kv_cache_type="f32", isa=isa, numerics=numerics)
        for threads in (1, 2)
    ]
    whole = in_chunks(models[0], ids, [75])
    assert np.isfinite(whole).all()
    for model in models:
        for sizes in ([75], [1] * 75, [33, 1, 41], [2] * 37 + [1]):
            np.testing.assert_array_equal(in_chunks(model, ids, sizes), whole)
        np.testing.assert_array_equal(beside_others(model, ids), whole)


def beside_others(model: Model, token_ids: list[int]) -> np.ndarray:
    """The logits of `token_ids`, in one batch with two other texts, one before and one after."""
    texts = [token_ids[::-1][:40], token_ids, token_ids[5:6] * 31]
    sequences = [model.new_sequence() for _ in texts]
    for sequence, text in zip(sequences, texts, strict=True):
        sequence.reserve(len(text))
    lengths = [len(text) for text in texts]
    batch = Batch(
        np.concatenate(texts).astype(np.int32),
        np.array(lengths, np.int32),
        np.zeros(3, np.int32),
        np.stack([sequence.block_table for sequence in sequences]),
        np.arange(lengths[0], lengths[0] + lengths[1], dtype=np.int32),
    )
    model.program.run(batch)
    for sequence in sequences:
        sequence.release()
    return model.program.read("logits")


def test_every_kind_of_codes_is_a_case(scratch):
    """A kernel that no checkpoint reaches would be compared with nothing here."""
    kinds = set()
    for case in CASES:
        report = analyze_folder(case.folder(scratch))
        weights = Weights(report.checkpoint, report.schemes)
        for name, (n, k, bias) in linear_layers(report.config).items():
            if name in report.schemes:
                layer = weights.linear(name, n, k, bias)
                kinds.add((layer.weight.kind, layer.operation))
    assert kinds >= {(kind, "matmul_coded") for kind in ("u8", "u4", "lut4", "e4m3", "gptq4", "gptq8", "awq4")}
    assert kinds >= {("i8", "matmul_int8"), ("u8", "matmul_int8")}
