"""tokenizer.json of a GGUF with vocabulary `llama`: SentencePiece's BPE, from the scores in the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferno.errors import TextError, UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile
from inferno.text.sentencepiece_bpe import BYTES, Merges, sentencepiece_json
from inferno.text.vocabulary import TokenType, Vocabulary


def sentencepiece_tokenizer_json(gguf: GgufFile, vocabulary: Vocabulary) -> dict[str, Any]:
    """tokenizer.json as the library `tokenizers` reads it.

    Raises TextError if scores or byte tokens are missing, UnsupportedError for a normalization that it cannot express.
    """
    meta = Metadata(gguf)
    if meta.boolean("tokenizer.ggml.remove_extra_whitespaces", default=False):
        raise UnsupportedError(
            f"{gguf.path}: tokenizer.ggml.remove_extra_whitespaces must be false for vocabulary llama"
        )
    if len(meta.values.get("tokenizer.ggml.precompiled_charsmap", ())):
        raise UnsupportedError(f"{gguf.path}: tokenizer.ggml.precompiled_charsmap must be empty for vocabulary llama")
    _check_bytes(gguf, vocabulary)
    prefix = meta.boolean("tokenizer.ggml.add_space_prefix", default=True)
    return sentencepiece_json(vocabulary, Merges(vocabulary, _scores(meta, vocabulary)), dummy_prefix=prefix)


def _scores(meta: Metadata, vocabulary: Vocabulary) -> list[float]:
    scores = meta.array("tokenizer.ggml.scores", len(vocabulary.tokens)).astype(np.float64)
    if not np.isfinite(scores).all():
        raise TextError(f"{meta.path}: tokenizer.ggml.scores must be finite; got NaN or infinity")
    found: list[float] = scores.tolist()
    return found


def _check_bytes(gguf: GgufFile, vocabulary: Vocabulary) -> None:
    found = {vocabulary.tokens[index] for index in vocabulary.ids(TokenType.BYTE)}
    missing = [name for name in BYTES if name not in found]
    if missing:
        raise TextError(
            f"{gguf.path}: a vocabulary of kind llama must have 256 byte tokens (type 6); {missing[0]} is not one"
        )
