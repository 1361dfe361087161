"""Small tokenizer.model files of both forms, their reference libraries, and a corpus that is hard on tokenizers."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sentencepiece
    import tiktoken

# Split and special tokens as Meta publishes them, written out once more so that a slip in the library shows.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = [
    *("begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "finetune_right_pad_id"),
    *("step_id", "start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag", "image"),
    *(f"reserved_special_token_{number}" for number in range(2, 246)),
]

LANGUAGES = [
    "The quick brown fox jumps over the lazy dog; it's what they'd've done, I'M SURE WE'LL agree.",
    (
        "Voix ambigu\u00eb d'un c\u0153ur qui au z\u00e9phyr pr\u00e9f\u00e8re les jattes de kiwis. \u00c0 "
        "No\u00ebl o\u00f9 \u2026 \u00ab oui \u00bb"
    ),
    "Zw\u00f6lf Boxk\u00e4mpfer jagen Viktor quer \u00fcber den gro\u00dfen Sylter Deich \u1e9e \u017f\u017f",
    (
        "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u8fd9\u662f\u4e00\u4e2a\u5f88\u957f\u7684\u53e5\u5b50\u3002\u7e41"
        "\u9ad4\u4e2d\u6587\u6e2c\u8a66\u3002"
    ),
    (
        "\u3044\u308d\u306f\u306b\u307b\u3078\u3068 \u30ab\u30bf\u30ab\u30ca "
        "\u6f22\u5b57\u3001\u3072\u3089\u304c\u306a\u3002\uff76\uff9e\uff77\uff9e"
    ),
    "\ud55c\uad6d\uc5b4 \ub744\uc5b4\uc4f0\uae30 \u1112\u1161\u11ab\u1100\u116e\u11a8",
    (
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c "
        "\u0661\u0662\u0663\u0664\u0665 "
        "\u0627\u0644\u0652\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u064e\u0651\u0629\u064f"
    ),
    "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd\u200f (abc) \u202bRTL\u202c 123",
    (
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0407\u0436\u0430\u043a; "
        "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03ce\u03c2"
    ),
    (
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968\u0969 "
        "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01"
    ),
    (
        "\u1ec2 Ti\u1ebfng Vi\u1ec7t c\u00f3 d\u1ea5u; Tie\u0302\u0301ng Vie\u0323\u0302t; "
        "z\u0351\u036b\u0343\u036a\u0302a\u030al\u0334g\u0321o\u0489"
    ),
    (
        "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
        "\U0001f1eb\U0001f1f7\U0001f1e9 \u2764\ufe0f 1\ufe0f\u20e3"
    ),
    "\U00010348\U0001d54f\U0002070e\U000e0041 \U0010fffd \ue000 \ufffd \ufeff \u0000 \u0007\u001b[0m",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000.00 0x1F 1e-10 \u00b2\u00bd\u2167 \u0967\u0968\u0969\u096a",
    (
        "def f(x, *, y=None):\n\treturn {'a': [x[i] for i in range(10)], \"b\": y}  # ok\n\n\n\tif (a<b && c>d) "
        "{ x+=1; }\r\n"
    ),
    "https://example.org/a/b?c=d&e=%20f#g <html><p class='x'>&amp;</p></html> C:\\\\dir\\n \\u00e9",
    "<s> </s> <unk> <0x0A> <|begin_of_text|> <|eot_id|> [INST] <<SYS>> <|im_start|>",
    "\u2581\u2581 a\u2581b \u2581 \u00a0\u2003\u3000\u200b\u2028\u2029\u0085\u000b\u000c end ",
]
# What a decoder makes of bytes that are no UTF-8: each becomes U+FFFD before a tokenizer sees it.
BROKEN = [
    b"ok \xff\xfe",
    b"\xc3",
    b"a\xe2\x82b",
    b"\xf0\x9f\x98 \x80\x80",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xc0\xaf\xf8\x88",
]
SPACES = [" ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2581", " \n", "\n ", "\t ", "  \n\n"]


def corpus() -> Iterator[str]:
    """Texts of many scripts; white space of every length up to 200, alone and within; invalid bytes, replaced."""
    yield ""
    yield from LANGUAGES
    yield "\n".join(LANGUAGES)
    yield from (data.decode(errors="replace") for data in BROKEN)
    for space in SPACES:
        for count in [*range(1, 40), 63, 64, 65, 100, 127, 128, 129, 199, 200]:
            run = space * count
            yield from (run, f"a{run}b", f"{run}b", f"a{run}", f"1{run}.\n{run}")
    yield from (text * count for text in "a1.\u00e9\u4e16" for count in (2, 3, 17, 100, 1000))


def train_sentencepiece(folder: Path, **options: Any) -> sentencepiece.SentencePieceProcessor:
    """Writes tokenizer.model, trained on the corpus as Llama 2's was unless `options` say otherwise."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    lines = [line for text in LANGUAGES for line in text.splitlines() if "\0" not in line]
    settings = {
        "model_type": "bpe",
        "vocab_size": 700,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
        "character_coverage": 0.99,
        "hard_vocab_limit": False,
        "minloglevel": 2,
        **options,
    }
    words = ["white  space    of        length                and", "\u4e16\u754c\u4e16\u754c"]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter((lines + words) * 3), model_writer=out, **settings)
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def train_ranks(merges: int = 600) -> list[bytes]:
    """Tokens by rank: the bytes, then what byte pair encoding makes of the corpus, and a few that no merge reaches."""
    import regex

    words = Counter(match.encode() for text in corpus() for match in regex.findall(PATTERN, text))
    symbols = {word: [word[at : at + 1] for at in range(len(word))] for word in words}
    tokens = [bytes([byte]) for byte in [*range(33, 127), *range(128, 256), *range(33), 127]]
    for _ in range(merges):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in symbols.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        (left, right), _ = pairs.most_common(1)[0]
        if left + right not in tokens:
            tokens.append(left + right)
        for word, parts in symbols.items():
            if left + right in word:
                symbols[word] = list(_joined(parts, left, right))
    return [*tokens, *(token for token in (b"xqzj", b" unreachable") if token not in tokens)]


def _joined(parts: list[bytes], left: bytes, right: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(parts):
        together = parts[at : at + 2] == [left, right]
        yield left + right if together else parts[at]
        at += 2 if together else 1


def write_ranks(folder: Path, tokens: list[bytes]) -> tiktoken.Encoding:
    """Writes tokenizer.model in tiktoken's form."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    (folder / "tokenizer.model").write_bytes(b"".join(lines))
    return tiktoken_reference(tokens)


def tiktoken_reference(tokens: list[bytes]) -> tiktoken.Encoding:
    """tiktoken with Meta's split and special tokens."""
    import tiktoken

    return tiktoken.Encoding(
        "reference",
        pat_str=PATTERN,
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={f"<|{name}|>": len(tokens) + index for index, name in enumerate(SPECIAL)},
    )
