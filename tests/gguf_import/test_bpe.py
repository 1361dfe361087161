"""Vocabulary `gpt2`: the imported tokenizer splits and merges as the one that the file was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from inferno.errors import ConfigError, InfernoError, TextError, UnsupportedError
from inferno.gguf_import import import_gguf
from tiny_gguf import CONTROL, NORMAL, UNUSED, USER_DEFINED, Vocab, bytes_vocab, write_tiny_gguf

CORPUS = [
    "The quick brown fox jumps over the lazy dog's tail. It's 12345 metres, they've said; 3.14159!",
    "def f(x):\n    return x ** 2  # comment\n\n\n",
    "Ein Überblick über größere Wörter, naïve café, 東京 タワー, Привет мир, 😀 emoji",
    "HTTPServer XMLParser camelCase snake_case I'LL DON'T we're   spaces\t\ttabs\r\n",
] * 4
TEXTS = [
    *CORPUS[:4],
    "2024-01-31 costs $1,234,567.89",
    " leading and trailing ",
    "\n\n \n\t x",
    "it's IT'S \u2019s ½ ² Ⅷ ١٢٣ 1000000",
    "a\u00a0b\u2028c\u0301",
    "\U0001d518\U0001d52b\U0001d526 👩‍👩‍👧‍👦 zwj",
    "",
]
# Llama 3's tokenizer.json, as published.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(words: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)


SPLITS = {
    "smollm": [pre_tokenizers.Digits(individual_digits=True), byte_level(True)],
    "starcoder": [pre_tokenizers.Digits(individual_digits=True), byte_level(True)],
    "gpt-2": [byte_level(True)],
    "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level(False)],
    "qwen2": [pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"), byte_level(False)],
}


def trained(pre: str) -> Tokenizer:
    """A byte-level BPE with a few hundred merges and two specials, made by the library's own trainer."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(SPLITS[pre])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|begin|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def as_vocab(tokenizer: Tokenizer, pre: str, **extra: Any) -> Vocab:
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    types = [CONTROL if index < 2 else NORMAL for index in range(len(tokens))]
    merges = [" ".join(pair) for pair in model["merges"]]
    roles = {"bos_token_id": 0, "eos_token_id": 1, "add_bos_token": False, **extra}
    return Vocab("gpt2", tokens, types, pre=pre, merges=merges, extra=roles)


def imported(tmp_path: Path, vocab: Vocab) -> Tokenizer:
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    return Tokenizer.from_file(str(out / "tokenizer.json"))


@pytest.mark.parametrize("pre", list(SPLITS))
def test_tokens_equal_the_original_s(tmp_path: Path, pre: str) -> None:
    original = trained(pre)
    tokenizer = imported(tmp_path, as_vocab(original, pre))
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert ids == original.encode(text).ids, text
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "ab 123\n", ["ab", "Ġ", "1", "2", "3", "Ċ"]),
        ("gpt-2", "ab 123\n", ["ab", "Ġ123", "Ċ"]),
        ("default", "ab12345+c", ["ab", "123", "45", "+", "c"]),
        ("tekken", "camelCaseHTTP12", ["camel", "Case", "HTTP", "1", "2"]),
        ("deepseek-coder", "a b, 12\n東京", ["a", "Ġb", ",", "Ġ", "1", "2", "Ċ", "æĿ±äº¬"]),
        ("smaug-bpe", "I'LL pay 12345", ["I", "'LL", "Ġpay", "Ġ", "123", "45"]),
    ],
)
def test_other_splits(tmp_path: Path, pre: str, text: str, pieces: list[str]) -> None:
    tokenizer = imported(tmp_path, bytes_vocab(pre, add_bos_token=False))
    assert [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)] == pieces


def test_llama3_takes_whole_words_before_merges_and_adds_bos(tmp_path: Path) -> None:
    vocab = bytes_vocab("llama-bpe")
    vocab.tokens.append("word")
    vocab.types.append(NORMAL)
    tokenizer = imported(tmp_path, vocab)
    assert tokenizer.encode("word").tokens == ["<|im_start|>", "word"]
    assert tokenizer.encode("word", add_special_tokens=False).tokens == ["word"]


