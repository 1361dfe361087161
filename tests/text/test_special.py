"""Special tokens by role, from the files that name them."""

from __future__ import annotations

import json
import os

import pytest
from tokenizers import AddedToken

from inferno.errors import TextError
from inferno.text import SpecialTokens, Tokenizer
from inferno.text.survey import survey_text_files
from text_models import CHATML, byte_level, special, write_folder


def test_roles_as_text_as_object_and_as_null(tmp_path):
    folder = write_folder(
        tmp_path, bos_token="<|im_start|>", eos_token={"content": "<|im_end|>", "lstrip": False}, pad_token=None
    )
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer.pad_token_id is None
    assert tokenizer.unk_token_id is None


def test_no_config_means_no_roles(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path))
    assert tokenizer.bos_token is tokenizer.bos_token_id is tokenizer.eos_token_id is None
    assert tokenizer.chat_template is None


def test_special_tokens_map_fills_what_the_config_leaves_open(tmp_path):
    write_folder(tmp_path, bos_token="<|im_start|>", unk_token=None)
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "wrong", "eos_token": {"content": "<|im_end|>"}, "unk_token": "wrong"})
    )
    roles = SpecialTokens.from_folder(tmp_path).roles
    assert roles == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def test_lists_of_extra_tokens_and_named_extra_roles(tmp_path):
    write_folder(
        tmp_path,
        additional_special_tokens=["<|im_end|>", {"content": "<|im_start|>"}],
        extra_special_tokens={"image_token": "<image>"},
    )
    tokens = SpecialTokens.from_folder(tmp_path)
    assert tokens.extra == ("<|im_end|>", "<|im_start|>")
    assert tokens.template_variables() == {
        "image_token": "<image>",
        "additional_special_tokens": ["<|im_end|>", "<|im_start|>"],
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bos_token": 7}, "bos_token must be a string, an object with `content`, or null; got 7"),
        ({"additional_special_tokens": "x"}, "additional_special_tokens must be a list or an object; got 'x'"),
        ({"add_bos_token": "yes"}, "add_bos_token must be true, false or null; got 'yes'"),
    ],
)
def test_nonsense_is_refused(tmp_path, config, message):
    with pytest.raises(TextError) as info:
        Tokenizer.from_folder(write_folder(tmp_path, **config))
    assert str(info.value) == f"{tmp_path / 'tokenizer_config.json'}: {message}"


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"bos_token": "\ud800"}, "bos_token"),
        ({"eos_token": {"content": "\ud800"}}, "eos_token"),
        ({"additional_special_tokens": ["<a>", "\ud800"]}, "additional_special_tokens[1]"),
        ({"extra_special_tokens": {"image_token": "\ud800"}}, "extra_special_tokens.image_token"),
        ({"extra_special_tokens": {"\ud800": "<a>"}}, "extra_special_tokens: a name"),
    ],
)
def test_lone_surrogates_are_refused_and_surveyed(tmp_path, file, config, field):
    write_folder(tmp_path)
    (tmp_path / file).write_text(json.dumps(config))
    with pytest.raises(TextError) as info:
        Tokenizer.from_folder(tmp_path)
    assert str(info.value).startswith(f"{tmp_path / file}: {field} must be valid Unicode; got ")
    assert "a lone surrogate" in str(info.value)
    assert [str(fault) for fault in survey_text_files(tmp_path, os.listdir(tmp_path)).faults] == [str(info.value)]


def test_what_the_library_cannot_declare_is_a_text_error(tmp_path):
    with pytest.raises(TextError, match=r"tokenizer\.json: special tokens must be declarable: .*surrogates"):
        Tokenizer(byte_level(), tmp_path / "tokenizer.json", SpecialTokens(extra=("\ud800",)))
    tokenizer = Tokenizer(byte_level(), tmp_path / "tokenizer.json")
    with pytest.raises(TextError, match=r"a token must be valid Unicode; got '\\ud800'"):
        tokenizer.token_to_id("\ud800")


def test_broken_config_is_refused(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": ')
    with pytest.raises(TextError, match=r"tokenizer_config\.json: must be JSON"):
        Tokenizer.from_folder(tmp_path)


def test_role_that_is_in_no_vocabulary_has_no_id(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, bos_token="<nowhere>"))
    assert tokenizer.bos_token == "<nowhere>"
    assert tokenizer.bos_token_id is None


@pytest.mark.parametrize("known", [AddedToken("<|eot|>", special=False), None], ids=["added", "in the vocabulary"])
def test_eos_is_special_even_where_tokenizer_json_holds_it_as_ordinary(tmp_path, known):
    library = byte_level([*CHATML, special("<|eot|>")])
    description = json.loads(library.to_str())
    entries = description["added_tokens"]
    index = next(i for i, entry in enumerate(entries) if entry["content"] == "<|eot|>")
    if known is None:
        entries.pop(index)
    else:
        entries[index]["special"] = False
    write_folder(tmp_path, eos_token="<|eot|>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    tokenizer = Tokenizer.from_folder(tmp_path)
    eot = tokenizer.eos_token_id
    assert eot is not None
    assert tokenizer.is_special(eot)
    assert tokenizer.encode("a<|eot|>", parse_special=True)[-1] == eot
    assert eot not in tokenizer.encode("a<|eot|>")
    assert tokenizer.decode([eot]) == ""
