"""tokenizer.model in a folder: told apart by content, beside other files, refused where it is neither form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inferno.errors import TextError
from inferno.text import Tokenizer
from text_models import byte_level, write_folder
from tokenizer_models import train_ranks, train_sentencepiece, write_ranks


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a small file of either form."""
    root = tmp_path_factory.mktemp("models")
    train_sentencepiece(root / "sentencepiece")
    write_ranks(root / "tiktoken", train_ranks(30))
    return {name: (root / name / "tokenizer.model").read_bytes() for name in ("sentencepiece", "tiktoken")}


@pytest.fixture(params=["sentencepiece", "tiktoken"])
def folder(request: pytest.FixtureRequest, models: dict[str, bytes], tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(models[request.param])
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(TextError) as info:
        Tokenizer.from_folder(folder)
    return str(info.value)


def test_tokenizer_json_comes_first(folder):
    assert Tokenizer.from_folder(folder).source == folder / "tokenizer.model"
    write_folder(folder, byte_level())
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.source == folder / "tokenizer.json"
    assert tokenizer.stop_token_ids == frozenset()
    (folder / "tokenizer.json").write_text("{")
    assert "must be whole; got 1 bytes" in refused(folder)


def test_other_files_of_the_folder_count(folder):
    bos, eos = Tokenizer.from_folder(folder).bos_token, Tokenizer.from_folder(folder).eos_token
    config = {"bos_token": eos, "eos_token": bos, "chat_template": "{{ bos_token }}{{ messages[0].content }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == (eos, bos)
    assert tokenizer.encode("")[0] == tokenizer.token_to_id(eos)
    chat = tokenizer.encode_chat([{"role": "user", "content": f"a{eos}"}])
    assert chat == [tokenizer.bos_token_id, *tokenizer.encode(f"a{eos}", add_special_tokens=False)]
    assert chat.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(("config", "ends"), [({}, (1, 0)), ({"add_bos_token": False, "add_eos_token": True}, (0, 1))])
def test_bos_is_added_unless_the_config_says_no(folder, config, ends):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.from_folder(folder)
    plain = tokenizer.encode("the quick", add_special_tokens=False)
    before, after = [tokenizer.bos_token_id] * ends[0], [tokenizer.eos_token_id] * ends[1]
    assert tokenizer.encode("the quick") == [*before, *plain, *after]


def test_added_tokens_follow_the_model_s(folder):
    size, second = Tokenizer.from_folder(folder).vocab_size, Tokenizer.from_folder(folder).id_to_token(1)
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": size, "<b>": size + 2}))
    described = {
        size + 1: {"content": "<a>", "special": True},
        1: {"content": second},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": described, "pad_token": "<pad>"}))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.vocab_size == size + 3
    assert [tokenizer.id_to_token(size + index) for index in range(3)] == ["<pad>", "<a>", "<b>"]
    assert tokenizer.pad_token_id == size
    assert [tokenizer.is_special(size + index) for index in range(3)] == [False, True, False]
    assert size + 1 in tokenizer.encode("x<a>y", parse_special=True)
    assert size + 1 not in tokenizer.encode("x<a>y")


@pytest.mark.parametrize(
    ("added", "described", "message"),
    [
        (
            {"<a>": 100_000},
            {},
            'added_tokens.json: token "<a>" must follow the [0-9]+ tokens of tokenizer.model; got id',
        ),
        ({"<a>": "1"}, {}, 'added_tokens.json: "<a>" must have a natural number as id; got "1"'),
        ({"<a>": -1}, {}, 'added_tokens.json: "<a>" must have a natural number as id; got -1'),
        ({}, {"5": {"content": "<a>"}}, 'tokenizer_config.json: token "<a>" must follow .* got id 5'),
        ({}, {"5": {"content": ""}}, 'tokenizer_config.json: token 5 must have a `content`; got ""'),
        ({}, {"x": {}}, 'tokenizer_config.json: added_tokens_decoder must map ids to tokens; got "x": {}'),
        ({}, ["<a>"], r'tokenizer_config.json: added_tokens_decoder must be an object; got \["<a>"\]'),
    ],
)
def test_added_tokens_that_do_not_fit(folder, added, described, message):
    (folder / "added_tokens.json").write_text(json.dumps(added))
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": described}))
    with pytest.raises(TextError, match=message):
        Tokenizer.from_folder(folder)


def test_a_size_that_params_json_contradicts(folder):
    size = Tokenizer.from_folder(folder).vocab_size
    for said in (size, -1, None):  # Llama 2 says -1
        (folder / "params.json").write_text(json.dumps({"vocab_size": said}))
        assert Tokenizer.from_folder(folder).vocab_size == size
    (folder / "params.json").write_text(json.dumps({"vocab_size": size + 1}))
    assert refused(folder) == (
        f"{folder / 'tokenizer.model'}: must have {size + 1} tokens, as params.json says (vocab_size); got {size}. "
        "Download it again"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"must be a SentencePiece model \(Llama 2\) or tiktoken's ranks \(Llama 3\); got an empty file"),
        (b"PK\x03\x04archive", r"got a file that begins with \"b'PK\\\\x03\\\\x04archive'\""),
        (b'{"model": {}}', "got a file that begins with"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "got a Git-LFS pointer"),
        (b"\n", "must be a whole SentencePiece model"),
    ],
)
def test_what_is_neither_form(tmp_path, data, message):
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(TextError, match=message):
        Tokenizer.from_folder(tmp_path)


def test_a_file_of_absurd_size(tmp_path):
    with open(tmp_path / "tokenizer.model", "wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(TextError, match=r"tokenizer\.model: must be at most 16777216 bytes; got 16777217"):
        Tokenizer.from_folder(tmp_path)


def test_added_tokens_that_are_no_unicode(folder):
    (folder / "added_tokens.json").write_text(json.dumps({"<\ud800>": 400}))
    with pytest.raises(TextError, match=r"added_tokens\.json: token 400 must be valid Unicode; got a lone surrogate"):
        Tokenizer.from_folder(folder)


def test_a_link_to_nowhere(tmp_path):
    (tmp_path / "tokenizer.model").symlink_to(tmp_path / "blob")
    assert "which does not exist" in refused(tmp_path)


def test_no_reference_library_is_needed(folder):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['sentencepiece', 'tiktoken', 'google.protobuf', 'regex']));"
        f"import inferno.text as t; print(t.Tokenizer.from_folder({str(folder)!r}).encode('the quick'))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(found) == Tokenizer.from_folder(folder).encode("the quick")
