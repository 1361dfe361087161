"""`LLM`: a model by name, ready to generate."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from inferno.engine.admission import Admission
from inferno.engine.generation import Generation, PrefillProgress, Request, new_output
from inferno.engine.outputs import RequestOutput
from inferno.engine.prompts import Messages, Prompt, PromptLike, many_chats, many_prompts, one_prompt, token_list
from inferno.engine.sampling import SamplingParams, resolve_sampling
from inferno.errors import ContextLengthError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inferno.checkpoint import Checkpoint
    from inferno.config import LlamaConfig
    from inferno.models import Model
    from inferno.progress import Progress
    from inferno.text import Tokenizer


class LLM:
    """A Llama checkpoint on the CPU. Threads may share one; their steps take turns.

    model           a folder, a Hugging Face id (ORG/NAME), or "demo"
    threads         None: the CPUs that this process may use
    ctx_size        tokens of prompt and output together; None: the model's, or what memory allows
    kv_cache_type   how keys and values are stored: f16, f32 or bf16
    isa             kernel tier: scalar, avx2, ...; None: INFERNO_ISA, else the best that this CPU has
    numerics        how inputs of quantized layers are rounded: vllm (absmax / 127) or compressed-tensors (/ 127.5)
    revision        branch, tag or commit, for Hugging Face ids
    progress        told of downloads and imports

    Attributes: name, path, config (LlamaConfig), model (Model: ctx_size, threads, isa, ...), checkpoint (Checkpoint),
    tokenizer (Tokenizer), warnings (what a user should know of this model).

    Weights are mapped, not read, and stay as they are stored. Raises UsageError for arguments, ModelNotFoundError,
    CheckpointError, ConfigError, UnsupportedError, HardwareError or DownloadError for models.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        threads: int | None = None,
        ctx_size: int | None = None,
        kv_cache_type: str = "f16",
        isa: str | None = None,
        numerics: str = "vllm",
        revision: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        from inferno.analysis import analyze_folder, make_plan
        from inferno.discovery import resolve_model
        from inferno.models import Model

        location = resolve_model(model, revision=revision, progress=progress)
        self.name: str = location.name
        self.path: Path = location.path
        report = analyze_folder(location.path, location.name)
        plan = make_plan(
            report, threads=threads, ctx_size=ctx_size, kv_cache_type=kv_cache_type, isa=isa, numerics=numerics
        )
        loaded = Model(plan)
        self.config: LlamaConfig = loaded.config
        self.warnings: list[str] = plan.warnings
        # Reentrant: the collector may end a forgotten generation in the middle of another one's step.
        self._lock = threading.RLock()
        self._tokenizer: Tokenizer | None = None
        self._admission: Admission | None = Admission(loaded, self._lock)

    def generate(
        self,
        prompts: PromptLike | Sequence[PromptLike],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[RequestOutput]:
        """Continues raw prompts; one RequestOutput each, in their order.

        A prompt is a text, token ids, {"prompt": text} or {"prompt_token_ids": ids}; a list of integers is one prompt.
        Special tokens written in a text count, and BOS is added where the tokenizer says so, never twice. `params` is
        one for all, or one per prompt.

        Raises UsageError, TextError, or ContextLengthError if a prompt leaves no room for an answer: before anything
        runs.
        """
        called_at = perf_counter()
        forms = many_prompts(prompts)
        pairs = list(zip(forms, _params_for(len(forms), params, "prompts"), strict=True))
        return _finish([self._prompt_generation(form, chosen, called_at) for form, chosen in pairs])

    def stream(
        self, prompt: PromptLike, params: SamplingParams | None = None, *, progress: PrefillProgress | None = None
    ) -> Generation:
        """`generate` for one prompt, token by token: an iterator of StreamPiece whose joined texts are the text.

        Arguments are checked at once; nothing runs before the first piece is asked for. `.output` holds what has come
        so far, `.close()` ends it early. progress(done, total) is called while the prompt is read.
        """
        params = _one_completion(params)
        return self._prompt_generation(one_prompt(prompt), params, perf_counter(), progress)

    def chat(
        self,
        messages: Messages | Sequence[Messages],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        date: datetime.date | None = None,
    ) -> list[RequestOutput]:
        """Answers a chat, or each of a list of chats, through the model's chat template.

        A message is {"role": "user", "content": "..."}; special tokens written in it are ordinary text. `date` is the
        day that the template shows, today if None. Raises as `generate`, and TextError if there is no template.
        """
        called_at = perf_counter()
        chats = many_chats(messages)
        pairs = list(zip(chats, _params_for(len(chats), params, "chats"), strict=True))
        return _finish([self._chat_generation(chat, chosen, date, called_at) for chat, chosen in pairs])

    def stream_chat(
        self,
        messages: Messages,
        params: SamplingParams | None = None,
        *,
        date: datetime.date | None = None,
        progress: PrefillProgress | None = None,
    ) -> Generation:
        """`chat` for one chat, token by token, as `stream`."""
        chat, *others = many_chats(messages)
        if others:
            raise UsageError(f"messages: must be one chat to be streamed; got a list of {len(others) + 1}")
        return self._chat_generation(chat, _one_completion(params), date, perf_counter(), progress)

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits after each of `tokens`, which are taken as they are: float32 (tokens, vocab_size).

        Raises UsageError for an id outside the vocabulary, ContextLengthError beyond the context.
        """
        import numpy as np

        from inferno.models import PREFILL_CHUNK

        pieces = self.iter_logits(tokens, PREFILL_CHUNK)
        out = np.empty((len(tokens), self.config.vocab_size), np.float32)
        for start, logits in pieces:
            out[start : start + len(logits)] = logits
        return out

    def iter_logits(self, tokens: Sequence[int], rows: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """What `logits` gives, in pieces of at most `rows` rows, each with the number of its first.

        Arguments are checked at once. Raises as `logits`, and UsageError for fewer than one row.
        """
        admission = self._open()
        ids = self._checked_ids(token_list(tokens, "tokens"), "tokens")
        if rows < 1:
            raise UsageError(f"rows: must be at least 1; got {rows}")
        if len(ids) > admission.model.ctx_size:
            raise ContextLengthError(_too_long("tokens", len(ids), admission.model.ctx_size))
        return self._logit_pieces(admission, ids, rows)

    def _logit_pieces(
        self, admission: Admission, ids: Sequence[int], rows: int
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        with admission.sequence(len(ids)) as sequence:
            for start in range(0, len(ids), rows):
                with self._lock:
                    logits = admission.model.forward(sequence, ids[start : start + rows], "all")
                yield start, logits

    @property
    def model(self) -> Model:
        """The loaded model. Raises UsageError after close()."""
        return self._open().model

    @property
    def checkpoint(self) -> Checkpoint:
        """The mapped weights. Raises UsageError after close()."""
        return self.model.checkpoint

    @property
    def tokenizer(self) -> Tokenizer:
        """Loaded on first use. Raises TextError if tokenizer.json is missing or broken, UsageError after close()."""
        self._open()
        with self._lock:
            if self._tokenizer is None:
                from inferno.text import Tokenizer

                self._tokenizer = Tokenizer.from_folder(self.path)
            return self._tokenizer

    @property
    def num_parameters(self) -> int:
        """Numbers that the model consists of, a tied head counted once; codes count as what they stand for."""
        return self.model.plan.report.parameters

    @property
    def dtype(self) -> str:
        """What the weights are stored in, the type with the most bytes first: "BF16", "U4+BF16"."""
        return self.model.plan.report.dtype

    def close(self) -> None:
        """Lets go of model and tokenizer. The memory is free once open generations and arrays of it are gone."""
        self._admission = None
        self._tokenizer = None

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._admission is None:
            return f"LLM({self.name!r}, closed)"
        m = self._admission.model
        return (
            f"LLM({self.name!r}, {self.num_parameters} parameters, {self.dtype}, isa={m.isa!r}, threads={m.threads}, "
            f"ctx_size={m.ctx_size}, kv_cache_type={m.kv_cache_type!r})"
        )

    def _prompt_generation(
        self, prompt: Prompt, params: SamplingParams, called_at: float, progress: PrefillProgress | None = None
    ) -> Generation:
        ids = prompt.token_ids
        if ids is None:
            ids = tuple(self.tokenizer.encode(prompt.text or "", parse_special=True))
        return self._generation(prompt.text, ids, params, called_at, progress)

    def _chat_generation(
        self,
        messages: Messages,
        params: SamplingParams,
        date: datetime.date | None,
        called_at: float,
        progress: PrefillProgress | None = None,
    ) -> Generation:
        return self._generation(
            None, tuple(self.tokenizer.encode_chat(messages, date=date)), params, called_at, progress
        )

    def _generation(
        self,
        text: str | None,
        ids: tuple[int, ...],
        params: SamplingParams,
        called_at: float,
        progress: PrefillProgress | None,
    ) -> Generation:
        admission, tokenizer = self._open(), self.tokenizer
        model = admission.model
        self._checked_ids(ids, "prompt")
        if len(ids) >= model.ctx_size:
            raise ContextLengthError(_too_long("prompt", len(ids), model.ctx_size))
        ends = self.config.eos_token_ids | tokenizer.stop_token_ids
        sampling = resolve_sampling(params, self.config.generation, ends)
        output = new_output(text, list(ids), sampling)
        return Generation(Request(admission, tokenizer, output, sampling, called_at, progress))

    def _open(self) -> Admission:
        if self._admission is None:
            raise UsageError(f"LLM: {self.name} must be open; got one that was closed; make a new LLM")
        return self._admission

    def _checked_ids(self, ids: tuple[int, ...], where: str) -> tuple[int, ...]:
        if not ids:
            raise UsageError(f"{where}: must hold at least one token; got none")
        if min(ids) < 0 or max(ids) >= self.config.vocab_size:
            index, bad = next((i, x) for i, x in enumerate(ids) if not 0 <= x < self.config.vocab_size)
            raise UsageError(
                f"{where}: token ids must be from 0 to {self.config.vocab_size - 1}, the model's vocabulary; "
                f"got {bad} at {index}"
            )
        return ids


def _params_for(
    count: int, params: SamplingParams | Sequence[SamplingParams] | None, what: str
) -> Sequence[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if not isinstance(params, Sequence) or not all(isinstance(item, SamplingParams) for item in params):
        raise UsageError(f"params: must be SamplingParams or a list of them; got {params!r}")
    if len(params) != count:
        raise UsageError(f"params: must be one SamplingParams, or one for each of {count} {what}; got {len(params)}")
    return params


def _one_completion(params: SamplingParams | None) -> SamplingParams:
    (chosen,) = _params_for(1, params, "prompts")
    if chosen.n != 1:
        raise UsageError(f"SamplingParams: n must be 1 to be streamed; got {chosen.n}; use generate or chat")
    return chosen


def _finish(generations: Sequence[Generation]) -> list[RequestOutput]:
    for generation in generations:
        for _ in generation:
            pass
    return [generation.output for generation in generations]


def _too_long(what: str, tokens: int, ctx_size: int) -> str:
    most = f"{ctx_size}, the context" if what == "tokens" else f"{ctx_size - 1} tokens, one less than the context"
    return f"{what}: must be at most {most}; got {tokens} tokens; shorten it, or raise the context (-c, ctx_size)"
