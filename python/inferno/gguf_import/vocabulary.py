"""The vocabulary of a GGUF: tokens, their types and the ids with a role. Both kinds, `gpt2` and `llama`, share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from inferno.errors import ConfigError, TextError, UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile

# Texts of control tokens that end a turn or a text in models of this family, whatever the file declares.
_END_TEXTS = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>"}


class TokenType(IntEnum):
    """ggml's token types."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, and the roles of some."""

    kind: str  # tokenizer.ggml.model: gpt2 or llama
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


def read_vocabulary(gguf: GgufFile, vocab_size: int, *, add_bos: bool) -> Vocabulary:
    """Reads tokens and roles; add_bos: what holds where the file does not say.

    Raises ConfigError for missing or ill-typed metadata, TextError for a vocabulary that contradicts itself or does
    not fit the embedding's vocab_size rows.
    """
    meta = Metadata(gguf)
    kind = meta.text("tokenizer.ggml.model")
    tokens = [text or f"[EMPTY_{index}]" for index, text in enumerate(meta.strings("tokenizer.ggml.tokens"))]
    if not 0 < len(tokens) <= vocab_size:
        raise TextError(f"{gguf.path}: tokenizer.ggml.tokens must be 1 to {vocab_size} tokens; got {len(tokens)}")
    _check_distinct(gguf, tokens)
    types = _types(meta, len(tokens), kind)
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if kind == "llama" and len(tokens) > 2 else {}
    roles = {
        role: meta.token_id(f"tokenizer.ggml.{role}_token_id", len(tokens), defaults.get(role))
        for role in ("bos", "eos", "unknown", "padding", "eot", "eom")
    }
    add_bos = meta.boolean("tokenizer.ggml.add_bos_token", default=add_bos) and roles["bos"] is not None
    return Vocabulary(
        kind=kind,
        tokens=tokens,
        types=types,
        bos=roles["bos"],
        eos=roles["eos"],
        unk=roles["unknown"],
        pad=roles["padding"],
        ends=_ends([roles["eos"], roles["eot"], roles["eom"]], tokens, types),
        add_bos=add_bos,
        add_eos=meta.boolean("tokenizer.ggml.add_eos_token", default=False) and roles["eos"] is not None,
    )


def added_tokens(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """added_tokens of tokenizer.json: what is matched in the text as a whole, before it is split.

    Bytes of a `llama` vocabulary are ordinary tokens. User-defined ones are text, so decoding keeps them.
    """
    types = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED)
    return [
        {
            "id": index,
            "content": vocabulary.tokens[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": vocabulary.types[index] != TokenType.USER_DEFINED,
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


def _check_distinct(gguf: GgufFile, tokens: list[str]) -> None:
    seen: dict[str, int] = {}
    for index, text in enumerate(tokens):
        if text in seen:
            raise TextError(f"{gguf.path}: tokens must be distinct; {text!r} is both {seen[text]} and {index}")
        seen[text] = index


def _types(meta: Metadata, count: int, kind: str) -> list[int]:
    # The type says which tokens may be produced by text. Without it a BPE vocabulary would leak its control tokens.
    types: list[int] = meta.array("tokenizer.ggml.token_type", count).tolist()
    unknown = set(types) - {*TokenType}
    if unknown:
        raise ConfigError(f"{meta.path}: tokenizer.ggml.token_type must be from 1 to 6; got {min(unknown)}")
    if kind == "gpt2" and TokenType.BYTE in types:
        raise UnsupportedError(f"{meta.path}: a gpt2 vocabulary must have no tokens of type 6 (byte); it has some")
    return types


def _ends(declared: list[int | None], tokens: list[str], types: list[int]) -> list[int]:
    known = [i for i, text in enumerate(tokens) if text in _END_TEXTS and types[i] == TokenType.CONTROL]
    return list(dict.fromkeys([index for index in declared if index is not None] + known))
