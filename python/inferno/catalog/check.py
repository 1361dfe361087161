"""Whether a model really runs: loaded, asked for a few tokens, measured and let go."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from inferno.errors import InfernoError
from inferno.text.library import is_panic

if TYPE_CHECKING:
    from inferno.engine.llm import LLM

TOKENS = 8
_PROMPT = "Hello"
_PROMPT_IDS = 4
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
# "5" forgets the largest resident size so far (proc(5)), so that each model has its own.
_FORGET_PEAK = "/proc/self/clear_refs"


@dataclass(frozen=True)
class CheckResult:
    """What came of loading a model and generating TOKENS tokens, greedily and past its end tokens.

    `first_token_seconds` counts from the call, the load (`load_seconds`) not included; `tokens_per_second` is that of
    the tokens after the first. `peak_memory_bytes` is the whole process's while this model ran, None where the system
    does not tell. With an `error`, the numbers that were not reached are None.
    """

    tokens: int = 0
    load_seconds: float | None = None
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None


def check_model(folder: Path, threads: int | None = None) -> CheckResult:
    """Loads the model in `folder`, generates and closes it. What goes wrong is in the result, not raised.

    The prompt is "Hello", or a few token ids if the folder has no tokenizer.
    """
    from inferno.engine.llm import LLM

    fresh = _forget_peak()
    called_at = perf_counter()
    try:
        with LLM(folder, threads=threads) as llm:
            loaded_at = perf_counter()
            has_tokenizer = any(os.path.lexists(folder / name) for name in _TOKENIZERS)
            tokens, first, decode = _generate(llm) if has_tokenizer else _generate_from_ids(llm)
    except (InfernoError, OSError, MemoryError) as error:
        return CheckResult(error=str(error) or "not enough memory")
    except BaseException as error:  # a fault of ours, or a panic of a Rust library: it must not hide the other models
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        return CheckResult(error=f"unexpected {type(error).__name__}: {error}")
    return CheckResult(
        tokens=tokens,
        load_seconds=loaded_at - called_at,
        first_token_seconds=first,
        tokens_per_second=(tokens - 1) / decode if tokens > 1 and decode > 0 else None,
        peak_memory_bytes=_peak() if fresh else None,
    )


def _generate(llm: LLM) -> tuple[int, float, float]:
    """Tokens, seconds to the first, seconds of those after it."""
    from inferno.engine.sampling import SamplingParams

    params = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    metrics = llm.generate(_PROMPT, params)[0].metrics
    return metrics.generated_tokens, metrics.time_to_first_token or 0.0, metrics.decode_seconds


def _generate_from_ids(llm: LLM) -> tuple[int, float, float]:
    """The same without a tokenizer, which the engine needs: the likeliest token each time, ties to the lower id."""
    model = llm.model
    last = llm.config.vocab_size - 1
    started = perf_counter()
    sequence = model.new_sequence()
    logits = model.prefill(sequence, [min(token, last) for token in range(1, 1 + min(_PROMPT_IDS, model.ctx_size))])
    token = int(logits.argmax())
    first_at = perf_counter()
    count = 1
    while count < TOKENS and sequence.length < model.ctx_size:
        token = int(model.forward(sequence, [token])[0].argmax())
        count += 1
    return count, first_at - started, perf_counter() - first_at


def _forget_peak() -> bool:
    with suppress(OSError), open(_FORGET_PEAK, "w") as file:
        file.write("5")
        return True
    return False


def _peak() -> int | None:
    from inferno import hardware

    with suppress(InfernoError):
        return hardware.peak_memory()
    return None
