"""A loaded model: bound weights, a KV cache, the step program, and one `forward` for prefill, chunks and decode."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ids
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from inferno.backend import Backend
from inferno.errors import InfernoError, UsageError
from inferno.kv_cache import KvCache, Sequence
from inferno.models.llama import Llama
from inferno.models.weights import Weights
from inferno.program import Batch, Hook, Program

if TYPE_CHECKING:
    from inferno.analysis import Plan

Float32 = npt.NDArray[np.float32]

# Tokens of a long prompt that run at once: enough that widening a weight is paid for many times over, few enough that
# Ctrl-C and progress are prompt and the workspace stays small.
PREFILL_CHUNK = 256


class Model:
    """A checkpoint ready to run. Not for two threads at once: callers take turns.

    Attributes: plan (Plan), config (LlamaConfig), checkpoint (Checkpoint), ctx_size, threads, isa, kv_cache_type,
    numerics.
    """

    def __init__(self, plan: Plan) -> None:
        """Binds what the plan says; no weight is read, cast or copied. Raises the plan's first error, if it has one."""
        plan.raise_for_errors()
        self.plan = plan
        self.config = config = plan.config
        self.checkpoint = plan.checkpoint
        self.threads = plan.threads
        self.isa = plan.isa
        self.kv_cache_type = plan.kv_cache_type
        self.numerics = plan.numerics
        self.ctx_size = plan.ctx_size
        self._cache = KvCache(
            config.num_hidden_layers, config.num_key_value_heads, config.head_dim, self.ctx_size, self.kv_cache_type
        )
        backend = Backend(plan.isa, plan.numerics)
        report, pages = plan.report, self._cache.layers
        assert plan.rope is not None
        weights = Weights(plan.checkpoint, report.schemes)
        Llama(config, weights, plan.head, pages, plan.rope, report.interleaved_rope).record(backend)
        self.program = Program(backend.program, self.threads)
        self._logits = np.empty((1, config.vocab_size), np.float32)

    @property
    def kv_bytes(self) -> int:
        """Bytes reserved for keys and values; they become resident as the context fills."""
        return self._cache.nbytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, as stored."""
        return self.checkpoint.nbytes

    def new_sequence(self) -> Sequence:
        """An empty sequence; it takes blocks of the cache as it grows."""
        return Sequence(self._cache, self.ctx_size)

    def forward(
        self,
        sequence: Sequence,
        token_ids: Ids[int] | npt.NDArray[np.int32],
        outputs: Literal["last", "all", "none"] = "last",
        hook: Hook | None = None,
    ) -> Float32:
        """Runs the sequence's next tokens, in one step; returns logits (rows, vocab_size).

        With "last" the array is the model's own and valid until the next forward. With a hook the step runs eagerly.
        Raises ContextLengthError if the tokens do not fit, UsageError for an id outside the vocabulary.
        """
        tokens = len(token_ids)
        if tokens == 0:
            raise UsageError("forward: token_ids must hold at least one token; got none")
        chosen: dict[str, Ids[int]] = {"last": [tokens - 1], "all": range(tokens), "none": []}
        if outputs not in chosen:
            raise UsageError(f"forward: outputs must be one of {', '.join(chosen)}; got {outputs!r}")
        rows = chosen[outputs]
        sequence.reserve(tokens)
        batch = Batch.of_one(token_ids, sequence.length, sequence.block_table, list(rows))
        try:
            if hook is None:
                self.program.run(batch)
            else:
                self.program.run_eager(batch, hook)
        except InfernoError:  # a hook's own
            raise
        except ValueError as error:
            raise UsageError(str(error)) from None
        sequence.length += tokens
        logits = self._logits if outputs == "last" else np.empty((len(rows), self.config.vocab_size), np.float32)
        self.program.read_into("logits", logits)
        return logits

    def prefill(
        self,
        sequence: Sequence,
        token_ids: Ids[int] | npt.NDArray[np.int32],
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32:
        """Runs a prompt in chunks; returns the logits (vocab_size,) of its last token, valid until the next forward.

        progress(done, total) is called after each chunk. Chunks change no bit.
        """
        ids = np.asarray(token_ids)
        for start in range(0, max(len(ids), 1), PREFILL_CHUNK):
            chunk = ids[start : start + PREFILL_CHUNK]
            end = start + len(chunk)
            logits = self.forward(sequence, chunk, "last" if end == len(ids) else "none")
            if progress is not None:
                progress(end, len(ids))
        result: Float32 = logits[0]
        return result
