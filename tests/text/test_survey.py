"""The survey of the text files: equal to what the library builds, for any order of keys, and never a crash."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.errors import TextError
from inferno.text import Tokenizer, survey
from inferno.text.survey import TextSurvey, TokenizerSurvey, survey_text_files, survey_tokenizer
from lint_cases import begins_with, tokenizer_json, write_llama31, write_smollm2, write_texts, write_tinyllama
from text_models import KINDS, add_bos, byte_level, llama2, write_folder


def surveyed(folder: Path) -> TextSurvey:
    return survey_text_files(folder, os.listdir(folder))


def of(folder: Path) -> TokenizerSurvey:
    found = surveyed(folder)
    assert found.faults == ()
    assert found.tokenizer is not None
    return found.tokenizer


def check_against_the_library(folder: Path) -> None:
    """The survey of a folder says what json and the tokenizers library say."""
    from tokenizers import Tokenizer as Library

    found, full = surveyed(folder), Tokenizer.from_folder(folder)
    library = Library.from_file(str(folder / "tokenizer.json"))
    built = json.loads((folder / "tokenizer.json").read_bytes())
    assert found.faults == ()
    assert found.tokenizer is not None
    added = library.get_added_tokens_decoder()
    assert found.tokenizer.model_type == built["model"]["type"] == type(library.model).__name__
    assert found.tokenizer.vocab_size == max(library.get_vocab(with_added_tokens=True).values()) + 1
    assert found.tokenizer.entries == library.get_vocab_size(with_added_tokens=False) == len(built["model"]["vocab"])
    ordinary = set(library.get_vocab(with_added_tokens=False).values()) - set(added)
    assert found.tokenizer.ordinary_size == max(ordinary, default=-1) + 1
    assert found.tokenizer.added_tokens == {token_id: token.content for token_id, token in added.items()}
    assert found.tokenizer.special_ids == {token_id for token_id, token in added.items() if token.special}
    assert found.token_id("bos_token") == full.bos_token_id
    assert found.token_id("eos_token") == full.eos_token_id
    if full.bos_token_id is not None:
        assert found.adds_bos == (full.bos_token_id in full.encode("a")[:1])
    assert (found.template is None) == (full.chat_template is None)


def test_the_demo_model(demo_folder: Path) -> None:
    check_against_the_library(demo_folder)
    found = surveyed(demo_folder)
    assert found.tokenizer is not None
    assert (found.tokenizer.vocab_size, found.tokenizer.ordinary_size, found.adds_bos) == (49152, 49152, False)
    assert found.template_prints_bos
    assert found.turn_ends == ("<|im_end|>",)
    assert found.model_max_length == 8192


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bos", ["<s>", "<|im_start|>", None])
def test_every_kind_of_tokenizer(tmp_path: Path, kind: str, bos: str | None) -> None:
    library = KINDS[kind]()
    if bos is not None and library.token_to_id(bos) is not None:
        add_bos(library, bos)
    check_against_the_library(write_folder(tmp_path, library, bos_token=bos, eos_token="</s>", add_bos_token=True))


@pytest.mark.parametrize("write", [write_llama31, write_tinyllama, write_smollm2])
def test_published_shapes(tmp_path: Path, write: Any) -> None:
    found = surveyed(write(tmp_path))
    assert found.faults == ()
    assert found.tokenizer is not None
    sizes = {"write_llama31": (128256, 128000), "write_tinyllama": (32000, 32000), "write_smollm2": (49152, 49152)}
    assert (found.tokenizer.vocab_size, found.tokenizer.ordinary_size) == sizes[write.__name__]
    assert found.adds_bos == (write is not write_smollm2)
    assert found.template_prints_bos == (write is not write_tinyllama)
    assert found.id_of("<|eot_id|>") == (128009 if write is write_llama31 else None)


TOKENS = st.one_of(
    st.text(min_size=1, max_size=6),
    st.sampled_from(['"', '": 7, "', "\\", '\\"', "<s>", "{", "}]", '"vocab": {', "\u4f60", "\U00010348", "merges"]),
)


def shuffled(value: Any, choice: random.Random) -> Any:
    """The same JSON with the keys of its objects in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], choice) for key in choice.sample(list(value), len(value))}
    return [shuffled(item, choice) for item in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=200)
