"""tokenizer.model in SentencePiece's form gives the ids of the library sentencepiece, or is refused by name."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.errors import InfernoError, TextError, UnsupportedError
from inferno.text import Detokenizer, Tokenizer
from inferno.text.sentencepiece_bpe import SPACE
from tokenizer_models import BROKEN, LANGUAGES, SPACES, corpus, train_sentencepiece

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PIECES = [
    *SPACES,
    "the",
    "quick",
    "12",
    "</s>",
    "<s>",
    "<0x41>",
    "\u4e16\u754c",
    "\U0001f44d",
    "e\u0301",
    "\u0000",
    "<sep>",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)

# As Llama 2; then each switch of the normalizer and of the vocabulary by itself.
KINDS = {
    "llama2": {},
    "no prefix": {"add_dummy_prefix": False},
    "fewer spaces": {"remove_extra_whitespaces": True},
    "fewer spaces, no prefix": {"remove_extra_whitespaces": True, "add_dummy_prefix": False},
    "no bytes": {"byte_fallback": False},
    "control pieces": {"control_symbols": ["<mask>", "[INST]"], "pad_id": 3},
    "user-defined pieces": {"user_defined_symbols": ["<sep>", "\u2581\u2581\u2581", "qui"], "add_dummy_prefix": False},
}


@pytest.fixture(scope="module", params=KINDS)
def models(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    reference = train_sentencepiece(folder, **KINDS[request.param])
    return Tokenizer.from_folder(folder), reference


def test_the_corpus(models):
    tokenizer, reference = models
    for text in corpus():
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == reference.encode(text), ascii(text)
        assert tokenizer.decode(ids, skip_special_tokens=False) == decoded(reference, ids), ascii(text)


def decoded(reference, ids: list[int]) -> str:
    """The reference's text, with the unknown piece as itself instead of the sign that sentencepiece prints for it."""
    return reference.decode(ids).replace(" \u2047 ", "<unk>")


def test_random_texts(models):
    tokenizer, reference = models

    @settings(max_examples=300)
    @given(TEXTS)
    def check(text):
        assert tokenizer.encode(text, add_special_tokens=False) == reference.encode(text)

    check()


def test_streams_whole_characters(models):
    tokenizer, _ = models
    for text in LANGUAGES:
        ids = tokenizer.encode(text)
        detokenizer = Detokenizer(tokenizer)
        pieces = [detokenizer.add(token_id) for token_id in ids] + [detokenizer.finish()]
        assert "".join(pieces) == tokenizer.decode(ids)
        assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_roles(models):
    tokenizer, reference = models
    roles = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert roles == (reference.bos_id(), reference.eos_id(), reference.unk_id())
    assert tokenizer.pad_token_id == (reference.pad_id() if reference.pad_id() >= 0 else None)
    assert tokenizer.vocab_size == reference.vocab_size()
    assert tokenizer.stop_token_ids == {reference.eos_id()}
    assert tokenizer.encode("the") == reference.encode("the", add_bos=True)
    specials = [i for i in range(reference.vocab_size()) if reference.is_control(i) or reference.is_unknown(i)]
    assert [i for i in range(tokenizer.vocab_size) if tokenizer.is_special(i)] == specials


def test_special_tokens_of_the_text(models):
    """Between them a text begins anew, with the prefix of its own, as where a chat is encoded turn by turn."""
    tokenizer, reference = models
    bos, eos = reference.bos_id(), reference.eos_id()
    ids = tokenizer.encode("<s>the quick</s><s>fox", parse_special=True)
    assert ids == [bos, *reference.encode("the quick"), eos, bos, *reference.encode("fox")]
    assert tokenizer.encode("<s>the</s>", add_special_tokens=False) == reference.encode("<s>the</s>")


def test_bytes_that_are_no_text(models):
    """sentencepiece takes bytes and reads U+FFFD for each that is wrong; as text they are the same to both."""
    tokenizer, reference = models
    for data in BROKEN:
        ones = "".join(chr(0xFFFD) if "\ud800" <= c <= "\udfff" else c for c in data.decode(errors="surrogateescape"))
        assert tokenizer.encode(ones, add_special_tokens=False) == reference.encode(data)
    with pytest.raises(TextError, match="got a lone surrogate U\\+D83D at character 1"):
        tokenizer.encode("a\ud83d")


# Models written by hand: what training does not make.


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*out, value])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


