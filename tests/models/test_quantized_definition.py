"""The tests' definition of every quantized scheme against the libraries that wrote the stored checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numpy_codes import Stored, awq_weight, gptq_weight
from numpy_llama import U
from quantized_cases import CASES
from quantized_references import NUMERICS, exact_logits, float32_bound, has_tie, numpy_llama, reference
from quantized_writers import pack
from weights_digest import weights_digest

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
both_numerics = pytest.mark.parametrize("numerics", NUMERICS)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantized")


@every_case
def test_weights_are_those_of_the_reference(case, scratch):
    digest = weights_digest(case.folder(scratch) / "model.safetensors")
    assert digest == reference(case).metadata["weights_sha256"]


@every_case
@both_numerics
def test_numpy_definition_equals_the_libraries(case, numerics, scratch):
    """Two float64 programs, up to float32's rounding of what is stored, and of bitsandbytes' weights."""
    stored = reference(case).logits[numerics]
    rounding = U * np.abs(stored) + (1e-6 if case.name.startswith("bnb") else 1e-11)
    if has_tie(case, numerics, scratch):
        rounding = np.full(stored.shape, float32_bound(case, numerics, scratch))
    assert np.all(np.abs(exact_logits(case, numerics, scratch) - stored) <= rounding)


@every_case
def test_bound_is_sane(case, scratch):
    """The library's own float32 run keeps it, no draw turns a code, and the other numerics is far outside."""
    metadata = reference(case).metadata
    bound = float32_bound(case, "vllm", scratch)
    assert bound < 1e-4
    written = float32_bound(case, "compressed-tensors", scratch)
    assert metadata.get("float32_distance", 0.0) <= written
    assert metadata.get("linears_distance", 0.0) <= 1e-5
    if has_tie(case, "compressed-tensors", scratch):
        assert metadata["numerics_distance"] > 100 * bound
    else:
        assert written < 1e-4


@pytest.mark.parametrize("name", ["bnb_int8_outliers", "bnb_int8_head"])
def test_outliers_occur(name, scratch):
    """In some rows, in columns that are none in other rows: each row must decide for itself."""
    (case,) = [case for case in CASES if case.name == name]
    model = numpy_llama(case, "vllm", scratch)
    seen = []
    rules = dict(model.rules)

    def watching(layer):
        def rule(x):
            seen.append(np.abs(x) >= rules[layer].keywords["threshold"])
            return rules[layer](x)

        return rule

    model.rules = {layer: watching(layer) for layer in rules}
    model.logits(reference(case).token_ids)
    mixed = [outliers.any(axis=0) & ~outliers.all(axis=0) for outliers in seen]
    assert any(columns.any() for columns in mixed)
    assert any(not outliers.any() for outliers in seen)


def test_words_of_the_packers():
    """Of the codes 0 to 7: GPTQ and compressed-tensors put the first in the lowest bits, AutoAWQ 0 2 4 6 1 3 5 7."""
    w = np.arange(8.0)[None].repeat(8, axis=0)
    unit = {"scales": Stored("F16", np.ones((1, 8), np.float16))}
    (word,) = pack(np.arange(8)[None], 4).ravel()
    assert word == 0x76543210
    zeros, ones = (np.full((1, 1), value, np.int32) for value in (0, 0x11111111))
    gptq = {**unit, "qweight": Stored("I32", np.full((1, 8), word)), "qzeros": Stored("I32", zeros)}
    settings = {"bits": 4, "group_size": 8}
    np.testing.assert_array_equal(gptq_weight(gptq, settings, 8, 8), w - 1)
    np.testing.assert_array_equal(gptq_weight(gptq, {**settings, "checkpoint_format": "gptq_v2"}, 8, 8), w)
    words = np.full((8, 1), 0x75316420, np.int32)
    awq = {**unit, "qweight": Stored("I32", words), "qzeros": Stored("I32", ones)}
    np.testing.assert_array_equal(awq_weight(awq, settings, 8, 8), w.T - 1)