@given(
    st.lists(TOKENS, min_size=1, max_size=50, unique=True),
    st.dictionaries(st.integers(0, 99), TOKENS, max_size=4),
    st.sampled_from(["BPE", "Unigram"]),
    st.booleans(),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_order_and_any_escapes(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    added: dict[int, str],
    model: str,
    ascii_only: bool,
    indent: int | None,
    bos: bool,
    choice: random.Random,
) -> None:
    ids = list(range(len(texts))) if model == "Unigram" else choice.sample(range(90), len(texts))
    vocabulary: Any = [[text, -0.5] for text in texts] if model == "Unigram" else dict(zip(texts, ids, strict=True))
    built = tokenizer_json(0, added, begins_with("x", 5) if bos else None, model=model)
    built["model"]["vocab"] = vocabulary
    built["model"]["merges"] = [[a, b] for a in texts[:4] for b in texts[:4]] + [f"{texts[0]} {texts[-1]}"]
    built["normalizer"] = {
        "type": "Replace",
        "pattern": {"String": texts[0]},
        "content": [texts, {"model": {"vocab": {}}}],
    }
    data = json.dumps(shuffled(built, choice), ensure_ascii=ascii_only, indent=indent)
    path = tmp_path_factory.mktemp("any") / "tokenizer.json"
    path.write_bytes(data.encode(errors="surrogatepass"))
    found = survey_tokenizer(path, texts)
    assert found.model_type == model
    assert found.entries == len(texts)
    assert found.vocab_size == max([*ids, *added]) + 1
    assert found.ordinary_size == max((i for i in ids if i not in added), default=-1) + 1
    assert found.added_tokens == found.added_tokens | added
    assert found.prefix == ((5,) if bos else None)
    if model == "BPE" and not added:
        assert found.ids == dict(zip(texts, ids, strict=True))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 10**6), st.binary(max_size=6), st.booleans())
