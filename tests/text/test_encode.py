"""Raw prompts to ids: what is added, what is parsed, what is ordinary text."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from inferno.errors import TextError
from inferno.text import Tokenizer
from text_models import CHATML, KINDS, byte_level, llama2, special, unigram, write_folder

LIBRARIES = {kind: make() for kind, make in KINDS.items()}
FLAGS = [{}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}]
LIBRARIES |= {
    f"byte_level {' '.join(flags)}": byte_level([CHATML[0], special(CHATML[1], **flags), CHATML[2]])
    for flags in FLAGS[1:]
}
PIECES = [
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "<unk>",
    "[CLS]",
    "<",
    "|",
    "user",
    "the",
    " ",
    "\n",
    "_",
    "caf\u00e9",
]
FEWER = settings(max_examples=50)  # for each of a dozen tokenizers
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)


@pytest.fixture(scope="module", params=LIBRARIES)
def tokenizer(request, tmp_path_factory):
    return Tokenizer.from_folder(write_folder(tmp_path_factory.mktemp("model"), LIBRARIES[request.param]))


def library_of(tokenizer: Tokenizer):
    from tokenizers import Tokenizer as Library

    return Library.from_file(str(tokenizer.source))


def test_parse_special_is_what_the_library_does(tokenizer):
    library = library_of(tokenizer)

    @FEWER
    @given(TEXTS)
    def check(text):
        assert (
            tokenizer.encode(text, parse_special=True, add_special_tokens=False)
            == library.encode(text, add_special_tokens=False).ids
        )

    check()


def test_ordinary_text_is_what_the_library_makes_of_it(tokenizer):
    library = library_of(tokenizer)
    library.encode_special_tokens = True

    @FEWER
    @given(st.text())
    def check(text):
        assert tokenizer.encode(text, add_special_tokens=False) == library.encode(text, add_special_tokens=False).ids

    check()


def test_no_special_token_comes_from_a_raw_prompt(tokenizer):
    unknown = {tokenizer.token_to_id("<unk>"), tokenizer.token_to_id("[UNK]")}

    @FEWER
    @given(TEXTS)
    def check(text):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert not [i for i in ids if tokenizer.is_special(i) and i not in unknown]
        assert all(i < tokenizer.vocab_size for i in ids)

    check()


def test_guards_stand_for_special_tokens_exactly(tokenizer):
    """Where every special token is wanted, the way through guards gives what plain parsing gives."""
    encoder = tokenizer._encoder

    @FEWER
    @given(TEXTS)
    def check(text):
        plain = encoder._encode(text)
        assert encoder.guarded(text, encoder._spans(text, plain)) == plain.ids

    check()


def test_byte_level_text_survives(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path))

    @FEWER
    @given(TEXTS)
    def check(text):
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text

    check()


def test_special_text_in_a_vocabulary_of_its_own_is_cut(tmp_path):
    """A Unigram model finds </s> among its pieces, whatever is said about special tokens."""
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, unigram()))
    ids = tokenizer.encode("</s>the</s>")
    assert tokenizer.token_to_id("</s>") not in ids
    assert tokenizer.decode(ids).replace(" ", "") == "</s>the</s>"


def test_special_token_of_one_character_that_cannot_be_written_otherwise(tmp_path):
    from tokenizers import Tokenizer as Library
    from tokenizers import models

    library = Library(models.Unigram([("<unk>", 0.0), ("#", -1.0)], unk_id=0))
    library.add_special_tokens([special("#")])
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, library))
    with pytest.raises(TextError, match="text must not hold '#', a special token of one character"):
        tokenizer.encode("#")


def test_bos_comes_from_the_post_processor(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, llama2(), bos_token="<s>"))
    plain = tokenizer.encode("the user", add_special_tokens=False)
    assert tokenizer.encode("the user") == [1, *plain]
    assert tokenizer.encode("") == [1]


def test_no_double_bos(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, llama2(legacy=False), bos_token="<s>"))
    once = tokenizer.encode("<s>the user", parse_special=True)
    assert once[0] == 1
    assert once.count(1) == 1
    assert tokenizer.encode("<s><s>the", parse_special=True).count(1) == 2  # the text says so
    assert tokenizer.encode("<s>the user").count(1) == 1  # here the text is ordinary


@pytest.mark.parametrize("wanted", [False, True, None])
def test_a_post_processor_wins_over_add_bos_token(tmp_path, wanted):
    config = {} if wanted is None else {"add_bos_token": wanted, "add_eos_token": wanted}
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, llama2(), bos_token="<s>", eos_token="</s>", **config))
    assert tokenizer.encode("the") == [1, *tokenizer.encode("the", add_special_tokens=False)]


@pytest.mark.parametrize(
    ("config", "before", "after"),
    [
        ({}, [], []),
        ({"add_bos_token": False}, [], []),
        ({"add_bos_token": True}, [1], []),
        ({"add_eos_token": True}, [], [2]),
        ({"add_bos_token": True, "add_eos_token": True}, [1], [2]),
        ({"add_bos_token": True, "bos_token": None}, [], []),
    ],
)
def test_add_bos_token_and_add_eos_token_without_a_post_processor(tmp_path, config, before, after):
    roles = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, byte_level(), **{**roles, **config}))
    assert tokenizer.encode("the") == [*before, *tokenizer.encode("the", add_special_tokens=False), *after]


def test_a_post_processor_may_add_at_the_end(tmp_path):
    library = byte_level()
    library.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)]
    )
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, library))
    assert tokenizer.encode("the") == [1, *tokenizer.encode("the", add_special_tokens=False), 2]


@pytest.mark.parametrize("parse_special", [False, True])
def test_lone_surrogate(tmp_path, parse_special):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path))
    with pytest.raises(TextError, match=r"text: must be valid Unicode; got a lone surrogate U\+D800 at character 3"):
        tokenizer.encode("abc\ud800", parse_special=parse_special)


def test_guards_are_invisible(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path))
    size = tokenizer.vocab_size
    encoder = tokenizer._encoder
    encoder.guarded("<|im_end|>", encoder._spans("<|im_end|>", encoder._encode("<|im_end|>")))
    (guard_id, guard), *_ = encoder._guards.values()
    assert guard_id >= size == tokenizer.vocab_size
    assert tokenizer.token_to_id(guard) is None
    assert tokenizer.id_to_token(guard_id) is None
    assert tokenizer.decode([guard_id]) == ""


@pytest.mark.parametrize("token_id", [-1, 1 << 40, 1.5, "1"])
def test_ids_that_are_none(tmp_path, token_id):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path))
    with pytest.raises(TextError, match="token ids must be decodable"):
        tokenizer.decode([token_id])
    with pytest.raises(TextError, match="token id must be a natural number; got"):
        tokenizer.id_to_token(token_id)


class Hesitant:
    """The library's tokenizer, which lets other threads in after each change of its settings."""

    def __init__(self, library: object) -> None:
        vars(self)["library"] = library

    def __getattr__(self, name: str) -> object:
        return getattr(vars(self)["library"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(vars(self)["library"], name, value)
        time.sleep(0.0005)


def test_threads_share_a_tokenizer(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path))
    text = "the <|im_end|> user"
    expected = tokenizer.encode(text), tokenizer.encode(text, parse_special=True)
    tokenizer._encoder.library = Hesitant(tokenizer._encoder.library)
    found: list[object] = []

    def work() -> None:
        for _ in range(20):
            found.append((tokenizer.encode(text), tokenizer.encode(text, parse_special=True)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 60
