"""How tokens are chosen: what a caller may ask for, and what applies once the model's own defaults have spoken."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inferno.config.generation import GenerationDefaults
from inferno.errors import UsageError

MAX_LOGPROBS = 20
MAX_SEED = 2**64 - 1
# A drawn seed is short enough to be typed again.
_DRAWN_SEED_BYTES = 4


@dataclass(frozen=True)
class SamplingParams:
    """What a caller asks of one generation, under vLLM's names. None leaves a value to the model, then to Inferno.

    n                    completions per prompt; more than one need a temperature above 0
    temperature          0 is greedy: the most likely token, ties to the lower id
    top_p                the smallest set of tokens whose probability reaches this, in (0, 1]; 1 is off
    top_k                this many of the likeliest tokens; 0 or -1 is off
    min_p                tokens at least this likely relative to the likeliest, in [0, 1]; 0 is off
    repetition_penalty   divides (or, where negative, multiplies) logits of tokens in prompt and output; 1 is off
    presence_penalty     taken from the logits of tokens in the output, in [-2, 2]
    frequency_penalty    the same, once for each time that the token occurred
    seed                 0 to 2^64-1; one is drawn and reported if absent
    stop                 a text, or several, before which the output ends
    stop_token_ids       ids that end the output, beside the model's own end tokens
    max_tokens           at most this many; None: until the context is full
    ignore_eos           go on past the model's own end tokens
    logprobs             also report the log-probability of each token and of this many alternatives, 0 to 20
    skip_special_tokens  leave special tokens out of the text

    generation_config.json speaks for temperature, top_p, top_k, min_p and repetition_penalty where they are None; with
    do_sample false it asks for temperature 0. Where both are silent, temperature is 1 and the rest is off.

    Raises UsageError for a value that makes no sense.
    """

    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: str | Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    max_tokens: int | None = None
    ignore_eos: bool = False
    logprobs: int | None = None
    skip_special_tokens: bool = True

    def __post_init__(self) -> None:
        self._set("n", _integer("n", self.n, 1))
        self._check_optional_values()
        self._set("presence_penalty", _number("presence_penalty", self.presence_penalty, -2.0, 2.0))
        self._set("frequency_penalty", _number("frequency_penalty", self.frequency_penalty, -2.0, 2.0))
        self._set("stop", _stop_texts(self.stop))
        self._set("stop_token_ids", _stop_ids(self.stop_token_ids))
        for name in ("ignore_eos", "skip_special_tokens"):
            if not isinstance(getattr(self, name), bool):
                raise _bad(name, "True or False", getattr(self, name))

    def _check_optional_values(self) -> None:
        if self.temperature is not None:
            self._set("temperature", _number("temperature", self.temperature, 0.0))
        if self.top_p is not None:
            self._set("top_p", _number("top_p", self.top_p, 0.0, 1.0, open_below=True))
        if self.top_k is not None:
            self._set("top_k", _integer("top_k", self.top_k, -1, 2**31 - 1))
        if self.min_p is not None:
            self._set("min_p", _number("min_p", self.min_p, 0.0, 1.0))
        if self.repetition_penalty is not None:
            penalty = _number("repetition_penalty", self.repetition_penalty, 0.0, open_below=True)
            self._set("repetition_penalty", penalty)
        if self.seed is not None:
            self._set("seed", _integer("seed", self.seed, 0, MAX_SEED))
        if self.max_tokens is not None:
            self._set("max_tokens", _integer("max_tokens", self.max_tokens, 1))
        if self.logprobs is not None:
            self._set("logprobs", _integer("logprobs", self.logprobs, 0, MAX_LOGPROBS))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ResolvedSampling:
    """What applies to one request: every value set.

    `seed` is None only if nothing is drawn (temperature 0). `stop_token_ids` are the caller's, `end_token_ids` the
    model's own, none if they are to be ignored.
    """

    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    stop_token_ids: frozenset[int]
    end_token_ids: frozenset[int]
    max_tokens: int | None
    logprobs: int | None
    skip_special_tokens: bool


def resolve_sampling(params: SamplingParams, defaults: GenerationDefaults, eos: frozenset[int]) -> ResolvedSampling:
    """The caller's values, then the model's (`defaults`), then neutral ones. `eos` are the model's end tokens.

    Raises UsageError if several completions are asked for where all would be the same.
    """
    temperature = _first(params.temperature, 0.0 if defaults.do_sample is False else defaults.temperature, 1.0)
    if temperature == 0 and params.n > 1:
        raise UsageError(
            f"SamplingParams: n must be 1 at temperature 0, where all completions are the same; got {params.n}; "
            "set a temperature above 0"
        )
    seed = params.seed
    if seed is None and temperature > 0:
        seed = int.from_bytes(os.urandom(_DRAWN_SEED_BYTES), "little")
    return ResolvedSampling(
        n=params.n,
        temperature=temperature,
        # A top_p of 0 in generation_config.json keeps one token, as in transformers.
        top_p=_first(params.top_p, defaults.top_p, 1.0) or 1e-9,
        top_k=max(0, _first(params.top_k, defaults.top_k, 0)),
        min_p=_first(params.min_p, defaults.min_p, 0.0),
        repetition_penalty=_first(params.repetition_penalty, defaults.repetition_penalty, 1.0),
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        seed=seed,
        stop=tuple(params.stop or ()),
        stop_token_ids=frozenset(params.stop_token_ids or ()),
        end_token_ids=frozenset() if params.ignore_eos else eos,
        max_tokens=params.max_tokens,
        logprobs=params.logprobs,
        skip_special_tokens=params.skip_special_tokens,
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _bad(name: str, expected: str, value: object) -> UsageError:
    shown = repr(value)
    return UsageError(
        f"SamplingParams: {name} must be {expected}; got {shown if len(shown) <= 60 else shown[:57] + '...'}"
    )


def _integer(name: str, value: object, low: int, high: int | None = None) -> int:
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise _bad(name, expected, value)
    number = operator.index(value)
    if number < low or (high is not None and number > high):
        raise _bad(name, expected, value)
    return number


def _number(name: str, value: object, low: float, high: float = math.inf, open_below: bool = False) -> float:
    side = f"above {low:g}" if open_below else f"at least {low:g}"
    expected = f"a finite number {side}" + ("" if high == math.inf else f" and at most {high:g}")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _bad(name, expected, value)
    try:
        number = float(value)
    except OverflowError:
        raise _bad(name, expected, value) from None
    if not math.isfinite(number) or not low <= number <= high or (open_below and number == low):
        raise _bad(name, expected, value)
    return number


def _stop_texts(value: object) -> tuple[str, ...]:
    texts: Sequence[object] = () if value is None else (value,) if isinstance(value, str) else _listed("stop", value)
    for text in texts:
        if not isinstance(text, str) or text == "":
            raise _bad("stop", "a text that is not empty, or a list of them", value)
    return tuple(str(text) for text in texts)


def _stop_ids(value: object) -> tuple[int, ...]:
    ids = () if value is None else _listed("stop_token_ids", value)
    return tuple(_integer("stop_token_ids", token_id, 0) for token_id in ids)


def _listed(name: str, value: object) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise _bad(name, "a list", value)
