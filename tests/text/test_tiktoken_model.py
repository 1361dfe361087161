"""tokenizer.model in tiktoken's form gives the ids of tiktoken with Meta's split and special tokens."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.errors import TextError, UnsupportedError
from inferno.text import Detokenizer, Tokenizer
from inferno.text.tiktoken_model import looks_like_ranks
from tokenizer_models import BROKEN, LANGUAGES, SPACES, SPECIAL, corpus, train_ranks, write_ranks

PIECES = [
    *SPACES,
    "'s",
    "'S",
    "'\u017f",
    "'ll",
    "123",
    "\u00bd",
    "!",
    "hello",
    "\u4e16\u754c",
    "\U0001f44d",
    "e\u0301",
    "xqzj",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)
TOKENS = train_ranks()
BYTES = [bytes([byte]) for byte in range(256)]


def pair(folder: Path, tokens: list[bytes]):
    reference = write_ranks(folder, tokens)
    return Tokenizer.from_folder(folder), reference


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    return pair(tmp_path_factory.mktemp("model"), TOKENS)


def test_the_corpus(models):
    tokenizer, reference = models
    for text in corpus():
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == reference.encode_ordinary(text), ascii(text)
        assert tokenizer.decode(ids) == text == reference.decode(ids)


def test_random_texts(models):
    tokenizer, reference = models

    @settings(max_examples=300)
    @given(TEXTS)
    def check(text):
        assert tokenizer.encode(text, add_special_tokens=False) == reference.encode_ordinary(text)

    check()


def test_every_character_of_the_first_plane(models):
    """Where a text is split hangs on what counts as letter, digit and space, and libraries differ in their tables."""
    tokenizer, reference = models
    for first in range(0, 0x10000, 64):
        letters = [chr(code) for code in range(first, first + 64) if not 0xD800 <= code < 0xE000]
        text = "".join(f"a{c}b {c}1{c} .{c}{c}'{c}\n" for c in letters)
        assert tokenizer.encode(text, add_special_tokens=False) == reference.encode_ordinary(text), hex(first)


@pytest.mark.parametrize("seed", range(20))
def test_any_ranks_whatever_order_they_were_made_in(tmp_path, seed):
    """Ranks in an order that no training gives, with tokens that can be cut in many ways and ones out of reach."""
    rng = random.Random(seed)
    longer = {bytes(rng.choices(b"ab ", k=rng.randint(2, 6))) for _ in range(40)}
    tokens = BYTES + rng.sample(sorted(longer), len(longer))
    rng.shuffle(tokens)
    tokenizer, reference = pair(tmp_path, tokens)
    texts = [" " * count for count in range(60)] + [
        "".join(rng.choices("ab  ", k=rng.randint(1, 40))) for _ in range(300)
    ]
    for text in texts:
        assert tokenizer.encode(text, add_special_tokens=False) == reference.encode_ordinary(text), text


def test_special_tokens(models):
    tokenizer, reference = models
    size = len(TOKENS)
    assert tokenizer.vocab_size == size + 256 == reference.n_vocab
    for index, name in enumerate(SPECIAL):
        assert tokenizer.id_to_token(size + index) == f"<|{name}|>"
        assert tokenizer.is_special(size + index)
    text = "<|begin_of_text|>a <|eot_id|>\n<|image|><|reserved_special_token_245|> <|eom_id|"
    assert tokenizer.encode(text, parse_special=True) == reference.encode(text, allowed_special="all")
    assert tokenizer.encode(text, add_special_tokens=False) == reference.encode_ordinary(text)
    assert tokenizer.decode(reference.encode(text, allowed_special="all"), skip_special_tokens=False) == text


def test_roles_and_stop_tokens(models):
    tokenizer, _ = models
    size = len(TOKENS)
    assert tokenizer.encode("a") == [size, *tokenizer.encode("a", add_special_tokens=False)]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (size, size + 1, size + 4)
    assert tokenizer.unk_token_id is None
    assert tokenizer.stop_token_ids == {size + 1, size + 8, size + 9}


def test_streams_whole_characters(models):
    tokenizer, _ = models
    for text in LANGUAGES:
        ids = tokenizer.encode(text)
        detokenizer = Detokenizer(tokenizer)
        pieces = [detokenizer.add(token_id) for token_id in ids]
        assert "".join(pieces) == text
        assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_text(models):
    """Ids of broken bytes decode to what replacing gives, and a lone surrogate is an error as everywhere."""
    tokenizer, reference = models
    for data in BROKEN:
        ids = reference.encode_single_token(b"a"), *(TOKENS.index(bytes([byte])) for byte in data)
        assert tokenizer.decode(ids) == "a" + data.decode(errors="replace") == reference.decode(list(ids))
    with pytest.raises(TextError, match="got a lone surrogate U\\+D83D at character 1"):
        tokenizer.encode("a\ud83d")


def lines(tokens: list[bytes], start: int = 0) -> bytes:
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens, start))


def test_forms_of_a_line(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(lines(BYTES).replace(b"\n", b"\r\n\r\n").rstrip() + b"\n\n")
    assert Tokenizer.from_folder(tmp_path).vocab_size == 512


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (lines(BYTES, 1), TextError, r"ranks must be 0, 1, 2, \.\.\.; got 1 after 0\. Download"),
        (lines(BYTES) + b"eHg= 300\n", TextError, "got 300 after 256"),
        (lines([*BYTES, b"a"]), TextError, r"every token must come once; \"b'a'\" does not"),
        (lines([*BYTES, b"a" * 1025]), TextError, "a token must be at most 1024 bytes; got 1025. Download it again"),
        (lines(BYTES[:-1]), TextError, r"must have every byte as a token; b'\\xff' is none"),
        (lines(BYTES) + b"eHg", TextError, 'line 257 must be a token in base64 and its rank; got "eHg"'),
        (lines(BYTES) + b"eHg= \n", TextError, 'line 257 must be .*; got "eHg="'),
        (lines(BYTES) + b"eHg 256\n", TextError, 'line 257 must be .*; got "eHg 256"'),
        (lines(BYTES) + b"eHg= 256 1\n", TextError, "line 257 must be"),
        (lines(BYTES) + b"e\xffg= 256\n", TextError, r'line 257 must be .*; got "e\\ufffdg= 256"'),
        (lines(BYTES) + b"eHg= " + b"9" * 5000, TextError, r"line 257 must be .*\.\.\."),
        (lines(BYTES) + b"A" * 10000, TextError, r"line 257 must be .*\.\.\.. Download it again"),
    ],
)
def test_damaged_ranks(tmp_path, data, error, message):
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(error, match=message) as info:
        Tokenizer.from_folder(tmp_path)
    assert str(info.value).startswith(str(tmp_path / "tokenizer.model"))
    assert len(str(info.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("count", "whose"), [(100_256, ", as cl100k has"), (200_000, ", as Llama 4 has"), (128_001, "")]
)
def test_ranks_of_other_models(tmp_path, count, whose):
    tokens = [*BYTES, *(b"%06d" % number for number in range(count - 256))]
    with pytest.raises(
        UnsupportedError, match=f"must be the ranks of Llama 3, 128000; got {count}{whose}; other models"
    ):
        pair(tmp_path, tokens)


def test_every_truncation_but_between_lines_is_an_error(tmp_path):
    """A cut between two lines cannot be seen here; params.json tells it, where there is one."""
    tokens = [*BYTES, b"th", b"the"]
    whole = [lines(tokens[:count]) for count in (256, 257, 258)]
    fine = {len(data) - less for data in whole for less in (0, 1)}
    for end in [*range(0, 400, 7), *range(len(whole[0]) - 30, len(whole[2]))]:
        (tmp_path / "tokenizer.model").write_bytes(whole[2][:end])
        if end in fine:
            assert Tokenizer.from_folder(tmp_path).vocab_size <= 514
        else:
            with pytest.raises(TextError, match="Download it again"):
                Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("data", [b"\n\x0b", b"", b"{}", b"QQ==", b"QQ== x\n", b"\x80\x02."])
def test_what_does_not_look_like_ranks(data):
    assert not looks_like_ranks(data)


def test_what_looks_like_ranks():
    assert looks_like_ranks(b"QQ== 0\nQg")
    assert looks_like_ranks(b"QQ== 0")
