"""Which bytes a step reads, as few long arrays on the map itself."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.checkpoint import Checkpoint
from inferno.engine.traffic import memory_runs, tensors_per_step
from tiny import write_tiny


@pytest.mark.parametrize("tied", [False, True])
def test_the_embedding_counts_only_as_a_head(tmp_path, tied):
    ckpt = Checkpoint.open(write_tiny(tmp_path, {"tie_word_embeddings": tied}))
    names = {tensor.name for tensor in tensors_per_step(ckpt)}
    assert ("model.embed_tokens.weight" in names) == tied
    assert names | {"model.embed_tokens.weight"} == set(ckpt)


def test_runs_are_the_tensors_bytes(tmp_path):
    ckpt = Checkpoint.open(write_tiny(tmp_path))
    tensors = list(ckpt.values())
    (run,) = memory_runs(reversed(tensors))
    assert run.tobytes() == b"".join(tensor.array.tobytes() for tensor in tensors)
    assert np.shares_memory(run, tensors[0].array)
    chosen = [tensors[0], tensors[2], tensors[3], tensors[6]]
    runs = memory_runs(chosen)
    assert [run.size for run in runs] == [
        tensors[0].nbytes,
        tensors[2].nbytes + tensors[3].nbytes,
        tensors[6].nbytes,
    ]
    assert b"".join(run.tobytes() for run in runs) == b"".join(tensor.array.tobytes() for tensor in chosen)
