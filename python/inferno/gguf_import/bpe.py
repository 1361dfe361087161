"""tokenizer.json of a GGUF with vocabulary `gpt2`: byte-level BPE, its text first split as tokenizer.ggml.pre names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferno.errors import TextError, UnsupportedError
from inferno.gguf_import.metadata import Metadata
from inferno.gguf_import.reader import GgufFile
from inferno.text.vocabulary import Vocabulary, added_tokens, post_processor

# Llama 3's split, and its kin that differ in how many digits go together.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Mistral's tekken: words split where the case rises.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class PreTokenizer:
    """How text is split before BPE: first at each pattern in turn, then by GPT-2's own rule if `gpt2_words`."""

    patterns: tuple[str, ...] = ()
    gpt2_words: bool = True
    patterns_after: tuple[str, ...] = ()
    ignore_merges: bool = False  # a piece that is a token is that token, whatever its merges say
    add_bos: bool = False


_LLAMA3 = PreTokenizer((_WORDS % r"\p{N}{1,3}",), gpt2_words=False, ignore_merges=True, add_bos=True)
_DIGITS = PreTokenizer((r"\p{N}",))
_GPT2 = PreTokenizer()
_QWEN2 = PreTokenizer((_WORDS % r"\p{N}",), gpt2_words=False)

# tokenizer.ggml.pre -> what it stands for in llama.cpp's src/llama-vocab.cpp.
PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+",), patterns_after=(r"\p{N}+", "[0-9][0-9][0-9]")),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "smaug-bpe": PreTokenizer((_WORDS % r"\p{N}{1,3}",), gpt2_words=False),
    "gpt-2": _GPT2,
    "olmo": _GPT2,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": _DIGITS,
    "codeshell": _DIGITS,
    "minerva-7b": _DIGITS,
    "qwen2": _QWEN2,
    "stablelm2": _QWEN2,
    "megrez": _QWEN2,
    "tekken": PreTokenizer((_TEKKEN,), gpt2_words=False, ignore_merges=True, add_bos=True),
    "deepseek-coder": PreTokenizer(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"), gpt2_words=False
    ),
}


def find_pre_tokenizer(gguf: GgufFile) -> PreTokenizer:
    """The split that the file names. Raises UnsupportedError for a name outside PRE_TOKENIZERS, or none."""
    name = gguf.metadata.get("tokenizer.ggml.pre")
    if name not in PRE_TOKENIZERS:
        raise UnsupportedError(
            f"{gguf.path}: tokenizer.ggml.pre must be one of {', '.join(PRE_TOKENIZERS)}; "
            f"got {'nothing' if name is None else repr(name)}. With another split the model would read other tokens"
        )
    return PRE_TOKENIZERS[name]


def bpe_tokenizer_json(gguf: GgufFile, vocabulary: Vocabulary) -> dict[str, Any]:
    """tokenizer.json as the library `tokenizers` reads it. Raises TextError for merges that do not fit the tokens."""
    pre = find_pre_tokenizer(gguf)
    if Metadata(gguf).boolean("tokenizer.ggml.add_space_prefix", default=False):
        raise UnsupportedError(f"{gguf.path}: tokenizer.ggml.add_space_prefix must be false for a gpt2 vocabulary")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer_json(pre),
        "post_processor": post_processor(vocabulary, [{**byte_level, "trim_offsets": False}]),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre.ignore_merges,
            "vocab": {text: index for index, text in enumerate(vocabulary.tokens)},
            "merges": _merges(gguf, set(vocabulary.tokens)),
        },
    }


def _pre_tokenizer_json(pre: PreTokenizer) -> dict[str, Any]:
    def split(pattern: str) -> dict[str, Any]:
        return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}

    def to_bytes(words: bool) -> dict[str, Any]:
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}

    steps = [split(pattern) for pattern in pre.patterns]
    if pre.patterns_after:
        # ByteLevel maps bytes to its own alphabet, so what is split after GPT-2's words needs them as a pattern.
        words = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
        steps += [split(words), *(split(pattern) for pattern in pre.patterns_after), to_bytes(words=False)]
    else:
        steps.append(to_bytes(words=pre.gpt2_words))
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def _merges(gguf: GgufFile, tokens: set[str]) -> list[list[str]]:
    merges = []
    for text in Metadata(gguf).strings("tokenizer.ggml.merges"):
        cut = text.find(" ", 1)
        left, right = text[:cut], text[cut + 1 :]
        if cut < 0 or left not in tokens or right not in tokens or left + right not in tokens:
            raise TextError(f"{gguf.path}: merge {text!r} must join two tokens into a third; it does not")
        merges.append([left, right])
    return merges
