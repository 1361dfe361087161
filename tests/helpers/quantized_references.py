"""The stored logits of quantized checkpoints, the definition's own, and how far float32 may stray from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama import float32_error
from numpy_quantized import NumpyQuantizedLlama, QuantizedFolder, open_quantized
from quantized_cases import QUANTIZED, QuantizedCase

NUMERICS = ("vllm", "compressed-tensors")


@dataclass(frozen=True)
class Reference:
    """`logits`: by the name of the numerics, float32 [tokens, vocab_size]."""

    token_ids: list[int]
    logits: dict[str, np.ndarray]
    inv_freq: np.ndarray
    metadata: dict[str, Any]


@cache
def reference(case: QuantizedCase) -> Reference:
    with np.load(QUANTIZED / f"{case.name}.npz") as stored:
        logits = {"compressed-tensors": stored["compressed-tensors"]}
        logits["vllm"] = stored["vllm"] if "vllm" in stored else logits["compressed-tensors"]
        return Reference(stored["token_ids"].tolist(), logits, stored["inv_freq"], json.loads(str(stored["metadata"])))


@cache
def opened(case: QuantizedCase, numerics: str, scratch: Path) -> QuantizedFolder:
    return open_quantized(case.folder(scratch), numerics)


def numpy_llama(case: QuantizedCase, numerics: str, scratch: Path) -> NumpyQuantizedLlama:
    return opened(case, numerics, scratch).model(reference(case).inv_freq)


@cache
def exact_logits(case: QuantizedCase, numerics: str, scratch: Path) -> np.ndarray:
    return numpy_llama(case, numerics, scratch).logits(reference(case).token_ids)


@cache
def float32_bound(case: QuantizedCase, numerics: str, scratch: Path) -> float:
    """Twice the largest error among runs in which every operation errs as float32 may (numpy_llama.py).

    It comes to some 1e-5, and has no room for another code. The exception is `has_tie`, where every run turns some
    codes, and the bound comes to 1e-1: more draws, since fewer and larger errors vary more.
    """
    draws = 24 if has_tie(case, numerics, scratch) else 4
    exact = exact_logits(case, numerics, scratch)
    return 2 * float32_error(numpy_llama(case, numerics, scratch), reference(case).token_ids, exact, draws)


def has_tie(case: QuantizedCase, numerics: str, scratch: Path) -> bool:
    """Under absmax / 127.5, -absmax lies in the middle between two codes, and rounding alone decides."""
    rules = opened(case, numerics, scratch).rules.values()
    return any(getattr(rule, "__name__", "") == "absmax_as_written" for rule in rules)
