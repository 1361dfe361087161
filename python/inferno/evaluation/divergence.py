"""How far a model's predictions lie from another's on the same text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from inferno.errors import UsageError
from inferno.evaluation.perplexity import Perplexity
from inferno.evaluation.windows import (
    DEFAULT_WINDOW,
    Float64,
    log_probabilities,
    predictions,
    refuse_no_numbers,
    standard_error,
    text_ids,
    token_windows,
)
from inferno.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from inferno.engine.llm import LLM

# Rows that are compared at once: of two models' log probabilities in float64, and what is made of them.
_ROWS = 16


@dataclass(frozen=True)
class Divergence:
    """A model against a reference, over the same tokens.

    kl_*             Kullback-Leibler divergence of the reference's distribution to the model's, in nats: the mean over
                     tokens, its standard error, the median, the 99th percentile and the largest
    top1_agreement   share of tokens for which both think the same token the likeliest, and its standard error
    ratio            the model's perplexity over the reference's; the error is that of the paired differences
    model, reference perplexities of the two
    """

    model: Perplexity
    reference: Perplexity
    kl_mean: float
    kl_error: float
    kl_median: float
    kl_99th: float
    kl_max: float
    top1_agreement: float
    top1_error: float
    ratio: float
    ratio_error: float


def divergence(
    llm: LLM, reference: LLM, text: str, *, window: int = DEFAULT_WINDOW, progress: Progress | None = None
) -> Divergence:
    """Compares two models of one vocabulary on a text, in windows as `perplexity` has them.

    Raises UsageError if their tokens differ; otherwise as perplexity.
    """
    ids = text_ids(llm, text)
    _refuse_other_tokens(llm, reference, ids, text_ids(reference, text))
    windows = token_windows(ids, window)
    progress = progress or SilentProgress()
    total = sum(len(window_ids) - 1 for window_ids in windows)
    started = perf_counter()
    ours, theirs, apart, agree = (np.empty(total, np.float64) for _ in range(4))
    done = 0
    progress.start(f"Comparing on {total} tokens in {len(windows)} windows", total)
    try:
        for window_ids in windows:
            pairs = zip(predictions(llm, window_ids), predictions(reference, window_ids), strict=True)
            for (targets, logits), (_, others) in pairs:
                for start in range(0, len(targets), _ROWS):
                    rows = slice(start, start + _ROWS)
                    q, p = log_probabilities(logits[rows]), log_probabilities(others[rows])
                    part, index = slice(done, done + len(q)), targets[rows, None]
                    ours[part] = -np.take_along_axis(q, index, axis=1)[:, 0]
                    theirs[part] = -np.take_along_axis(p, index, axis=1)[:, 0]
                    with np.errstate(invalid="ignore"):
                        apart[part] = (np.exp(p) * (p - q)).sum(axis=1)
                    agree[part] = q.argmax(axis=1) == p.argmax(axis=1)
                    done += len(q)
                progress.advance(len(targets))
            progress.note(f"divergence {apart[:done].mean():.5f}")
    finally:
        progress.finish()
    seconds = perf_counter() - started
    model, other = (
        Perplexity.of(one.name, scores, len(windows), window, seconds)
        for one, scores in ((llm, ours), (reference, theirs))
    )
    refuse_no_numbers(apart, "divergence")
    return _summed_up(model, other, ours - theirs, apart, agree)


def _summed_up(
    model: Perplexity, reference: Perplexity, differences: Float64, apart: Float64, agree: Float64
) -> Divergence:
    ratio = math.exp(min(float(differences.mean()), 709.0))
    return Divergence(
        model=model,
        reference=reference,
        kl_mean=float(apart.mean()),
        kl_error=standard_error(apart),
        kl_median=float(np.median(apart)),
        kl_99th=float(np.quantile(apart, 0.99)),
        kl_max=float(apart.max()),
        top1_agreement=float(agree.mean()),
        top1_error=standard_error(agree),
        ratio=ratio,
        ratio_error=ratio * standard_error(differences),
    )


def _refuse_other_tokens(llm: LLM, reference: LLM, ids: list[int], others: list[int]) -> None:
    sizes = llm.config.vocab_size, reference.config.vocab_size
    if sizes[0] != sizes[1]:
        raise UsageError(
            f"{reference.name}: vocab_size must be {sizes[0]}, that of {llm.name}, for the two to be compared token by "
            f"token; got {sizes[1]}"
        )
    if ids != others:
        raise UsageError(
            f"{reference.name}: must cut the text into the tokens of {llm.name} for the two to be compared; got other "
            "tokens; compare models with one tokenizer"
        )
