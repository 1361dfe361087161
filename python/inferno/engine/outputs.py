"""What a generation gives back."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenLogprob:
    """The natural logarithm of a chosen token's probability, and the likeliest tokens with theirs, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class CompletionOutput:
    """One completion of a prompt.

    index               which of n
    text                without end tokens and without the stop text
    token_ids           all that were sampled, an end token among them
    logprobs            one per token if they were asked for, else None
    cumulative_logprob  their sum
    finish_reason       "stop", "length" (max_tokens, or the context is full), "abort" (closed before its end); None
                        while it is running
    stop_reason         the stop text or token id that ended it; None for the model's own end tokens
    seed                repeats this completion; None if nothing was drawn (temperature 0)
    """

    index: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    cumulative_logprob: float | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    seed: int | None = None


@dataclass
class Metrics:
    """Counts and seconds of one request, over all its completions.

    time_to_first_token   from the call until the first token is known, tokenization included
    prefill_seconds       spent on the prompt, until its last logits
    decode_seconds        spent on the tokens after the first of each completion
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    prefilled_tokens: int = 0
    decoded_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    time_to_first_token: float | None = None

    @property
    def prompt_tokens_per_second(self) -> float | None:
        """None before the prompt is read."""
        return self.prefilled_tokens / self.prefill_seconds if self.prefill_seconds > 0 else None

    @property
    def generation_tokens_per_second(self) -> float | None:
        """Of the tokens after the first, which is the prompt's; None if there are none."""
        return self.decoded_tokens / self.decode_seconds if self.decoded_tokens and self.decode_seconds > 0 else None


@dataclass
class RequestOutput:
    """What became of one prompt. `prompt` is None if it was given as tokens or as a chat."""

    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    metrics: Metrics
    finished: bool = False


@dataclass(frozen=True)
class StreamPiece:
    """A token of a stream: the text that became complete with it (often ""), and why the stream ends, if it does."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
