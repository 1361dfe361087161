"""Reads the vocabulary of a GGUF: tokens, their types and the ids with a role, for both kinds, `gpt2` and `llama`."""

from __future__ import annotations

from inferno.errors import ConfigError, TextError, UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile
from inferno.text.vocabulary import TokenType, Vocabulary

# Texts of control tokens that end a turn or a text in models of this family, whatever the file declares.
_END_TEXTS = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>"}


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
