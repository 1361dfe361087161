"""One forward of n tokens equals n of one, bit for bit, whatever the threads and however it is run.

The shapes reach every path of the matmuls (one token, few, many) and several blocks of the cache, the last one partial.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from inferno.checkpoint import Checkpoint
from inferno.models import Model, load_model
from tiny import write_tiny

TOKENS = 75
SHAPE = {
    "hidden_size": 100,
    "intermediate_size": 300,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "head_dim": 20,
    "attention_bias": True,
    "mlp_bias": True,
}
IDS = [int(i) for i in np.random.default_rng(7).integers(0, 131, TOKENS)]


@pytest.fixture(scope="module", params=["F32", "F16", "BF16"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / request.param, SHAPE, request.param)


def load(folder: Path, isa: str, threads: int, kv_cache_type: str) -> Model:
    return load_model(
        folder,
        ctx_size=TOKENS,
        threads=threads,
        isa=isa,
        kv_cache_type=kv_cache_type,
    )


def logits_in_chunks(model: Model, sizes: Iterable[int], eager: bool = False) -> np.ndarray:
    sequence = model.new_sequence()
    hook = (lambda index, name, read: None) if eager else None
    rows, start = [], 0
    for size in sizes:
        rows.append(model.forward(sequence, IDS[start : start + size], "all", hook))
        start += size
    assert start == TOKENS
    sequence.release()
    return np.concatenate(rows)


@pytest.mark.parametrize("kv_cache_type", ["f32", "f16", "bf16"])
def test_chunks_threads_and_eager_give_equal_bits(folder, isa, kv_cache_type):
    whole = logits_in_chunks(load(folder, isa, 1, kv_cache_type), [TOKENS])
    assert np.isfinite(whole).all()
    for threads in (1, 2, 5):
        model = load(folder, isa, threads, kv_cache_type)
        for sizes in ([TOKENS], [1] * TOKENS, [33, 1, 41], [11, 12, 13, 39], [2] * 37 + [1]):
            np.testing.assert_array_equal(logits_in_chunks(model, sizes), whole)
        np.testing.assert_array_equal(logits_in_chunks(model, [40, 35], eager=True), whole)


def test_last_row_alone_equals_all(folder, isa):
    model = load(folder, isa, 2, "f16")
    everything = logits_in_chunks(model, [TOKENS])
    np.testing.assert_array_equal(model.prefill(model.new_sequence(), IDS), everything[-1])


def test_sequences_beside_one_another_do_not_meet(folder, isa):
    """Blocks of two sequences alternate in the cache; each gets what it gets alone."""
    model = load_model(folder, ctx_size=2 * TOKENS + 40, threads=2, isa=isa)
    alone = logits_in_chunks(model, [TOKENS])
    first, second = model.new_sequence(), model.new_sequence()
    rows = []
    for start in range(0, TOKENS, 25):
        rows.append(model.forward(first, IDS[start : start + 25], "all"))
        model.forward(second, IDS[::-1][start : start + 25], "none")
    np.testing.assert_array_equal(np.concatenate(rows), alone)


def test_hook_sees_every_operation_and_its_values(folder, isa):
    model = load(folder, isa, 1, "f32")
    seen: list[str] = []
    embedded: dict[str, np.ndarray] = {}

    def hook(index, name, read):
        seen.append(name)
        if name == "embedding":
            embedded["h"] = read("h")

    model.forward(model.new_sequence(), IDS[:3], hook=hook)
    assert seen == model.program.operations
    assert embedded["h"].shape == (3, SHAPE["hidden_size"])
    table = Checkpoint.open(folder)["model.embed_tokens.weight"].array
    exact = (table.astype(np.uint32) << 16).view(np.float32) if table.dtype == np.uint16 else table.astype(np.float32)
    np.testing.assert_array_equal(embedded["h"], exact[IDS[:3]])
