"""tokenizer.json of a GGUF with vocabulary `llama`: SentencePiece's BPE, whose merges follow from the scores.

SentencePiece joins the two neighbours whose union has the highest score. The library `tokenizers` wants a ranked list
of pairs: every way to cut a token into two tokens, ordered by the token's score, best first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferno.errors import TextError, UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile
from inferno.gguf_import.vocabulary import TokenType, Vocabulary, added_tokens, post_processor

_SPACE = "\u2581"


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
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                *([{"type": "Prepend", "prepend": _SPACE}] if prefix else []),
                {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": post_processor(vocabulary),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []),
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if vocabulary.unk is None else vocabulary.tokens[vocabulary.unk],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: index for index, text in enumerate(vocabulary.tokens)},
            "merges": _merges(meta, vocabulary),
        },
    }


def _merges(meta: Metadata, vocabulary: Vocabulary) -> list[list[str]]:
    scores = meta.array("tokenizer.ggml.scores", len(vocabulary.tokens)).astype(np.float64)
    if not np.isfinite(scores).all():
        raise TextError(f"{meta.path}: tokenizer.ggml.scores must be finite; got NaN or infinity")
    normal = vocabulary.ids(TokenType.NORMAL)
    ids = {vocabulary.tokens[index]: index for index in normal}
    ranked: list[tuple[float, int, int, str, str]] = []
    for text, index in ids.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in ids and right in ids:
                # Equal scores are the same token cut elsewhere (or, rarely, another of equal score): lower ids first.
                ranked.append((-scores[index], ids[left], ids[right], left, right))
    ranked.sort()
    return [[left, right] for _, _, _, left, right in ranked]


def _check_bytes(gguf: GgufFile, vocabulary: Vocabulary) -> None:
    found = {vocabulary.tokens[index] for index in vocabulary.ids(TokenType.BYTE)}
    missing = [name for name in (f"<0x{byte:02X}>" for byte in range(256)) if name not in found]
    if missing:
        raise TextError(
            f"{gguf.path}: a vocabulary of kind llama must have 256 byte tokens (type 6); {missing[0]} is not one"
        )
