"""A loaded model: bound weights, a KV cache, the step program, and one `forward` for prefill, chunks and decode."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ids
from typing import Literal

import numpy as np
import numpy.typing as npt

from inferno import hardware
from inferno._core import MAX_HEAD_DIM
from inferno.backend import Backend
from inferno.checkpoint import Checkpoint, check_tensors, resolve_head
from inferno.config import LlamaConfig
from inferno.errors import HardwareError, UnsupportedError, UsageError
from inferno.kv_cache import KvCache, Sequence, kv_bytes_per_token
from inferno.models.llama import Llama, expected_tensors
from inferno.program import Batch, Hook, Program
from inferno.rope import rope_frequencies

Float32 = npt.NDArray[np.float32]

# Tokens of a long prompt that run at once: enough that widening a weight is paid for many times over, few enough that
# Ctrl-C and progress are prompt and the workspace stays small.
PREFILL_CHUNK = 256

# RoPE multiplies positions in float32, which counts no further.
_MAX_CONTEXT = 1 << 24


class Model:
    """A checkpoint ready to run. Not for two threads at once: callers take turns."""

    def __init__(
        self,
        ckpt: Checkpoint,
        config: LlamaConfig,
        *,
        ctx_size: int | None = None,
        threads: int | None = None,
        kv_cache_type: str = "f16",
        isa: str | None = None,
    ) -> None:
        """Checks everything, then binds; no weight is read, cast or copied.

        ctx_size None: the model's, or what memory allows. threads None: the CPUs that this process may use. isa None:
        INFERNO_ISA, else the best tier. Raises UsageError, UnsupportedError, CheckpointError or HardwareError.
        """
        self.config = config
        self.checkpoint = ckpt
        self.warnings: list[str] = []
        self.threads = hardware.check_threads(threads)
        backend = Backend(hardware.check_isa(isa))
        self.isa = backend.isa
        if config.head_dim > MAX_HEAD_DIM:
            raise UnsupportedError(f"head_dim: must be at most {MAX_HEAD_DIM}; got {config.head_dim}")
        check_tensors(ckpt, expected_tensors(config))
        head = resolve_head(ckpt, config.tie_word_embeddings)
        if head.warning:
            self.warnings.append(head.warning)
        self.kv_cache_type = kv_cache_type
        self.ctx_size = self._choose_context(ctx_size)
        rope = rope_frequencies(config.rope, config.head_dim, config.max_position_embeddings, self.ctx_size)
        self._cache = KvCache(
            config.num_hidden_layers, config.num_key_value_heads, config.head_dim, self.ctx_size, kv_cache_type
        )
        Llama(config, ckpt, head, self._cache, rope).record(backend)
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

    def _choose_context(self, ctx_size: int | None) -> int:
        c = self.config
        per_token = kv_bytes_per_token(c.num_hidden_layers, c.num_key_value_heads, c.head_dim, self.kv_cache_type)
        longest = min(c.max_position_embeddings, _MAX_CONTEXT)
        available = hardware.available_memory()
        fits = max(available // 2 // per_token, 1)
        if ctx_size is None:
            if fits < longest:
                self.warnings.append(
                    f"context: {fits} tokens instead of the model's {longest}: keys and values of all would take "
                    f"{longest * per_token / 1e9:.1f} GB, half of the available memory is {available / 2e9:.1f} GB"
                )
            return min(longest, fits)
        if isinstance(ctx_size, bool) or not isinstance(ctx_size, int) or not 1 <= ctx_size <= _MAX_CONTEXT:
            raise UsageError(f"ctx_size: must be from 1 to {_MAX_CONTEXT} tokens; got {ctx_size!r}")
        if ctx_size > longest and c.rope.rope_type != "dynamic":
            self.warnings.append(
                f"context: {ctx_size} tokens are more than the {longest} that the model was made for; expect nonsense "
                "beyond those"
            )
        if ctx_size * per_token > available:
            raise HardwareError(
                f"ctx_size: {ctx_size} tokens need {ctx_size * per_token / 1e9:.1f} GB for keys and values, and "
                f"{available / 1e9:.1f} GB are available; ask for at most {available // per_token}"
            )
        return ctx_size