def test_no_damage_is_a_crash(tmp_path_factory: pytest.TempPathFactory, place: int, change: bytes, cut: bool) -> None:
    base = tmp_path_factory.getbasetemp() / "damaged"
    if not base.exists():
        write_folder(base, llama2(), bos_token="<s>", chat_template="{{ bos_token }}")
        (base / "whole").write_bytes((base / "tokenizer.json").read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        whole = (base / "whole").read_bytes() if name == "tokenizer.json" else b'{"bos_token": "<s>"}'
        at = place % len(whole)
        (base / name).write_bytes(whole[:at] + change + (b"" if cut else whole[at + len(change) :]))
    found = surveyed(base)
    assert all(isinstance(fault, TextError) and str(base) in str(fault) for fault in found.faults)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "must hold a JSON object; got an empty file; download it again"),
        (b'{"model": {"vocab": {"a": 0}, "merges": [', "must be whole; got 41 bytes that do not end with a brace"),
        (b"version https://git-lfs.github.com/spec/v1\n", "must be the file itself; got a Git-LFS pointer"),
        (b"{}", "must be a tokenizer as the tokenizers library writes it; got no model"),
        (b'{"model": {}}', "must be a tokenizer as the tokenizers library writes it; got no vocabulary"),
        (b'{"model": {"vocab": {"a": -1}}}', "got no entry of a vocabulary at byte 21"),
        (
            b'{"added_tokens": [{"id": 1}], "model": {"vocab": {}}}',
            "got added_tokens or post_processor of another form",
        ),
        (b'{"added_tokens": [[[]]], "model": {"vocab": {}}}', "got added_tokens or post_processor of another form"),
        (b'{"added_tokens": 3, "model": {"vocab": {}}}', "got added_tokens or post_processor of another form"),
        (
            b'{"added_tokens": [{"id": "x", "content": ""}], "model": {"vocab": {}}}',
            "got added_tokens or post_processor",
        ),
        (b'{"added_tokens": [{"id": 1e999, "content": ""}], "model": {"vocab": {}}}', "got added_tokens or post_"),
        (b'{"post_processor": {"type": "BertProcessing", "cls": []}, "model": {"vocab": {}}}', "got added_tokens or"),
        (b'{"post_processor": [1], "model": {"vocab": {}}}', "got added_tokens or post_processor of another form"),
        (
            b'{"post_processor": {"type": "Sequence", "processors": 3}, "model": {"vocab": {}}}',
            "got added_tokens or post",
        ),
    ],
)
def test_what_cannot_be_surveyed_is_a_fault(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    found = surveyed(tmp_path)
    assert (found.tokenizer_file, found.tokenizer) == ("tokenizer.json", None)
    (fault,) = found.faults
    assert str(fault).startswith(f"{tmp_path / 'tokenizer.json'}: ")
    assert what in str(fault)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_deep_post_processor_is_a_fault(tmp_path: Path, depth: int) -> None:
    processor = '{"type": "Sequence", "processors": [' * depth + "]}" * depth
    (tmp_path / "tokenizer.json").write_text('{"post_processor": ' + processor + ', "model": {"vocab": {}}}')
    assert len(surveyed(tmp_path).faults) == 1


def test_files_of_absurd_size_are_faults(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 40)
    faults = [str(fault) for fault in surveyed(tmp_path).faults]
    assert [fault.split(": must be at most ")[0] for fault in faults] == [
        str(tmp_path / name) for name in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")
    ]


def test_an_added_token_that_is_no_unicode_is_a_fault(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = tmp_path / "tokenizer.json"
    built = json.loads(path.read_text())
    built["added_tokens"][1]["content"] = "a\ud800"
    path.write_text(json.dumps(built))
    assert [str(fault) for fault in surveyed(tmp_path).faults] == [
        f"{path}: added_tokens[1].content must be valid Unicode; got a lone surrogate U+D800 at character 1; "
        "download it again"
    ]
    with pytest.raises(TextError, match=r"tokenizer\.json: must be a tokenizer"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "chat_template.json"])
@pytest.mark.parametrize(("member", "what"), [("[]", "brackets"), ("{}", "brackets"), ("0", "commas")])
def test_settings_of_too_many_members_are_faults(tmp_path: Path, name: str, member: str, what: str) -> None:
    limit = {"brackets": survey.MAX_BRACKETS, "commas": survey.MAX_COMMAS}[what]
    (tmp_path / name).write_text('{"x": [' + f"{member}," * (limit + 1) + "0]}")
    got = limit + (3 if what == "brackets" else 1)
    told = f"{tmp_path / name}: must have at most {limit} {what} to be surveyed; got {got}"
    assert [str(fault) for fault in surveyed(tmp_path).faults] == [told]


def test_settings_with_the_most_added_tokens_in_use_are_read(tmp_path: Path) -> None:
    token = {"content": "<|s_1|>", "lstrip": False, "normalized": False, "rstrip": False, "special": False}
    described = {str(index): {**token, "single_word": False} for index in range(66_000)}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": described}, indent=2))
    assert surveyed(tmp_path).faults == ()


@pytest.mark.parametrize(
    ("processor", "prefix"),
    [
        ({"type": "ByteLevel"}, ()),
        (begins_with("<s>", 1), (1,)),
        ({"type": "Sequence", "processors": [{"type": "ByteLevel"}, begins_with("<s>", 1)]}, (1,)),
        ({"type": "Sequence", "processors": [begins_with("<s>", 1), begins_with("b", 4)]}, (4, 1)),
        ({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}, (1,)),
        ({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}, (1,)),
        ({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}], "special_tokens": {}}, ()),
        (None, None),
    ],
)
def test_what_a_post_processor_puts_before_a_text(
    tmp_path: Path, processor: Any, prefix: tuple[int, ...] | None
) -> None:
    added = {0: "<unk>", 1: "<s>", 2: "</s>"}
    write_texts(tmp_path, tokenizer_json(8, added, processor), {"bos_token": "<s>", "add_bos_token": True})
    assert of(tmp_path).prefix == prefix
    assert surveyed(tmp_path).adds_bos == (prefix is None or 1 in prefix)


