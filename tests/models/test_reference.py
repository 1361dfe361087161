"""Tiny random checkpoints: logits against transformers' float64 run, for every ISA and KV cache type.

The bounds come from the model under test, not from what an implementation happens to give: see `float32_bound` and
`rounding`. tests/oracle/README.md says how the references were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import inferno
from inferno.config import LlamaConfig
from inferno.rope import rope_frequencies
from numpy_llama import NumpyLlama, float32_error
from tiny import tiny_weights, write_tiny
from tiny_cases import CASES, Case
from weights_digest import weights_digest

REFERENCES = Path(__file__).parent.parent / "data" / "references"
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@dataclass(frozen=True)
class Reference:
    rows: np.ndarray
    logits: np.ndarray
    inv_freq: np.ndarray
    attention_factor: float
    metadata: dict[str, object]


@cache
def reference(case: Case) -> Reference:
    with np.load(REFERENCES / f"{case.name}.npz") as stored:
        assert stored["token_ids"].tolist() == case.token_ids
        metadata = json.loads(str(stored["metadata"]))
        factor = float(stored["attention_factor"])
        return Reference(stored["rows"], stored["logits"], stored["inv_freq"], factor, metadata)


@cache
def numpy_llama(case: Case, kv_cache_type: str = "f32") -> NumpyLlama:
    """With transformers' frequencies: those of Inferno are under test."""
    known = reference(case)
    weights = tiny_weights(case.config, case.dtype, case.seed)
    return NumpyLlama(case.config, weights, known.inv_freq, known.attention_factor, kv_cache_type)


@cache
def exact_logits(case: Case, kv_cache_type: str = "f32") -> np.ndarray:
    return numpy_llama(case, kv_cache_type).logits(case.token_ids)


@cache
def float32_bound(case: Case) -> float:
    """Twice the largest error among four runs in which every operation errs as float32 may (numpy_llama.py).

    Twice, because an implementation is one more run, and the largest of some 10,000 errors of one distribution varies
    by less than that from run to run. It comes to 3e-5 to 4e-4 where logits have a standard deviation of 2.
    """
    return 2 * float32_error(numpy_llama(case), case.token_ids, exact_logits(case))


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


@pytest.fixture
def inferno_logits(case: Case, isa: str, kv_cache_type: str, tmp_path: Path) -> np.ndarray:
    """float64 [tokens, vocab_size] of Inferno's float32 logits."""
    folder = write_tiny(tmp_path / case.name, case.overrides, case.dtype, case.seed)
    llm = inferno.LLM(folder, threads=1, ctx_size=case.ctx_size, kv_cache_type=kv_cache_type, isa=isa)
    logits = llm.logits(case.token_ids)
    assert logits.dtype == np.float32
    assert logits.shape == (case.ctx_size, case.config["vocab_size"])
    return logits.astype(np.float64)


@every_case
def test_weights_are_those_of_the_reference(case, tmp_path):
    folder = write_tiny(tmp_path, case.overrides, case.dtype, case.seed)
    assert weights_digest(folder / "model.safetensors") == reference(case).metadata["weights_sha256"]


@every_case
def test_frequencies_are_those_of_transformers(case, tmp_path):
    """Up to the last bit of one float32 power, which is torch's own; float32_error allows for as much."""
    known = reference(case)
    config = LlamaConfig.from_folder(write_tiny(tmp_path, case.overrides, case.dtype, case.seed))
    table = rope_frequencies(config.rope, config.head_dim, config.max_position_embeddings, case.ctx_size)
    assert np.all(np.abs(table.inv_freq - known.inv_freq) <= np.spacing(known.inv_freq))
    assert table.attention_factor == pytest.approx(known.attention_factor, rel=1e-15)


@every_case
def test_numpy_definition_equals_transformers(case):
    """Two float64 programs: all that is left is the rounding of the stored logits to float32, and 1e-11 of float64."""
    known = reference(case)
    rounding = 2.0**-24 * np.abs(known.logits) + 1e-11
    assert np.all(np.abs(exact_logits(case)[known.rows] - known.logits) <= rounding)


@every_case
def test_bound_is_sane(case):
    """transformers' own float32 run keeps it, and whoever ignores the RoPE type fails it by far."""
    metadata = reference(case).metadata
    assert metadata["float32_distance"] <= float32_bound(case) < 1e-3
    scaled = any(f in case.name for f in ("linear", "beyond", "llama3", "yarn", "longrope"))
    assert (metadata["plain_rope_distance"] > 1000 * float32_bound(case)) == scaled


@every_case
@pytest.mark.parametrize("kv_cache_type", ["f32"])
def test_float32_cache_equals_transformers(case, inferno_logits):
    bound = float32_bound(case)
    known = reference(case)
    assert np.abs(inferno_logits[known.rows] - known.logits).max() <= bound
    assert np.abs(inferno_logits - exact_logits(case)).max() <= bound


@every_case
@pytest.mark.parametrize("kv_cache_type", ["f16", "bf16"])
def test_rounded_cache_equals_rounded_reference(case, kv_cache_type, inferno_logits):
    """Against the float64 run that rounds keys and values to the cache's type.

    An implementation computes them in float32, so that a few land on the other side of a tie and round the other way:
    by one step, twice the largest error of rounding. Rounding all of them, by up to half a step, moves the logits by
    `rounding`; a few full steps move them less than that. In the root mean square, if a share p of them is turned, the
    effect is sqrt(12 p) of rounding's (a step against a step / sqrt(12)): one half at p = 2 %, where float32 turns
    0.2 % of F16 values. A cache that does not round, or rounds otherwise (towards zero, say), is a whole `rounding`
    away.
    """
    rounded = exact_logits(case, kv_cache_type)
    rounding = rounded - exact_logits(case)
    difference = inferno_logits - rounded
    assert np.abs(difference).max() <= float32_bound(case) + np.abs(rounding).max()
    assert rms(difference) <= rms(rounding) / 2
