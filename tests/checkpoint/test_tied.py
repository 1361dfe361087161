"""Which tensors serve as embedding and head, when they are tied, and when one of them is absent."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from containers import container, entry
from inferno.checkpoint import Checkpoint, HeadChoice, resolve_head
from inferno.errors import CheckpointError

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
# More than a chunk of the comparison, and no multiple of it.
TABLE = np.arange(700_001, dtype=np.float32).reshape(1, -1)


def store(folder: Path, **tensors: np.ndarray) -> Checkpoint:
    named = {"embedding": EMBEDDING, "head": HEAD, "other": "model.norm.weight"}
    save_file({named[key]: tensor for key, tensor in tensors.items()}, folder / "model.safetensors")
    return Checkpoint.open(folder)


def test_untied(tmp_path: Path) -> None:
    choice = resolve_head(store(tmp_path, embedding=TABLE, head=TABLE), tie_word_embeddings=False)
    assert choice == HeadChoice(EMBEDDING, HEAD, None)


def test_tied_with_equal_bytes_is_one_tensor(tmp_path: Path) -> None:
    choice = resolve_head(store(tmp_path, embedding=TABLE, head=TABLE.copy()), tie_word_embeddings=True)
    assert choice == HeadChoice(EMBEDDING, EMBEDDING, None)


def test_equal_bytes_are_equal_whatever_they_mean(tmp_path: Path) -> None:
    table = np.full((3, 4), np.nan, np.float32)
    assert resolve_head(store(tmp_path, embedding=table, head=table.copy()), True).head == EMBEDDING


@pytest.mark.parametrize("index", [0, 1 << 18, TABLE.size - 1])
def test_tied_with_different_bytes_uses_the_head_and_warns(tmp_path: Path, index: int) -> None:
    head = TABLE.copy()
    head[0, index] += 1
    choice = resolve_head(store(tmp_path, embedding=TABLE, head=head), tie_word_embeddings=True)
    assert (choice.embedding, choice.head) == (EMBEDDING, HEAD)
    assert choice.warning == (
        f"{tmp_path}: tie_word_embeddings is true, yet {HEAD} differs from {EMBEDDING}; {HEAD} is used as the output "
        "head"
    )


def test_zeros_of_either_sign_differ(tmp_path: Path) -> None:
    zeros = np.zeros((2, 2), np.float32)
    assert resolve_head(store(tmp_path, embedding=zeros, head=-zeros), True).head == HEAD


def test_another_dtype_is_different(tmp_path: Path) -> None:
    zeros = np.zeros((2, 2), np.float32)
    choice = resolve_head(store(tmp_path, embedding=zeros, head=zeros.astype(np.int32)), True)
    assert choice.head == HEAD
    assert choice.warning is not None


def test_unaligned_tables_are_compared(tmp_path: Path) -> None:
    header = {"p": entry("U8", [1], 0, 1), EMBEDDING: entry("BF16", [2, 2], 1, 9), HEAD: entry("BF16", [2, 2], 9, 17)}
    for last, head in ((7, EMBEDDING), (8, HEAD)):
        data = b"\0" + bytes(range(8)) + bytes(range(7)) + bytes([last])
        (tmp_path / "model.safetensors").write_bytes(container(header, data))
        assert resolve_head(Checkpoint.open(tmp_path), True).head == head


@pytest.mark.parametrize(("key", "name"), [("embedding", EMBEDDING), ("head", HEAD)])
def test_one_of_a_tied_pair_serves_as_both(tmp_path: Path, key: str, name: str) -> None:
    assert resolve_head(store(tmp_path, **{key: TABLE}), tie_word_embeddings=True) == HeadChoice(name, name, None)


@pytest.mark.parametrize(("key", "found", "lacking"), [("embedding", EMBEDDING, HEAD), ("head", HEAD, EMBEDDING)])
def test_one_of_an_untied_pair_is_refused(tmp_path: Path, key: str, found: str, lacking: str) -> None:
    with pytest.raises(
        CheckpointError,
        match=rf"^{re.escape(str(tmp_path))}: must hold {lacking}, for config.json says that tie_word_embeddings is "
        rf"false; got only {found}; if the two are one tensor, set tie_word_embeddings to true$",
    ):
        resolve_head(store(tmp_path, **{key: TABLE}), tie_word_embeddings=False)


@pytest.mark.parametrize("tied", [True, False])
def test_neither(tmp_path: Path, tied: bool) -> None:
    with pytest.raises(CheckpointError, match=rf"must hold {EMBEDDING} or {HEAD}; got neither$"):
        resolve_head(store(tmp_path, other=TABLE), tied)
