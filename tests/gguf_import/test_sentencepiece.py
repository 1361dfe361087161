"""Vocabulary `llama`: the imported tokenizer joins neighbours as SentencePiece's rule says."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from inferno.errors import ConfigError, InfernoError, TextError, UnsupportedError
from inferno.gguf_import import import_gguf
from tiny_gguf import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocab, write_tiny_gguf

SPACE = "\u2581"
# Best first.
PIECES = (
    "▁t er in ▁a en on ▁th es or ▁s ▁the at ▁w he ▁b re it ▁o an ▁c is ed ▁m ▁p ing ▁of ▁f al "
    "▁in ion ▁to ▁and ic el as ▁d us ing▁ ▁▁ ▁▁▁▁ ▁▁▁ tion ation ess ▁is ▁I ll lo hel hell "
    "hello ▁hello ▁hel wor world ▁world ▁wor ▁e nt ex ▁ex text ü ber über ▁über 東 京 東京 !! ... "
    ".. aa aaa aaaa "
)


def vocabulary(**extra: Any) -> Vocab:
    """Specials, bytes, single letters, then pieces whose scores fall with their rank, as SentencePiece trains them."""
    letters = [SPACE, *"abcdefghijklmnopqrstuvwxyzI.,!", "\u2028"]
    pieces = list(dict.fromkeys([*PIECES.split(), *letters]))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(pieces)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces))]
    roles = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, **extra}
    return Vocab("llama", tokens, types, scores=scores, extra=roles)


def reference(vocab: Vocab, text: str, *, prefix: bool = True) -> list[int]:
    """SentencePiece's BPE, slowly: join the best-scored neighbours, leftmost first, until none can be joined."""
    ids = {token: index for index, token in enumerate(vocab.tokens) if vocab.types[index] == NORMAL}
    symbols = list((SPACE if prefix and text else "") + text.replace(" ", SPACE))
    while True:
        pairs = [(vocab.scores[ids[a + b]], -at) for at, (a, b) in enumerate(pairwise(symbols)) if a + b in ids]
        if not pairs:
            break
        at = -max(pairs)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    out: list[int] = []
    for symbol in symbols:
        out += [ids[symbol]] if symbol in ids else [3 + byte for byte in symbol.encode()]
    return out


def imported(tmp_path: Path, vocab: Vocab) -> Tokenizer:
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    return Tokenizer.from_file(str(out / "tokenizer.json"))


TEXTS = [
    "hello world",
    "the hellish text, in the world!!",
    "  two  spaces    and  more ",
    "über 東京 😀 naïve",
    "line\nbreak\ttab",
    "a",
    " ",
    "",
    "....!!!",
]


@pytest.mark.parametrize("prefix", [True, False])
def test_tokens_equal_sentencepiece_s(tmp_path: Path, prefix: bool) -> None:
    vocab = vocabulary() if prefix else vocabulary(add_space_prefix=False)
    tokenizer = imported(tmp_path, vocab)
    rng = random.Random(5)
    texts = TEXTS + ["".join(rng.choices("helowrdtinsa  .ü東", k=60)) for _ in range(200)]
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        assert encoding.ids == reference(vocab, text, prefix=prefix), text
        assert tokenizer.decode(encoding.ids) == text


def test_bos_is_added_unless_the_file_says_no(tmp_path: Path) -> None:
    assert imported(tmp_path, vocabulary()).encode("hello").tokens == ["<s>", "▁hello"]
    (tmp_path / "no").mkdir()
    assert imported(tmp_path / "no", vocabulary(add_bos_token=False)).encode("hello").tokens == ["▁hello"]


def test_role_ids_default_to_sentencepiece_s(tmp_path: Path) -> None:
    vocab = vocabulary()
    vocab.extra = {}
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert json.loads((out / "generation_config.json").read_text()) == {"bos_token_id": 1, "eos_token_id": 2}


def test_bytes_are_not_specials(tmp_path: Path) -> None:
    tokenizer = imported(tmp_path, vocabulary())
    assert tokenizer.decode([3 + byte for byte in "é😀".encode()]) == "é😀"
    added = json.loads(tokenizer.to_str())["added_tokens"]
    assert [(token["content"], token["special"]) for token in added] == [("<unk>", True), ("<s>", True), ("</s>", True)]


def test_user_defined_tokens_are_text(tmp_path: Path) -> None:
    vocab = vocabulary()
    vocab.tokens.append("<|im_start|>")
    vocab.types.append(USER_DEFINED)
    vocab.scores.append(0.0)
    tokenizer = imported(tmp_path, vocab)
    encoding = tokenizer.encode("<|im_start|>hello</s>", add_special_tokens=False)
    assert encoding.tokens == ["<|im_start|>", "▁hello", "</s>"]
    assert "<|im_start|>" in tokenizer.decode(encoding.ids)


def without_byte() -> Vocab:
    vocab = vocabulary()
    vocab.tokens[3 + 0x41] = "other"
    return vocab


def with_scores(scores: list[float]) -> Vocab:
    vocab = vocabulary()
    vocab.scores = scores
    return vocab


@pytest.mark.parametrize(
    ("vocab", "error", "message"),
    [
        (without_byte(), TextError, "must have 256 byte tokens \\(type 6\\); <0x41> is not one"),
        (with_scores([1.0]), ConfigError, r"tokenizer.ggml.scores must be a list of \d+ numbers; got a list of 1"),
        (with_scores([float("nan")] * len(vocabulary().tokens)), TextError, "scores must be finite; got NaN"),
        (vocabulary(remove_extra_whitespaces=True), UnsupportedError, "remove_extra_whitespaces must be false"),
        (vocabulary(precompiled_charsmap=[1, 2, 3]), UnsupportedError, "precompiled_charsmap must be empty"),
        (vocabulary(add_bos_token="yes"), ConfigError, "tokenizer.ggml.add_bos_token must be true or false; got 'yes'"),
    ],
)
def test_refusals(tmp_path: Path, vocab: Vocab, error: type[InfernoError], message: str) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    with pytest.raises(error, match=message):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out")
