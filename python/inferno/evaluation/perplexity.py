"""Perplexity: e to the mean of -log p over the scored tokens of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from inferno.evaluation.windows import (
    DEFAULT_WINDOW,
    Float64,
    predictions,
    refuse_no_numbers,
    standard_error,
    surprisals,
    text_ids,
    token_windows,
)
from inferno.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from inferno.engine.llm import LLM


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text: evaluation/windows.py has the protocol.

    `mean` is the mean of -log p in nats, `mean_error` its standard error as if tokens were independent; `tokens` counts
    those that were scored.
    """

    mean: float
    mean_error: float
    tokens: int
    windows: int
    window: int
    seconds: float

    @classmethod
    def of(cls, name: str, scores: Float64, windows: int, window: int, seconds: float) -> Perplexity:
        """From -log p of every scored token. Raises UnsupportedError, which names the model, if one is no number."""
        refuse_no_numbers(scores, f"{name}: perplexity")
        return cls(float(scores.mean()), standard_error(scores), len(scores), windows, window, seconds)

    @property
    def perplexity(self) -> float:
        """e ** mean; infinite beyond what a float holds."""
        return math.exp(self.mean) if self.mean < 709 else math.inf

    @property
    def perplexity_error(self) -> float:
        """Its standard error: that of the mean, carried through the exponential to first order."""
        return self.perplexity * self.mean_error

    @property
    def tokens_per_second(self) -> float:
        """Scored tokens over the time that all took."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


def perplexity(llm: LLM, text: str, *, window: int = DEFAULT_WINDOW, progress: Progress | None = None) -> Perplexity:
    """The perplexity of `text` under a model, in windows of `window` tokens (at most the context).

    The same for any number of threads. Raises UsageError, TextError or ContextLengthError for a window or a text that
    cannot be scored, UnsupportedError for a model whose logits are not finite.
    """
    windows = token_windows(text_ids(llm, text), window)
    progress = progress or SilentProgress()
    total = sum(len(ids) - 1 for ids in windows)
    started = perf_counter()
    scores = np.empty(total, np.float64)
    done = 0
    progress.start(f"Reading {total} tokens in {len(windows)} windows", total)
    try:
        for ids in windows:
            for targets, logits in predictions(llm, ids):
                scores[done : done + len(targets)] = surprisals(targets, logits)
                done += len(targets)
                progress.advance(len(targets))
            progress.note(f"perplexity {_estimate(scores[:done])}")
    finally:
        progress.finish()
    return Perplexity.of(llm.name, scores, len(windows), window, perf_counter() - started)


def _estimate(scores: Float64) -> str:
    with np.errstate(over="ignore", invalid="ignore"):
        return f"{np.exp(scores.mean()):.3f}"