def test_bos_without_a_name_is_not_known_to_be_added(tmp_path: Path) -> None:
    write_texts(tmp_path, tokenizer_json(8, {1: "<s>"}, begins_with("<s>", 1)), {})
    assert surveyed(tmp_path).adds_bos is None
    write_texts(tmp_path, tokenizer_json(8, {1: "<s>"}, {"type": "ByteLevel"}), {})
    assert surveyed(tmp_path).adds_bos is False


def test_a_walk_ends_where_all_is_known(tmp_path: Path) -> None:
    data = json.dumps(tokenizer_json(40, {}, {"type": "ByteLevel"}))
    broken = data.replace('"merges": []', '"merges": [["a", "b"], oops [[[ ')
    assert broken != data
    (tmp_path / "tokenizer.json").write_text(broken)
    assert of(tmp_path).vocab_size == 40
    # where something is still to come, the same is a fault
    late = {key: value for key, value in json.loads(data).items() if key != "post_processor"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(late).replace('"merges": []', '"merges": [["a", "b"], [[[ '))
    assert "no end of the value" in str(surveyed(tmp_path).faults[0])


def test_templates(tmp_path: Path) -> None:
    settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ bos_token }}{{ eos_token }}"}
    write_texts(tmp_path, None, settings)
    found = surveyed(tmp_path)
    assert (found.tokenizer_file, found.template_prints_bos, found.turn_ends) == (None, True, ("</s>",))
    assert found.template_origin == f"{tmp_path / 'tokenizer_config.json'}: chat_template"
    assert found.template_replaces == ""
    write_texts(tmp_path, None, settings, "{# bos_token #}{{ 'x<|im_end|>' }}{# </s> #}")
    found = surveyed(tmp_path)
    assert (found.template_prints_bos, found.turn_ends) == (False, ("<|im_end|>",))
    assert found.template_origin == str(tmp_path / "chat_template.jinja")
    assert found.template_replaces == f"{tmp_path / 'tokenizer_config.json'}: chat_template"
    write_texts(tmp_path, None, settings, settings["chat_template"] + "\n")
    assert surveyed(tmp_path).template_replaces == ""
    write_texts(tmp_path, None, {}, "<s>")
    assert not surveyed(tmp_path).template_prints_bos


@pytest.mark.parametrize(("length", "known"), [(4096, 4096), (10**30, None), (1e30, None), ("x", None), (True, None)])
def test_lengths(tmp_path: Path, length: object, known: int | None) -> None:
    write_texts(tmp_path, None, {"model_max_length": length})
    assert surveyed(tmp_path).model_max_length == known


def test_a_sentencepiece_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n")
    assert surveyed(tmp_path) == TextSurvey(tmp_path, "tokenizer.model")
    write_folder(tmp_path, byte_level())
    assert surveyed(tmp_path).tokenizer_file == "tokenizer.json"


def test_the_library_is_not_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    write_smollm2(tmp_path)
    code = (
        f"import os, sys; from pathlib import Path; from {survey.__name__} import survey_text_files as s;"
        f"f = Path({str(tmp_path)!r}); assert s(f, os.listdir(f)).tokenizer.vocab_size == 49152;"
        "assert not {'tokenizers', 'jinja2', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