@pytest.mark.parametrize(
    ("extra", "tokens"),
    [
        ({}, ["h", "i"]),
        ({"add_bos_token": True}, ["<|im_start|>", "h", "i"]),
        ({"add_bos_token": True, "add_eos_token": True}, ["<|im_start|>", "h", "i", "<|im_end|>"]),
    ],
)
def test_bos_and_eos_where_the_file_asks_for_them(tmp_path: Path, extra: dict[str, Any], tokens: list[str]) -> None:
    tokenizer = imported(tmp_path, bytes_vocab(**extra))
    assert tokenizer.encode("hi").tokens == tokens


def test_specials_are_the_tokens_of_other_types(tmp_path: Path) -> None:
    vocab = bytes_vocab()
    vocab.tokens += ["<tool>", "[PAD1]"]
    vocab.types += [USER_DEFINED, UNUSED]
    tokenizer = imported(tmp_path, vocab)
    ids = tokenizer.encode("<|im_start|>he<tool>[PAD1]<|im_end|>").tokens
    assert ids == ["<|im_start|>", "he", "<tool>", "[PAD1]", "<|im_end|>"]
    # User-defined tokens are text of the answer; the others are not.
    assert tokenizer.decode(tokenizer.encode("<|im_start|>he<tool>[PAD1]<|im_end|>").ids) == "he<tool>"


def test_tokenizer_config(tmp_path: Path) -> None:
    extra = {"unknown_token_id": 0, "padding_token_id": 0xFFFFFFFF, "tokenizer.chat_template": "{{ messages }}"}
    write_tiny_gguf(tmp_path / "m.gguf", vocab=bytes_vocab(**extra))
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert json.loads((out / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 128,
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|end|>",
        "chat_template": "{{ messages }}",
    }


def test_named_chat_templates(tmp_path: Path) -> None:
    extra = {"tokenizer.chat_template": "a", "tokenizer.chat_template.tool_use": "b"}
    write_tiny_gguf(tmp_path / "m.gguf", vocab=bytes_vocab(**extra))
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert json.loads((out / "tokenizer_config.json").read_text())["chat_template"] == [
        {"name": "default", "template": "a"},
        {"name": "tool_use", "template": "b"},
    ]


def test_end_of_turn_tokens_stop_even_if_the_file_declares_another(tmp_path: Path) -> None:
    vocab = bytes_vocab(eos_token_id=0)
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    out = import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [0, 2]  # 2 is <|im_end|>


def broken(**changes: Any) -> Vocab:
    vocab = bytes_vocab()
    for name, value in changes.items():
        setattr(vocab, name, value)
    return vocab


@pytest.mark.parametrize(
    ("vocab", "error", "message"),
    [
        (bytes_vocab("bloom"), UnsupportedError, "tokenizer.ggml.pre must be one of default, llama-bpe, .*got 'bloom'"),
        (bytes_vocab(None), UnsupportedError, "tokenizer.ggml.pre must be one of .*; got nothing"),
        (bytes_vocab(add_space_prefix=True), UnsupportedError, "add_space_prefix must be false for a gpt2 vocabulary"),
        (broken(model="t5"), UnsupportedError, "tokenizer.ggml.model must be gpt2 or llama; got 't5'"),
        (broken(merges=["he"]), TextError, "merge 'he' must join two tokens into a third; it does not"),
        (broken(merges=["h o"]), TextError, "merge 'h o' must join two tokens into a third"),
        (broken(types=[7] * 260), ConfigError, "tokenizer.ggml.token_type must be from 1 to 6; got 7"),
        (broken(types=[6] * 260), UnsupportedError, "a gpt2 vocabulary must have no tokens of type 6"),
        (broken(types=[1] * 259), ConfigError, "token_type must be a list of 260 numbers; got a list of 259"),
        (broken(tokens=["a", *bytes_vocab().tokens[1:]]), TextError, "tokens must be distinct; 'a' is both 0 and"),
        (bytes_vocab(eos_token_id=260), ConfigError, "eos_token_id must be a token id below 260; got 260"),
    ],
)
def test_refusals(tmp_path: Path, vocab: Vocab, error: type[InfernoError], message: str) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", vocab=vocab)
    with pytest.raises(error, match=message):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_tokens_than_rows(tmp_path: Path) -> None:
    import numpy as np

    def edit(values: dict[str, np.ndarray]) -> None:
        values["token_embd.weight"] = values["token_embd.weight"][:200]

    write_tiny_gguf(tmp_path / "m.gguf", edit=edit)
    with pytest.raises(TextError, match=r"tokenizer.ggml.tokens must be 1 to 200 tokens; got 260"):
        import_gguf(tmp_path / "m.gguf", tmp_path / "out")
