"""Steps of a model, and the machine's own limit for each: to be measured in turn, for the machine may be shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inferno import hardware
from inferno.models import Model, load_model

CONTEXT = 1024
PROMPT = 256


def load(folder: Path, threads: int | None = None, isa: str | None = None) -> Model:
    return load_model(folder, ctx_size=CONTEXT, threads=threads, isa=isa)


def decode_bytes(model: Model) -> int:
    """Bytes of weights that one token reads: all but the embedding table, unless it is the head too."""
    head = model.plan.head
    return model.weight_bytes - (0 if head.tied else model.checkpoint[head.embedding].nbytes)


def prefill_multiply_adds(model: Model, tokens: int) -> int:
    """Multiply-adds of the matmuls for a prompt; attention's are not counted, the head runs for the last token."""
    c = model.config
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    layer = c.hidden_size * (2 * q + 2 * kv + 3 * c.intermediate_size)
    return tokens * layer * c.num_hidden_layers + c.hidden_size * c.vocab_size


@dataclass(frozen=True)
class Step:
    """Work to time, and what the machine could do at best.

    `amount` / seconds of work is compared with limit(): bytes, or multiply-adds, per second.
    """

    work: Callable[[], object]
    amount: float
    limit: Callable[[], float]
    tokens: int


def decode(model: Model, tokens: int = 4) -> Step:
    """Tokens one at a time after a short prompt, against reading the mapped weights."""
    sequence = model.new_sequence()
    model.forward(sequence, np.arange(8, dtype=np.int32))
    maps = model.checkpoint.maps()

    def work() -> None:
        for _ in range(tokens):
            model.forward(sequence, [5])

    def limit() -> float:
        return hardware.read_bandwidth(maps, model.threads, model.isa)

    return Step(work, tokens * decode_bytes(model), limit, tokens)


def prefill(model: Model, tokens: int = PROMPT) -> Step:
    """A prompt from an empty context, against multiply-adds on registers: of integers if its layers' matmuls are."""
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, tokens).astype(np.int32)
    operations = {binding.operation for binding in model.plan.bindings}
    peak = hardware.madd_peak if "matmul_int8" in operations else hardware.fma_peak

    def work() -> None:
        sequence = model.new_sequence()
        model.prefill(sequence, ids)
        sequence.release()

    def limit() -> float:
        return peak(model.threads, model.isa, rounds=3_000_000)

    return Step(work, prefill_multiply_adds(model, tokens), limit, tokens)
