"""Which tensors serve as embedding and as output head: told from names and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inferno.checkpoint.layouts import HUGGING_FACE, META, Layout
from inferno.checkpoint.tensor import AnyTensor
from inferno.errors import CheckpointError

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class HeadChoice:
    """The names of the two tensors, equal if one serves as both, and why."""

    embedding: str
    head: str
    reason: str

    @property
    def tied(self) -> bool:
        """Whether one tensor serves as both."""
        return self.embedding == self.head


def resolve_head(
    tensors: Mapping[str, AnyTensor],
    tie_word_embeddings: bool,
    folder: Path,
    layout: Layout = HUGGING_FACE,
    *,
    quantized_head: bool = False,
) -> HeadChoice:
    """Chooses embedding and head. What is stored is used: a head in the files counts, also where the config ties it.

    transformers does the same. Tied, and one stored: it serves as both. Untied: both must be there, else
    CheckpointError. `quantized_head`: there is a head in a quantized form, under whatever names; it is no embedding.
    """
    if quantized_head and EMBEDDING not in tensors:
        raise CheckpointError(
            f"{folder}: must hold {EMBEDDING}; got a quantized head alone, which cannot serve as embedding"
        )
    if EMBEDDING in tensors and (HEAD in tensors or quantized_head):
        why = (
            f"tie_word_embeddings is true, yet {HEAD} is stored beside {EMBEDDING}: it is used as it is stored"
            if tie_word_embeddings
            else f"untied: {HEAD} is stored"
        )
        return HeadChoice(EMBEDDING, HEAD, why)
    found = EMBEDDING if EMBEDDING in tensors else HEAD
    if found not in tensors:
        raise CheckpointError(f"{folder}: must hold {layout.stored(EMBEDDING)} or {layout.stored(HEAD)}; got neither")
    if not tie_word_embeddings:
        lacking = HEAD if found == EMBEDDING else EMBEDDING
        if layout is META:
            raise CheckpointError(f"{folder}: must hold {layout.stored(lacking)}; got only {layout.stored(found)}")
        raise CheckpointError(
            f"{folder}: must hold {lacking}, for config.json says that tie_word_embeddings is false; got only "
            f"{found}; if the two are one tensor, set tie_word_embeddings to true"
        )
    return HeadChoice(found, found, f"tied: {found} serves as embedding and head")
