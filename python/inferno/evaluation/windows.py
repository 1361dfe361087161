"""A text as windows of tokens, and what a model predicts in each.

The protocol: the text's tokens, without any that a tokenizer would put around it, are cut into windows that do not
overlap. Each window is read by itself, and every token of it but the first is scored. A last window counts if it holds
at least two tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inferno.errors import TextError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from inferno.engine.llm import LLM

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

DEFAULT_WINDOW = 512
# Rows of logits that are held at once: 64 of 128,256 numbers are 33 MB.
ROWS = 64


def token_windows(ids: list[int], window: int) -> list[list[int]]:
    """The windows of a text's tokens. UsageError for a window below 2, TextError for a text of fewer than 2 tokens."""
    if window < 2:
        raise UsageError(f"window: must be at least 2 tokens, for the first is not scored; got {window}")
    if len(ids) < 2:
        raise TextError(f"text: must be at least 2 tokens, for the first is not scored; got {len(ids)}")
    cut = [ids[start : start + window] for start in range(0, len(ids), window)]
    return cut if len(cut[-1]) > 1 else cut[:-1]


def text_ids(llm: LLM, text: str) -> list[int]:
    """The tokens of a text; special tokens that are written in it are ordinary text."""
    return llm.tokenizer.encode(text, add_special_tokens=False, parse_special=False)


def predictions(llm: LLM, ids: list[int]) -> Iterator[tuple[Int64, Float32]]:
    """The tokens that follow ids[0], at most ROWS at once: (rows,), and the logits for each, (rows, vocab_size)."""
    targets = np.asarray(ids[1:], np.int64)
    for start, logits in llm.iter_logits(ids, ROWS):
        wanted = targets[start : start + len(logits)]
        if len(wanted):
            yield wanted, logits[: len(wanted)]


def log_probabilities(logits: Float32) -> Float64:
    """log softmax of each row; float64 (rows, vocab_size). NaN where a logit is none or infinite."""
    shifted = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        shifted -= shifted.max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def surprisals(targets: Int64, logits: Float32) -> Float64:
    """-log of each target's probability; float64 (rows,). Sums in float64 of float32 powers: within 1e-6 of exact.

    No finite number where the highest logit is none.
    """
    highest = logits.max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):  # what lies that far below the highest has no weight
        total = np.exp(logits - highest).sum(axis=1, dtype=np.float64)
    chosen = np.take_along_axis(logits, targets[:, None], axis=1)
    below = (highest.astype(np.float64) - chosen)[:, 0]
    scores: Float64 = below + np.log(total)
    return scores


def refuse_no_numbers(scores: Float64, what: str) -> None:
    """Raises UnsupportedError unless all are finite; `what` names the measure."""
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        raise UnsupportedError(
            f"{what}: logits must be finite; got {wrong} scores of {len(scores)} that are not; the weights may hold "
            "NaN or infinities: `inferno inspect --deep` finds them"
        )


def standard_error(values: Float64) -> float:
    """Of the mean, as if the values were independent of each other; 0 of fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