BASE = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
BASE += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
LETTERS = [(letter, -1000.0 - index, NORMAL) for index, letter in enumerate(SPACE + "abcd")]
TRAINER = {3: 2, 35: 1}  # BPE, byte fallback
NORMALIZER = {4: 0}  # spaces stay


def model(
    pieces: Sequence[tuple[str, float, int]] = (),
    trainer: dict[int, int] = TRAINER,
    normalizer: dict[int, int] = NORMALIZER,
    *,
    base: Sequence[tuple[str, float, int]] = (*BASE, *LETTERS),
    rest: bytes = b"",
) -> bytes:
    """A SentencePiece model of `base`, then `pieces` (text, score, type)."""
    out = b""
    for text, score, kind in [*base, *pieces]:
        piece = message(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind)
        out += message(1, piece)
    out += message(2, b"".join(number(*item) for item in trainer.items()))
    return out + message(3, b"".join(number(*item) for item in normalizer.items())) + rest


def ranked(texts: str, scores: Sequence[float] | None = None) -> list[tuple[str, float, int]]:
    words = texts.split()
    return [
        (word, score, NORMAL)
        for word, score in zip(words, scores or [-float(i) for i in range(len(words))], strict=True)
    ]


def written(folder: Path, data: bytes) -> Tokenizer:
    (folder / "tokenizer.model").write_bytes(data)
    return Tokenizer.from_folder(folder)


RUNS = " ".join(SPACE * count for count in range(2, 17))


@pytest.mark.parametrize(
    "pieces",
    [
        ranked("ab bc abc cd bcd abcd aa aaaa aaa"),
        ranked("bcd ab abcd abc bc cd"),
        ranked(RUNS, [-1e9] * 15),  # Llama 2's long white space: all runs share one score
        ranked(f"{SPACE}a aa {RUNS}", [-1.0, -2.0] + [-1e9] * 15),
        ranked(f"{SPACE * 2} {SPACE * 3} ab cd abcd", [-1e9, -1e9, -3.0, -3.0, -4.0]),
        ranked("ab cd abcd", [-1.0, -1.0, -2.0]),  # parts that never overlap
        [*ranked("ab abc abcd", [-5.0, -5.0, -5.0])],  # a chain, joined from one end
    ],
    ids=["plain", "shuffled", "runs", "runs and more", "runs beside pairs", "pairs", "chain"],
)
def test_scores_of_every_kind(tmp_path, pieces):
    data = model(pieces)
    tokenizer = written(tmp_path, data)
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    rng = random.Random(3)
    texts = [" " * count + end for count in range(120) for end in ("", "a", "\n")]
    texts += ["".join(rng.choices("abcd   \u00e9", k=rng.randint(1, 50))) for _ in range(1500)]
    for text in texts:
        assert tokenizer.encode(text, add_special_tokens=False) == reference.encode(text), text


@pytest.mark.parametrize(
    "pieces",
    [
        ranked("ab bc", [-1.0, -1.0]),
        ranked("aa ab", [-1.0, -1.0]),
        ranked("aa aaaa", [-1.0, -1.0]),
        ranked("ab cd bcd", [-2.0, -2.0, -1.0]),  # "abcd": joining cd makes room for a better one
        ranked(f"{RUNS} {SPACE * 2}a", [-1e9] * 15 + [-1.0]),
    ],
)
def test_ties_that_a_list_of_merges_cannot_break(tmp_path, pieces):
    with pytest.raises(
        UnsupportedError, match=r"pieces that overlap must have scores of their own; .* and .* share one"
    ):
        written(tmp_path, model(pieces))


def test_defaults_of_a_silent_model(tmp_path):
    """Without a normalizer's fields SentencePiece adds a prefix and removes spaces."""
    data = model(ranked("ab"), normalizer={})
    assert written(tmp_path, data).encode("  a  b ", add_special_tokens=False) == [
        *sentencepiece.SentencePieceProcessor(model_proto=data).encode("  a  b ")
    ]


