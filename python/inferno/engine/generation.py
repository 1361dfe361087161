"""One request at work: prefill, then one token after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from inferno.engine.outputs import CompletionOutput, Metrics, RequestOutput, StreamPiece, TokenLogprob
from inferno.engine.stop import StopFilter
from inferno.errors import CheckpointError, UsageError
from inferno.text import Detokenizer

if TYPE_CHECKING:
    from inferno.engine.admission import Admission
    from inferno.engine.sampling import ResolvedSampling
    from inferno.kv_cache import Sequence
    from inferno.models import Model
    from inferno.text import Tokenizer

PrefillProgress = Callable[[int, int], None]  # tokens done, tokens in all


class Generation(Iterator[StreamPiece]):
    """The tokens of one prompt's completions, one after another.

    output     RequestOutput with what has come so far
    sampling   the values that apply, defaults included

    Nothing runs before the first piece is asked for. The cache is free again once the last piece has come, on an
    exception, and when the generation is closed or forgotten before its end; a `with` block closes it.
    """

    def __init__(self, request: Request) -> None:
        self.output = request.output
        self.sampling = request.sampling
        # The generator knows the request, not this object: forgetting this object ends it at once.
        self._pieces = request.run()

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> StreamPiece:
        return next(self._pieces)

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it now; completions that had not ended get finish_reason "abort". Harmless after the end."""
        self._pieces.close()
        for completion in self.output.outputs:
            completion.finish_reason = completion.finish_reason or "abort"


@dataclass
class Request:
    """What a generation needs."""

    admission: Admission
    tokenizer: Tokenizer
    output: RequestOutput
    sampling: ResolvedSampling
    called_at: float
    progress: PrefillProgress | None = None

    def run(self) -> Generator[StreamPiece, None, None]:
        """All completions, one after another."""
        for completion in self.output.outputs:
            yield from self._complete(completion)
        self.output.finished = True

    def _complete(self, completion: CompletionOutput) -> Generator[StreamPiece, None, None]:
        metrics, text = self.output.metrics, _Text(self.tokenizer, self.sampling)
        sampler = self._sampler(completion.index)
        with self.admission.sequence(self.output.metrics.prompt_tokens + self._max_tokens) as sequence:
            token = self._first_token(sampler, sequence, completion)
            while True:
                piece = self._accept(completion, text, token)
                yield piece
                if piece.finish_reason is not None:
                    return
                start = perf_counter()
                with self.admission.lock:
                    logits = self._model.forward(sequence, (token,))[0]
                    token = self._sample(sampler, logits, completion)
                metrics.decode_seconds += perf_counter() - start
                metrics.decoded_tokens += 1

    def _first_token(self, sampler: Any, sequence: Sequence, completion: CompletionOutput) -> int:
        metrics, start = self.output.metrics, perf_counter()
        with self.admission.lock:
            logits = self._model.prefill(sequence, self.output.prompt_token_ids, self.progress)
            metrics.prefill_seconds += perf_counter() - start
            token = self._sample(sampler, logits, completion)
        metrics.prefilled_tokens += metrics.prompt_tokens
        if metrics.time_to_first_token is None:
            metrics.time_to_first_token = perf_counter() - self.called_at
        return token

    def _sampler(self, index: int) -> Any:
        from inferno import _core

        s = self.sampling
        try:
            sampler = _core.Sampler(
                self._model.config.vocab_size,
                temperature=s.temperature,
                top_k=s.top_k,
                top_p=s.top_p,
                min_p=s.min_p,
                repetition_penalty=s.repetition_penalty,
                presence_penalty=s.presence_penalty,
                frequency_penalty=s.frequency_penalty,
                seed=s.seed or 0,
                sample=index,
                isa=self._model.isa,
            )
        except ValueError as error:  # a value too large or too small for float32
            raise UsageError(str(error)) from None
        sampler.observe_prompt(self.output.prompt_token_ids)
        return sampler

    def _sample(self, sampler: Any, logits: Any, completion: CompletionOutput) -> int:
        # A draw depends on the place in the sequence, not on how its beginning came into the cache.
        position = len(self.output.prompt_token_ids) + len(completion.token_ids)
        try:
            if completion.logprobs is None:
                return int(sampler.sample(logits, position))
            token, logprob, top = sampler.sample(logits, position, logprobs=self.sampling.logprobs)
        except ValueError:
            if not (np.isnan(logits).any() or np.isposinf(logits).any()):
                raise
            raise CheckpointError(
                f"{self._model.plan.report.path}: must compute finite logits; got NaN or infinity at position "
                f"{position - 1}; `inferno inspect --deep` shows whether weights are damaged"
            ) from None
        completion.logprobs.append(TokenLogprob(token, logprob, tuple(top)))
        completion.cumulative_logprob = (completion.cumulative_logprob or 0.0) + logprob
        return int(token)

    def _accept(self, completion: CompletionOutput, text: _Text, token: int) -> StreamPiece:
        s = self.sampling
        self.output.metrics.generated_tokens += 1
        completion.token_ids.append(token)
        stops = token in s.end_token_ids or token in s.stop_token_ids
        ends = stops or len(completion.token_ids) == self._max_tokens
        released = "" if stops else text.add(token)
        if ends and text.matched is None:
            released += text.finish()
        if text.matched is not None:
            completion.finish_reason, completion.stop_reason = "stop", text.matched
        elif stops:
            completion.finish_reason = "stop"
            completion.stop_reason = None if token in s.end_token_ids else token
        elif ends:
            completion.finish_reason = "length"
        completion.text += released
        return StreamPiece(released, (token,), completion.finish_reason)

    @property
    def _model(self) -> Model:
        return self.admission.model

    @property
    def _max_tokens(self) -> int:
        room = self._model.ctx_size - len(self.output.prompt_token_ids)
        return room if self.sampling.max_tokens is None else min(room, self.sampling.max_tokens)


class _Text:
    """Tokens to text that may be shown: whole characters, and nothing of a stop text."""

    def __init__(self, tokenizer: Tokenizer, sampling: ResolvedSampling) -> None:
        self._characters = Detokenizer(tokenizer, sampling.skip_special_tokens)
        self._filter = StopFilter(sampling.stop)

    @property
    def matched(self) -> str | None:
        return self._filter.matched

    def add(self, token: int) -> str:
        return self._filter.feed(self._characters.add(token))

    def finish(self) -> str:
        released = self._filter.feed(self._characters.finish())
        return released if self.matched is not None else released + self._filter.finish()


def new_output(prompt: str | None, prompt_token_ids: list[int], sampling: ResolvedSampling) -> RequestOutput:
    """The output of a request that has not begun."""
    completions = [
        CompletionOutput(
            index=index,
            logprobs=None if sampling.logprobs is None else [],
            cumulative_logprob=None if sampling.logprobs is None else 0.0,
            seed=sampling.seed,
        )
        for index in range(sampling.n)
    ]
    return RequestOutput(prompt, prompt_token_ids, completions, Metrics(prompt_tokens=len(prompt_token_ids)))
