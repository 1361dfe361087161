"""Which tensors serve as embedding and as output head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferno.checkpoint.checkpoint import Checkpoint
from inferno.checkpoint.tensor import Tensor
from inferno.errors import CheckpointError

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

# Both tables stay in the page cache; the chunk bounds the comparison's scratch.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class HeadChoice:
    """The names of the two tensors, equal if one serves as both, and what the user should be told, if anything."""

    embedding: str
    head: str
    warning: str | None = None


def resolve_head(ckpt: Checkpoint, tie_word_embeddings: bool) -> HeadChoice:
    """Chooses embedding and head.

    Tied, and both stored: equal bytes are one tensor; different ones are both used, with a warning (transformers would
    let one of them go). Tied, and one stored: it serves as both. Untied: both must be there, else CheckpointError.
    """
    if EMBEDDING in ckpt and HEAD in ckpt:
        if not tie_word_embeddings:
            return HeadChoice(EMBEDDING, HEAD)
        if _same_bytes(ckpt[EMBEDDING], ckpt[HEAD]):
            return HeadChoice(EMBEDDING, EMBEDDING)
        warning = (
            f"{ckpt.folder}: tie_word_embeddings is true, yet {HEAD} differs from {EMBEDDING}; "
            f"{HEAD} is used as the output head"
        )
        return HeadChoice(EMBEDDING, HEAD, warning)
    found = EMBEDDING if EMBEDDING in ckpt else HEAD
    if found not in ckpt:
        raise CheckpointError(f"{ckpt.folder}: must hold {EMBEDDING} or {HEAD}; got neither")
    if not tie_word_embeddings:
        lacking = HEAD if found == EMBEDDING else EMBEDDING
        raise CheckpointError(
            f"{ckpt.folder}: must hold {lacking}, for config.json says that tie_word_embeddings is false; got only "
            f"{found}; if the two are one tensor, set tie_word_embeddings to true"
        )
    return HeadChoice(found, found)


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    left, right = _bytes(a), _bytes(b)
    return all(
        np.array_equal(left[start : start + _CHUNK], right[start : start + _CHUNK])
        for start in range(0, left.size, _CHUNK)
    )


def _bytes(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return tensor.array.reshape(-1).view(np.uint8)
