"""tokenizer.model, as Meta's own folders hold it: told apart by content, and made into a tokenizer in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferno.errors import TextError
from inferno.files import show
from inferno.text.files import read_bytes, read_optional_json, refuse_surrogates
from inferno.text.library import library_errors
from inferno.text.sentencepiece_model import read_sentencepiece, read_vocabulary, sentencepiece_model_json
from inferno.text.tiktoken_model import (
    NUM_SPECIAL,
    ROLES,
    STOP_TOKENS,
    looks_like_ranks,
    read_ranks,
    tiktoken_tokenizer,
)

if TYPE_CHECKING:
    import tokenizers

NAME = "tokenizer.model"
# Llama 3's has 2 MB, the largest in use 5. Every byte of a token is a place to cut it: some seconds at most.
MAX_BYTES = 16 << 20
_FIRST_FIELD = b"\n"  # a SentencePiece model begins with its first piece: field 1, a message


@dataclass(frozen=True)
class ModelFile:
    """What a tokenizer.model holds: the tokenizer, the special tokens' texts by role, the texts that end generation."""

    library: tokenizers.Tokenizer
    roles: Mapping[str, str]
    stop_tokens: tuple[str, ...]


def load_model_file(path: Path) -> ModelFile:
    """Reads `path`, and params.json and added tokens where they lie beside it.

    Raises TextError: unreadable, neither form, damaged, or of another size than params.json says; UnsupportedError for
    a model that the library `tokenizers` cannot express exactly.
    """
    data = read_bytes(path, MAX_BYTES)
    if looks_like_ranks(data):
        found = _tiktoken(path, data)
    elif data.startswith(_FIRST_FIELD):
        found = _sentencepiece(path, data)
    else:
        got = "an empty file" if not data else f"a file that begins with {show(repr(data[:16]))}"
        raise TextError(
            f"{path}: must be a SentencePiece model (Llama 2) or tiktoken's ranks (Llama 3); got {got}. "
            "Download it again"
        )
    _add_tokens(path, found.library)
    return found


def _tiktoken(path: Path, data: bytes) -> ModelFile:
    tokens = read_ranks(path, data)
    _check_size(path, len(tokens) + NUM_SPECIAL)
    with library_errors(f"{path}: must make a working tokenizer"):
        return ModelFile(tiktoken_tokenizer(tokens), ROLES, STOP_TOKENS)


def _sentencepiece(path: Path, data: bytes) -> ModelFile:
    import tokenizers

    model = read_sentencepiece(path, data)
    vocabulary = read_vocabulary(model)
    _check_size(path, len(model.tokens))
    description = json.dumps(sentencepiece_model_json(model, vocabulary), ensure_ascii=False)
    with library_errors(f"{path}: must make a working tokenizer"):
        library = tokenizers.Tokenizer.from_str(description)
    return ModelFile(library, vocabulary.roles(), tuple(vocabulary.tokens[index] for index in vocabulary.ends))


def _check_size(path: Path, size: int) -> None:
    """A file cut at the end of a line is whole to look at, but its special tokens would have other ids."""
    params = path.parent / "params.json"
    wanted = read_optional_json(params).get("vocab_size")
    if isinstance(wanted, int) and wanted > 0 and wanted != size:
        raise TextError(
            f"{path}: must have {wanted} tokens, as {params.name} says (vocab_size); got {size}. Download it again"
        )


def _add_tokens(path: Path, library: tokenizers.Tokenizer) -> None:
    """Appends what added_tokens.json and tokenizer_config.json's added_tokens_decoder add to the model's tokens."""
    from tokenizers import AddedToken

    for source, token_id, token in _added(path.parent):
        text = token.get("content")
        if not isinstance(text, str) or not text:
            raise TextError(f"{source}: token {token_id} must have a `content`; got {show(text)}")
        refuse_surrogates(f"{source}: token {token_id}", text)
        size = library.get_vocab_size(with_added_tokens=True)
        if token_id < size and library.token_to_id(text) == token_id:
            continue
        if token_id != size or library.token_to_id(text) is not None:
            raise TextError(
                f"{source}: token {show(text)} must follow the {size} tokens of {path.name}; got id {token_id}"
            )
        flags = {name: bool(token.get(name)) for name in ("lstrip", "rstrip", "single_word", "special")}
        library.add_tokens([AddedToken(text, normalized=bool(token.get("normalized")), **flags)])


def _added(folder: Path) -> list[tuple[Path, int, Mapping[str, Any]]]:
    """File, id and description of the tokens, in the order of their ids."""
    plain, config = folder / "added_tokens.json", folder / "tokenizer_config.json"
    found: dict[int, tuple[Path, Mapping[str, Any]]] = {}
    for text, token_id in read_optional_json(plain).items():
        if not isinstance(token_id, int) or token_id < 0:
            raise TextError(f"{plain}: {show(text)} must have a natural number as id; got {show(token_id)}")
        found[token_id] = plain, {"content": text}
    described = read_optional_json(config).get("added_tokens_decoder") or {}
    if not isinstance(described, Mapping):
        raise TextError(f"{config}: added_tokens_decoder must be an object; got {show(described)}")
    for key, token in described.items():
        if not (key.isascii() and key.isdigit() and isinstance(token, Mapping)):
            raise TextError(f"{config}: added_tokens_decoder must map ids to tokens; got {show(key)}: {show(token)}")
        found[int(key)] = config, token
    return [(source, token_id, token) for token_id, (source, token) in sorted(found.items())]