def replaced(text: str, *piece: object) -> list[tuple[str, float, int]]:
    return [piece if entry[0] == text else entry for entry in (*BASE, *LETTERS)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (model(trainer={35: 1}), UnsupportedError, "must be a BPE model; got unigram; make a tokenizer.json once"),
        (model(trainer={3: 3}), UnsupportedError, "must be a BPE model; got word"),
        (model(trainer={3: 9}), UnsupportedError, "must be a BPE model; got type 9"),
        (model(trainer={**TRAINER, 24: 1}), UnsupportedError, "treat_whitespace_as_suffix must be false; got true"),
        (model(normalizer={5: 0}), UnsupportedError, "normalizer_spec.escape_whitespaces must be true; got false"),
        (
            model(rest=message(3, message(2, b"x"))),
            UnsupportedError,
            "normalizer_spec.precompiled_charsmap must be empty",
        ),
        (
            model(rest=message(5, message(2, b"x"))),
            UnsupportedError,
            "denormalizer_spec.precompiled_charsmap must be emp",
        ),
        (model([("ab", 0.0, UNUSED)]), UnsupportedError, 'no piece may be of type UNUSED; "ab" is'),
        (model([("ab", 0.0, USER_DEFINED)]), UnsupportedError, 'user-defined pieces must come without .*; got "ab"'),
        (model([("#", 0.0, CONTROL)]), UnsupportedError, 'a control piece must be longer than a character.*; got "#"'),
        (
            model([("a\u00e9", 0.0, NORMAL)]),
            UnsupportedError,
            r'the characters of a piece must be pieces too; "a\\u00e9" has "\\u00e9"',
        ),
        (model(trainer={3: 2}), TextError, 'byte pieces must be none without byte_fallback; "<0x00>" differs'),
        (
            model(base=[e for e in (*BASE, *LETTERS) if e[0] != "<0x41>"]),
            TextError,
            'be the 256 bytes .* "<0x41>" differs',
        ),
        (
            model([("ab", 0.0, NORMAL)] * 2),
            TextError,
            'piece 265 must have a text of its own; got that of piece 264, "ab"',
        ),
        (
            model([("\u00e9" * 513, 0.0, NORMAL)]),
            TextError,
            "piece 264 must be at most 1024 bytes; got 1026. Download it again",
        ),
        (model([("", 0.0, NORMAL)]), TextError, "piece 264 must have a text of its own; got nothing"),
        (model([("ab", 0.0, 7)]), TextError, "piece 264 must be of a type from 1 to 6; got 7"),
        (model([("ab", float("nan"), NORMAL)]), TextError, "piece 264 must have a finite score; got nan"),
        (model([("ab", float("inf"), NORMAL)]), TextError, "piece 264 must have a finite score; got inf"),
        (model([("??", 0.0, UNKNOWN)]), TextError, "must have one piece for what is unknown; got 2"),
        (model(base=[*BASE[1:], *LETTERS]), TextError, "must have one piece for what is unknown; got 0"),
        (message(1, message(1, b"\xff")), TextError, r"piece 0 must be UTF-8; got \"b'\\\\xff'\""),
        (b"\n\x00" + number(2, 5), TextError, "got a number where it holds messages"),
        (b"\n\x7f", TextError, "must be a whole SentencePiece model; field 1 at offset 0 must have 127 bytes; got 0"),
        (model()[:-4], TextError, "must be a whole SentencePiece model; got one without normalizer_spec"),
        (b"\n\x00\x0b", TextError, "wire type must be 0, 1, 2 or 5; got 3 at offset 2"),
        (b"\n" + b"\xff" * 20, TextError, "a number at offset 1 must end within 10 bytes and the message"),
        (b"\n" + b"\xff" * 9 + b"\x7f", TextError, "field 1 at offset 0 must have [0-9]+ bytes; got 0"),
        (b"\n\x00\x12\x01\x09", TextError, "field 1 at offset 0 must have 8 bytes; got 0"),
    ],
)
def test_refusals(tmp_path, data, error, message):
    with pytest.raises(error, match=message) as info:
        written(tmp_path, data)
    assert str(info.value).startswith(str(tmp_path / "tokenizer.model"))


def test_every_truncation_is_an_error(tmp_path):
    whole = model(ranked("ab abc"))
    for end in [*range(1, 40), *range(40, len(whole) - 60, 11), *range(len(whole) - 60, len(whole))]:
        with pytest.raises(TextError, match="Download it again"):
            written(tmp_path, whole[:end])


def test_random_damage_ends_in_an_error_of_ours(tmp_path):
    whole = model(ranked("ab abc cd"))
    rng = random.Random(11)
    errors = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            written(tmp_path, bytes(data))
        except InfernoError:
            errors += 1
    assert errors > 100
