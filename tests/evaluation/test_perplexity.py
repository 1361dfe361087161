"""Perplexity and divergence against NumPy in float64 on tiny models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inferno
from inferno.errors import ContextLengthError, TextError, UnsupportedError, UsageError
from inferno.evaluation import divergence, perplexity
from inferno.evaluation.windows import ROWS, log_probabilities, surprisals, token_windows
from inferno.progress import SilentProgress
from model_edits import Tensors, edit_tensors
from tiny import write_tiny

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), dtype="F32", tokenizer=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("other"), dtype="BF16", tokenizer=True)


def load(folder: Path, **options: object) -> inferno.LLM:
    return inferno.LLM(folder, **{"ctx_size": 128, "threads": 1, **options})


def scores(llm: inferno.LLM, window: int) -> tuple[np.ndarray, np.ndarray]:
    """-log p of every scored token, and the log probabilities, by the definition in float64."""
    ids = llm.tokenizer.encode(TEXT, add_special_tokens=False)
    found, rows = [], []
    for start in range(0, len(ids), window):
        cut = ids[start : start + window]
        if len(cut) < 2:
            continue
        logits = llm.logits(cut)[:-1].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        found += [-row[token] for row, token in zip(log_p, cut[1:], strict=True)]
        rows.append(log_p)
    return np.array(found), np.concatenate(rows)


@pytest.mark.parametrize("window", [2, 7, 100, ROWS, ROWS + 1, 128])
def test_perplexity_is_its_definition(folder: Path, window: int) -> None:
    llm = load(folder)
    expected, _ = scores(llm, window)
    found = perplexity(llm, TEXT, window=window)
    # Powers in float32 are off by an ulp, 6e-8 of each; their sum's logarithm by no more than that.
    assert found.mean == pytest.approx(expected.mean(), rel=1e-6)
    assert found.mean_error == pytest.approx(expected.std(ddof=1) / np.sqrt(len(expected)), rel=1e-5)
    assert found.perplexity == pytest.approx(np.exp(expected.mean()), rel=1e-5)
    assert found.perplexity_error == pytest.approx(found.perplexity * found.mean_error)
    assert (found.tokens, found.window) == (len(expected), window)
    assert found.tokens_per_second > 0


def test_both_are_names_of_the_package() -> None:
    assert (inferno.perplexity, inferno.divergence) == (perplexity, divergence)
    assert {"perplexity", "divergence", "Perplexity", "Divergence"} <= set(inferno.__all__)


def test_any_number_of_threads_scores_alike(folder: Path) -> None:
    one, two = (perplexity(load(folder, threads=threads), TEXT, window=100) for threads in (1, 2))
    assert (one.mean, one.mean_error) == (two.mean, two.mean_error)


def test_a_model_without_opinion_has_the_vocabulary_as_its_perplexity(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, dtype="F32", tokenizer=True)

    def silence(tensors: Tensors) -> None:
        dtype, shape, data = tensors["lm_head.weight"]
        tensors["lm_head.weight"] = (dtype, shape, bytes(len(data)))

    edit_tensors(silence)(folder)
    llm = load(folder)
    assert perplexity(llm, TEXT, window=100).perplexity == pytest.approx(llm.config.vocab_size, rel=1e-12)


def test_divergence_is_its_definition(folder: Path, other: Path) -> None:
    llm, reference = load(folder), load(other)
    ours, q = scores(llm, 50)
    theirs, p = scores(reference, 50)
    found = divergence(llm, reference, TEXT, window=50)
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    assert found.kl_mean == pytest.approx(kl.mean(), rel=1e-9)
    assert found.kl_error == pytest.approx(kl.std(ddof=1) / np.sqrt(len(kl)), rel=1e-9)
    assert found.kl_median == pytest.approx(np.median(kl), rel=1e-9)
    assert found.kl_99th == pytest.approx(np.quantile(kl, 0.99), rel=1e-9)
    assert found.kl_max == pytest.approx(kl.max(), rel=1e-9)
    agree = p.argmax(axis=1) == q.argmax(axis=1)
    assert found.top1_agreement == agree.mean()
    assert 0 < kl.mean() < 0.1
    assert found.model.mean == pytest.approx(ours.mean(), rel=1e-12)
    assert found.reference.mean == pytest.approx(theirs.mean(), rel=1e-12)
    assert found.ratio == pytest.approx(found.model.perplexity / found.reference.perplexity, rel=1e-12)
    paired = ours - theirs
    assert found.ratio_error == pytest.approx(found.ratio * paired.std(ddof=1) / np.sqrt(len(paired)), rel=1e-9)


def test_a_model_does_not_diverge_from_itself(folder: Path) -> None:
    found = divergence(load(folder), load(folder, threads=2), TEXT, window=64)
    assert (found.kl_mean, found.kl_max, found.top1_agreement, found.ratio, found.ratio_error) == (0, 0, 1, 1, 0)


def test_windows() -> None:
    assert token_windows([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4]]
    assert token_windows([1, 2, 3, 4, 5], 3) == [[1, 2, 3], [4, 5]]
    assert token_windows([1, 2], 9) == [[1, 2]]
    with pytest.raises(UsageError, match="window: must be at least 2 tokens, for the first is not scored; got 1"):
        token_windows([1, 2], 1)
    for few in ([], [1]):
        with pytest.raises(TextError, match=f"text: must be at least 2 tokens, .*; got {len(few)}"):
            token_windows(few, 2)


def test_logits_of_any_size_have_a_score() -> None:
    logits = np.array([[3e38, -3e38, 0], [-1e30, -1e30, -1e30]], np.float32)
    assert surprisals(np.array([0, 2]), logits) == pytest.approx([0, np.log(3)])
    assert np.exp(log_probabilities(logits)).sum(axis=1) == pytest.approx([1, 1])


def test_a_window_beyond_the_context_is_refused(folder: Path) -> None:
    with pytest.raises(ContextLengthError, match="tokens: must be at most 128, the context"):
        perplexity(load(folder), TEXT, window=200)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_told(folder: Path, tmp_path: Path, value: float) -> None:
    spoilt = write_tiny(tmp_path, dtype="F32", tokenizer=True)

    def spoil(tensors: Tensors) -> None:
        dtype, shape, _ = tensors["model.norm.weight"]
        tensors["model.norm.weight"] = (dtype, shape, np.full(shape, value, np.float32).tobytes())

    edit_tensors(spoil)(spoilt)
    told = r"\w+: perplexity: logits must be finite; got \d+ scores of \d+ that are not; .*--deep"
    with pytest.raises(UnsupportedError, match=told):
        perplexity(load(spoilt), TEXT, window=100)
    for pair in ((folder, spoilt), (spoilt, folder)):
        with pytest.raises(UnsupportedError, match=told):
            divergence(*map(load, pair), TEXT, window=100)


def test_a_token_without_a_number_is_told_where_no_score_needs_it(folder: Path, tmp_path: Path) -> None:
    """A logit of -inf leaves the text's own tokens their scores; what the others are worth, nobody can tell."""
    spoilt = write_tiny(tmp_path, dtype="F32", tokenizer=True)
    llm = load(spoilt)
    logits = np.zeros((2, llm.config.vocab_size), np.float32)
    logits[:, 7] = -np.inf
    assert np.isfinite(surprisals(np.array([1, 2]), logits)).all()
    llm.iter_logits = lambda ids, rows: iter([(0, logits)])  # type: ignore[method-assign]
    with pytest.raises(
        UnsupportedError, match=r"divergence: logits must be finite; got \d+ scores of \d+ that are not"
    ):
        divergence(llm, llm, TEXT, window=2)


def test_models_of_other_tokens_are_not_compared(folder: Path, tmp_path: Path) -> None:
    larger = write_tiny(tmp_path, {"vocab_size": 330}, dtype="F32", tokenizer=True)
    with pytest.raises(UsageError, match=r"vocab_size must be 320, that of .*; got 330"):
        divergence(load(folder), load(larger), TEXT)


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.total: int | None = 0
        self.done = 0
        self.notes: list[str] = []

    def start(self, label: str, total: int | None) -> None:
        self.total = total

    def advance(self, amount: int) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_progress_tells_the_estimate(folder: Path) -> None:
    notes = Notes()
    found = perplexity(load(folder), TEXT, window=100, progress=notes)
    assert notes.done == notes.total == found.tokens
    assert notes.notes[-1] == f"perplexity {found.perplexity:.3f}"
    assert len(notes.notes) == found.windows
