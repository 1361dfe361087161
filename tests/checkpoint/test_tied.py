"""Which tensors serve as embedding and head, when they are tied, and when one of them is absent."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inferno.checkpoint import Checkpoint, HeadChoice, resolve_head
from inferno.errors import CheckpointError

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)


def choose(folder: Path, tied: bool, *, quantized_head: bool = False, **tensors: np.ndarray) -> HeadChoice:
    named = {"embedding": EMBEDDING, "head": HEAD, "other": "model.norm.weight"}
    save_file({named[key]: tensor for key, tensor in tensors.items()}, folder / "model.safetensors")
    return resolve_head(Checkpoint.open(folder), tied, folder, quantized_head=quantized_head)


def test_untied(tmp_path: Path) -> None:
    choice = choose(tmp_path, False, embedding=TABLE, head=TABLE)
    assert choice == HeadChoice(EMBEDDING, HEAD, "untied: lm_head.weight is stored")
    assert not choice.tied


def test_a_stored_head_counts_where_the_config_ties_it(tmp_path: Path) -> None:
    choice = choose(tmp_path, True, embedding=TABLE, head=TABLE + 1)
    assert (choice.embedding, choice.head) == (EMBEDDING, HEAD)
    assert choice.reason.startswith("tie_word_embeddings is true, yet lm_head.weight is stored beside")


@pytest.mark.parametrize(("key", "name"), [("embedding", EMBEDDING), ("head", HEAD)])
def test_one_of_a_tied_pair_serves_as_both(tmp_path: Path, key: str, name: str) -> None:
    choice = choose(tmp_path, True, **{key: TABLE})
    assert choice == HeadChoice(name, name, f"tied: {name} serves as embedding and head")
    assert choice.tied


@pytest.mark.parametrize(("key", "found", "lacking"), [("embedding", EMBEDDING, HEAD), ("head", HEAD, EMBEDDING)])
def test_one_of_an_untied_pair_is_refused(tmp_path: Path, key: str, found: str, lacking: str) -> None:
    with pytest.raises(
        CheckpointError,
        match=rf"^{re.escape(str(tmp_path))}: must hold {lacking}, for config.json says that tie_word_embeddings is "
        rf"false; got only {found}; if the two are one tensor, set tie_word_embeddings to true$",
    ):
        choose(tmp_path, False, **{key: TABLE})


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["head", "other"])  # its codes may have the name of a head or not
def test_a_quantized_head_is_no_embedding(tmp_path: Path, tied: bool, name: str) -> None:
    message = f"must hold {EMBEDDING}; got a quantized head alone, which cannot serve as embedding$"
    with pytest.raises(CheckpointError, match=message):
        choose(tmp_path, tied, quantized_head=True, **{name: TABLE})


@pytest.mark.parametrize("tied", [True, False])
def test_neither(tmp_path: Path, tied: bool) -> None:
    with pytest.raises(CheckpointError, match=rf"must hold {EMBEDDING} or {HEAD}; got neither$"):
        choose(tmp_path, tied, other=TABLE)
