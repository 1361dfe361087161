"""How long a context may be, beside weights and in a given memory."""

from __future__ import annotations

from typing import Any

import pytest

from inferno.analysis.context import MAX_CONTEXT, ContextChoice, choose_context
from inferno.config import LlamaConfig
from inferno.errors import HardwareError, UsageError
from tiny import tiny_config

# Of the tiny model in f16: 2 layers x (keys + values) x 2 KV heads x 16 numbers x 2 bytes.
PER_TOKEN = 2 * 2 * 2 * 16 * 2
LONGEST = 512


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Any:
    def choose(
        ctx_size: int | None, available: int, weights: int = 0, kind: str = "f16", **changes: object
    ) -> ContextChoice:
        monkeypatch.setattr("inferno.hardware.available_memory", lambda: available)
        return choose_context(LlamaConfig.from_dict(tiny_config(changes)), kind, ctx_size, weights)

    return choose


def codes(choice: ContextChoice) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in choice.findings]


def test_the_models_own_where_memory_is_plenty(choose: Any) -> None:
    choice = choose(None, 1 << 30)
    assert (choice.ctx_size, choice.largest, choice.kv_bytes_per_token) == (LONGEST, (1 << 30) // PER_TOKEN, PER_TOKEN)
    assert choice.available_bytes == 1 << 30
    assert codes(choice) == []


@pytest.mark.parametrize(("kind", "factor"), [("f32", 2), ("f16", 1), ("bf16", 1)])
def test_bytes_by_type(choose: Any, kind: str, factor: int) -> None:
    assert choose(None, 1 << 30, kind=kind).kv_bytes_per_token == factor * PER_TOKEN


def test_half_of_what_the_weights_leave(choose: Any) -> None:
    weights = 1_000_000
    assert codes(choose(None, weights + 2 * LONGEST * PER_TOKEN, weights)) == []
    choice = choose(None, weights + 2 * LONGEST * PER_TOKEN - 1, weights)
    assert choice.ctx_size == LONGEST - 1
    assert choice.largest == 2 * LONGEST - 1
    assert codes(choice) == [("note", "context-shortened")]
    assert f"{LONGEST - 1} tokens instead of the model's {LONGEST}" in choice.findings[0].message


def test_weights_that_do_not_fit_leave_a_little(choose: Any) -> None:
    available = 16 * 100 * PER_TOKEN
    choice = choose(None, available, weights=2 * available)
    assert (choice.ctx_size, choice.largest) == (100, 0)
    assert codes(choice) == [("note", "context-shortened"), ("warning", "memory-short")]
    assert "are read from the disk for every token" in choice.findings[1].message


def test_no_memory_at_all_is_one_token(choose: Any) -> None:
    assert choose(None, 0).ctx_size == 1


@pytest.mark.parametrize("ctx_size", [1, 100, LONGEST])
def test_what_was_asked_for(choose: Any, ctx_size: int) -> None:
    choice = choose(ctx_size, ctx_size * PER_TOKEN)
    assert choice.ctx_size == ctx_size
    assert codes(choice) == []


def test_more_than_memory_holds_is_refused_with_what_it_would(choose: Any) -> None:
    choice = choose(100, 100 * PER_TOKEN - 1)
    first = choice.findings[0]
    assert (first.severity, first.code, first.where) == ("error", "hardware", "ctx_size")
    assert isinstance(first.error, HardwareError)
    assert str(first.error).startswith("ctx_size: 100 tokens need 0.0 GB for keys and values, and 0.0 GB are available")
    assert str(first.error).endswith("; ask for at most 99")


def test_keys_and_values_that_fit_only_without_the_weights(choose: Any) -> None:
    choice = choose(100, 100 * PER_TOKEN, weights=1)
    assert codes(choice) == [("warning", "memory-short")]
    assert choice.largest == 99


def test_beyond_the_model(choose: Any) -> None:
    assert codes(choose(LONGEST + 1, 1 << 30)) == [("warning", "context-beyond-model")]
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert codes(choose(LONGEST + 1, 1 << 30, rope_parameters=rope)) == []


def test_a_model_beyond_what_positions_count(choose: Any) -> None:
    assert choose(None, 1 << 50, max_position_embeddings=2**31 - 1).ctx_size == MAX_CONTEXT
    assert codes(choose(MAX_CONTEXT, 1 << 50, max_position_embeddings=2**31 - 1)) == []


@pytest.mark.parametrize("ctx_size", [0, -1, MAX_CONTEXT + 1, True, 1.5, "64"])
def test_no_size(choose: Any, ctx_size: object) -> None:
    with pytest.raises(UsageError, match=rf"^ctx_size: must be from 1 to {MAX_CONTEXT} tokens; got "):
        choose(ctx_size, 1 << 30)
