"""The demo model: logits of a text against transformers' float64 run, and greedy chats against its float32 run.

tests/oracle/README.md says how the references were made and what is in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inferno
from inferno.text import Tokenizer
from weights_digest import weights_digest

REFERENCES = Path(__file__).parent.parent / "data" / "references"
# transformers' own float32 run is at 1.1e-4: sums in another order may err as much, and those of one long chain a few
# times more. Any step taken in less than float32 is far past it: keys and values in F16 alone are at 2e-2.
FLOAT32_BOUND = 5e-4
# The scalar tier exists to be read: it gets the head of the text. A row depends on nothing that comes after it.
SCALAR_TOKENS = 24


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(REFERENCES / "demo.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def metadata(stored: dict[str, np.ndarray]) -> dict[str, Any]:
    return json.loads(str(stored["metadata"]))


@pytest.fixture(scope="module")
def chats() -> dict[str, Any]:
    return json.loads((REFERENCES / "demo_chats.json").read_text(encoding="utf-8"))


def text_logits(folder: Path, stored: dict[str, np.ndarray], isa: str | None, kv_cache_type: str) -> np.ndarray:
    """float64 [tokens, vocab_size] of Inferno's float32 logits; fewer tokens on the scalar tier."""
    count = SCALAR_TOKENS if isa == "scalar" else len(stored["token_ids"])
    llm = inferno.LLM(folder, ctx_size=256, kv_cache_type=kv_cache_type, isa=isa)
    logits = llm.logits(stored["token_ids"][:count].tolist())
    assert logits.dtype == np.float32
    assert logits.shape == (count, 49152)
    return logits.astype(np.float64)


def kept_differences(logits: np.ndarray, stored: dict[str, np.ndarray]) -> np.ndarray:
    """[tokens, 128]: at the columns that are stored of each row."""
    columns = stored["columns"][: len(logits)].astype(np.int64)
    return np.take_along_axis(logits, columns, axis=-1) - stored["values"][: len(logits)]


def check_best_token(logits: np.ndarray, stored: dict[str, np.ndarray], bound: float, least_decided: float) -> None:
    """The same top-1 wherever the reference's lead exceeds twice the bound, which must be in enough of the rows."""
    decided = stored["gap"][: len(logits)] > 2 * bound
    assert decided.mean() >= least_decided
    assert np.array_equal(logits.argmax(axis=-1)[decided], stored["argmax"][: len(logits)][decided])


def test_weights_are_those_of_the_reference(demo_folder, metadata):
    assert weights_digest(demo_folder / "model.safetensors") == metadata["weights_sha256"]


def test_float32_cache_equals_transformers(demo_folder, stored, isa):
    logits = text_logits(demo_folder, stored, isa, "f32")
    assert np.abs(kept_differences(logits, stored)).max() <= FLOAT32_BOUND
    for position, row in zip(stored["full_row_positions"], stored["full_rows"], strict=True):
        if position < len(logits):
            assert np.abs(logits[position] - row).max() <= FLOAT32_BOUND
    # no sum of exponentials moves by more than the entry that moves most: this covers what is not stored
    best = logits.max(axis=-1)
    logsumexp = best + np.log(np.exp(logits - best[:, None]).sum(axis=-1))
    assert np.abs(logsumexp - stored["logsumexp"][: len(logits)]).max() <= FLOAT32_BOUND
    check_best_token(logits, stored, FLOAT32_BOUND, least_decided=0.98)


@pytest.mark.parametrize("kv_cache_type", ["f16", "bf16"])
def test_rounded_cache_is_as_far_as_rounding_goes(demo_folder, stored, metadata, isa, kv_cache_type):
    """Keys and values rounded to nearest err by a relative 2^-11 (F16) or 2^-8 (BF16) at most.

    What this does to the logits is known from five float64 runs: rounded, and with four sets of random errors of
    that size. Inferno's is one more set, so that twice the largest of the five bounds it, as in test_reference.py.
    The root mean square over 256 x 128 entries hardly varies from set to set (by 6 % in F16, 18 % in BF16). Half as
    much again on either side leaves out a cache that does not round, truncates, or holds the other type.
    """
    effect = metadata["rounding_effect"][kv_cache_type]
    bound = FLOAT32_BOUND + 2 * max(effect["max"])
    logits = text_logits(demo_folder, stored, isa, kv_cache_type)
    differences = kept_differences(logits, stored)
    assert np.abs(differences).max() <= bound
    if len(logits) == len(stored["token_ids"]):
        rms = float(np.sqrt(np.mean(differences**2)))
        assert min(effect["kept_rms"]) / 1.5 <= rms <= max(effect["kept_rms"]) * 1.5
        check_best_token(logits, stored, bound, least_decided={"f16": 0.8, "bf16": 0.25}[kv_cache_type])


def test_default_cache_is_f16(demo_folder, stored):
    token_ids = stored["token_ids"][:20].tolist()
    default = inferno.LLM(demo_folder, ctx_size=256).logits(token_ids)
    assert np.array_equal(default, inferno.LLM(demo_folder, ctx_size=256, kv_cache_type="f16").logits(token_ids))


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("kv_cache_type", ["f32", "f16"])
def test_greedy_chats_equal_transformers(demo_folder, chats, kv_cache_type, index):
    """Each token leads the next best by 0.1 or more in float64: 200 times FLOAT32_BOUND, 40 times F16's mean effect."""
    chat = chats["chats"][index]
    assert min(chat["smallest_lead"].values()) > 0.1
    llm = inferno.LLM(demo_folder, ctx_size=256, kv_cache_type=kv_cache_type)
    assert Tokenizer.from_folder(demo_folder).encode_chat(chat["messages"]) == chat["prompt_token_ids"]
    params = inferno.SamplingParams(temperature=0, max_tokens=chats["max_tokens"])
    [output] = llm.generate([{"prompt_token_ids": chat["prompt_token_ids"]}], params)
    completion = output.outputs[0]
    without_end = chat["token_ids"][:-1] if chat["ended"] else chat["token_ids"]
    assert list(completion.token_ids)[: len(without_end)] == without_end
    assert completion.finish_reason == ("stop" if chat["ended"] else "length")
    assert completion.text == chat["text"]
