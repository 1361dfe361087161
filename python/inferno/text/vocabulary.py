"""Tokens with types and roles, as GGUF files and SentencePiece models hold them, and their part of tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

# In bytes: Llama 3's longest token has 128, Llama 2's 48. Every cut of every token is tried, so that a token costs the
# square of its length, and one of a megabyte minutes.
MAX_TOKEN_LENGTH = 1024


class TokenType(IntEnum):
    """SentencePiece's piece types, which are also ggml's token types."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, and the roles of some."""

    kind: str  # as tokenizer.ggml.model: gpt2 or llama
    tokens: list[str]
    types: list[int]
    bos: int | None
    eos: int | None
    unk: int | None
    pad: int | None
    ends: list[int]  # every id that ends generation, the declared eos first
    add_bos: bool
    add_eos: bool

    def ids(self, *types: TokenType) -> list[int]:
        """Ids of the tokens of these types, ascending."""
        return [index for index, kind in enumerate(self.types) if kind in types]

    def roles(self) -> dict[str, str]:
        """Texts of the tokens with a role, by the role's name in tokenizer_config.json."""
        ids = {"bos_token": self.bos, "eos_token": self.eos, "unk_token": self.unk, "pad_token": self.pad}
        return {role: self.tokens[index] for role, index in ids.items() if index is not None}


def added_tokens(vocabulary: Vocabulary, *, user_defined_normalized: bool = False) -> list[dict[str, Any]]:
    """added_tokens of tokenizer.json: what is matched in the text as a whole, before it is split.

    Bytes of a `llama` vocabulary are ordinary tokens. User-defined ones are text, so decoding keeps them; they are
    looked for in the normalized text if `user_defined_normalized`.
    """
    types = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED)
    user_defined = TokenType.USER_DEFINED
    return [
        {
            "id": index,
            "content": vocabulary.tokens[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": user_defined_normalized and vocabulary.types[index] == user_defined,
            "special": vocabulary.types[index] != user_defined,
        }
        for index in vocabulary.ids(*types)
    ]


def post_processor(vocabulary: Vocabulary, before: Sequence[dict[str, Any]] = ()) -> dict[str, Any] | None:
    """The post_processor of tokenizer.json: `before`, then BOS and EOS where the model wants them."""
    steps = list(before)
    pieces: list[tuple[str, int]] = []
    if vocabulary.add_bos and vocabulary.bos is not None:
        pieces.append(("bos", vocabulary.bos))
    if vocabulary.add_eos and vocabulary.eos is not None:
        pieces.append(("eos", vocabulary.eos))
    if pieces:
        steps.append(_template(vocabulary, dict(pieces)))
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"type": "Sequence", "processors": steps}


def _template(vocabulary: Vocabulary, ends: dict[str, int]) -> dict[str, Any]:
    def around(sequence: str, type_id: int) -> list[dict[str, Any]]:
        def special(role: str) -> list[dict[str, Any]]:
            if role not in ends:
                return []
            return [{"SpecialToken": {"id": vocabulary.tokens[ends[role]], "type_id": type_id}}]

        return [*special("bos"), {"Sequence": {"id": sequence, "type_id": type_id}}, *special("eos")]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": around("A", 0) + around("B", 1),
        "special_tokens": {
            text: {"id": text, "ids": [index], "tokens": [text]}
            for index in ends.values()
            for text in [vocabulary.tokens[index]]
        },
    }
