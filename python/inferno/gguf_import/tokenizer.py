"""The text side of a GGUF -> tokenizer.json, tokenizer_config.json and the token ids of config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferno.errors import TextError, UnsupportedError
from inferno.gguf_import.bpe import bpe_tokenizer_json, find_pre_tokenizer
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile
from inferno.gguf_import.sentencepiece import sentencepiece_tokenizer_json
from inferno.gguf_import.vocabulary import read_vocabulary
from inferno.text.vocabulary import Vocabulary

_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True)
class TextFiles:
    """Contents of the JSON files, and the token ids that config.json and generation_config.json share."""

    tokenizer: dict[str, Any]
    tokenizer_config: dict[str, Any]
    token_ids: dict[str, Any]


def text_files(gguf: GgufFile, vocab_size: int) -> TextFiles:
    """Builds the files and has the library `tokenizers` read the result once.

    Raises UnsupportedError for a vocabulary of another kind, TextError or ConfigError for a broken one.
    """
    kind = Metadata(gguf).text("tokenizer.ggml.model")
    if kind == "gpt2":
        vocabulary = read_vocabulary(gguf, vocab_size, add_bos=find_pre_tokenizer(gguf).add_bos)
        tokenizer = bpe_tokenizer_json(gguf, vocabulary)
    elif kind == "llama":
        vocabulary = read_vocabulary(gguf, vocab_size, add_bos=True)
        tokenizer = sentencepiece_tokenizer_json(gguf, vocabulary)
    else:
        raise UnsupportedError(f"{gguf.path}: tokenizer.ggml.model must be gpt2 or llama; got {kind!r}")
    _check_loads(gguf, tokenizer)
    return TextFiles(tokenizer, _tokenizer_config(gguf, vocabulary), _token_ids(vocabulary))


def _check_loads(gguf: GgufFile, tokenizer: dict[str, Any]) -> None:
    import json

    from tokenizers import Tokenizer

    try:
        Tokenizer.from_str(json.dumps(tokenizer, ensure_ascii=False))
    except Exception as error:  # the library raises bare Exception
        raise TextError(f"{gguf.path}: its vocabulary makes no working tokenizer: {error}") from error


def _tokenizer_config(gguf: GgufFile, vocabulary: Vocabulary) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": Metadata(gguf).integer("llama.context_length"),
        "add_bos_token": vocabulary.add_bos,
        "add_eos_token": vocabulary.add_eos,
        **vocabulary.roles(),
    }
    template = _chat_template(gguf)
    return config if template is None else {**config, "chat_template": template}


def _chat_template(gguf: GgufFile) -> str | list[dict[str, str]] | None:
    """The template, or where the file names several, transformers' list of named templates."""
    meta = Metadata(gguf)
    named = [key for key in gguf.metadata if key.startswith(_TEMPLATE + ".")]
    if not named:
        return meta.text(_TEMPLATE) if _TEMPLATE in meta else None
    keys = {"default": _TEMPLATE} if _TEMPLATE in meta else {}
    keys |= {key.removeprefix(_TEMPLATE + "."): key for key in named}
    return [{"name": name, "template": meta.text(key)} for name, key in keys.items()]


def _token_ids(vocabulary: Vocabulary) -> dict[str, Any]:
    ends = vocabulary.ends
    ids = {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": vocabulary.pad,
    }
    return {role: value for role, value in ids.items() if value is not None}
