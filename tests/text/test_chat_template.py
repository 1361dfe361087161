"""Where chat templates lie, what they render to, and what is said when they fail."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

import chat_templates
from inferno.errors import TextError, UsageError
from inferno.text import ChatTemplate

USER = [{"role": "user", "content": "Hi "}]
CHAT = [{"role": "system", "content": " Be brief. "}, *USER, {"role": "assistant", "content": "Yes?"}]
DAY = datetime.date(2025, 2, 3)


def render(template: str, messages=USER, variables=None, **arguments) -> str:
    return ChatTemplate.from_string(template, variables).render(messages, **arguments)


@pytest.mark.parametrize(
    ("template", "messages", "variables", "expected"),
    [
        (
            chat_templates.CHATML,
            CHAT,
            {},
            "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nHi <|im_end|>\n"
            "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            chat_templates.CHATML_WITH_SYSTEM,
            USER,
            {},
            "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            chat_templates.LLAMA3,
            CHAT[:2],
            {"bos_token": "<B>"},
            "<B><|start_header_id|>system<|end_header_id|>\n\nDate: 03 Feb 2025\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            chat_templates.LLAMA2,
            [*CHAT, *USER],
            {"bos_token": "<s>", "eos_token": "</s>"},
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Yes? </s><s>[INST] Hi [/INST]",
        ),
        (
            chat_templates.ZEPHYR,
            USER,
            {"eos_token": "</s>"},
            "<|user|>\nHi </s>\n<|assistant|>\n",
        ),
    ],
    ids=["chatml", "chatml with system", "llama3", "llama2", "zephyr"],
)
def test_families(template, messages, variables, expected):
    assert render(template, messages, variables, date=DAY) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }}", "True True True"),
        ("{{ ['<é>', 1] | tojson }}", '["<é>", 1]'),
        ("{{ {'b': 1, 'a': [2]} | tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":[2],"b":1}'),
        ("{{ ['é'] | tojson(ensure_ascii=true) }}", '["\\u00e9"]'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "01345678"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("a{% generation %}b{% set x = 1 %}{{ x }}{% endgeneration %}c{{ x }}", "ab1c"),
        ("{% for m in messages %}{% generation %}{{ m.role }}{{ loop.index }}{% endgeneration %}{% endfor %}", "user1"),
        ("{{ strftime_now('%Y-%m-%d %H:%M') }} {{ date_string }}", "2025-02-03 00:00 03 Feb 2025"),
        ("{{ bos_token }}{{ nowhere }}|", "<s>|"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{% macro f(x, y='d') %}{{ x }}{{ y }}{% endmacro %}{{ f(1) }}{{ f(1, y=2) }}", "1d12"),
        ("{{ messages | map(attribute='content') | join(',') }}", "Hi "),
        ("{{ messages[::-1][0].role ~ 1 ~ none }}", "user1None"),
        ("{{ '%s-%03d' % ('a', 7) }} {{ '{:>4}|{a}'.format('x', a=1) }}", "a-007    x|1"),
        ("{{ 'ab' * 2 + 'c' }} {{ 2 ** 10 }} {{ [1] + [2] }} {{ 7 % 4 }}", "ababc 1024 [1, 2] 3"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ 'a\nb' | indent(2) }} {{ 'x' | center(3) }} {{ 1.25 | round(1) }}", "a\n  b  x  1.2"),
        ("{% for a, b in {'k': 1}.items() %}{{ a }}{{ b }}{% endfor %}{% set c, d = 1, messages %}{{ c }}", "k11"),
        ("{{ messages[0].get('none', 'x') }}{{ (1, 2) }}{{ {'a': messages[0].role} }}", "x(1, 2){'a': 'user'}"),
    ],
)  # fmt: skip
def test_what_templates_are_given(template, expected):
    assert render(template, variables={"bos_token": "<s>"}, date=DAY) == expected


def test_without_a_date_the_clock_shows_and_date_string_is_the_template_s_own():
    template = "{{ strftime_now('%Y %j') }}{{ date_string is defined }}"
    before = datetime.datetime.now()
    shown = render(template)
    after = datetime.datetime.now()
    assert shown in {f"{now:%Y %j}False" for now in (before, after)}


def test_arguments_reach_the_template():
    assert render("{{ tools[0] }}{{ enable_thinking }}", tools=["t"], enable_thinking=False) == "tFalse"
    assert render("{{ add_generation_prompt }}", add_generation_prompt=False) == "False"
    assert render("{{ date_string }}", date=DAY, date_string="now") == "now"


@pytest.mark.parametrize("name", ["raise_exception", "strftime_now"])
def test_reserved_variables(name):
    with pytest.raises(UsageError, match=f"variables must not replace its own; got {name}"):
        render("", **{name: 1})


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("Hi", "messages: must be a list of messages; got 'Hi'"),
        ({"role": "user"}, "messages: must be a list of messages; got {'role': 'user'}"),
        (["Hi"], "messages[0]: must be a mapping with `role` and `content`, like "),
        ([*USER, {"content": "x"}], "messages[1]: must be a mapping with `role` and `content`, like "),
        ([{"role": 3}], "messages[0]: must be a mapping with `role` and `content`, like "),
    ],
)
def test_messages_that_are_none(messages, said):
    with pytest.raises(TextError) as info:
        render("", messages)
    assert str(info.value).startswith(said)


# Files


def write(folder: Path, config=None, legacy=None, **files: str) -> Path:
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": config}))
    if legacy is not None:
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": legacy}))
    for name, text in files.items():
        path = folder / (f"{name}.jinja" if name == "chat_template" else f"additional_chat_templates/{name}.jinja")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config": "embedded"}, "embedded"),
        ({"config": "embedded", "chat_template": "file"}, "file"),
        ({"legacy": "legacy"}, "legacy"),
        ({"legacy": "legacy", "config": "embedded"}, "embedded"),
        ({"config": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}, "d"),
        ({"config": [{"name": "only", "template": "o"}]}, "o"),
        ({"chat_template": "file", "rag": "r"}, "file"),
        ({"default": "additional"}, "additional"),
        ({"config": [{"name": "default", "template": "d"}], "chat_template": "file"}, "file"),
    ],
)
def test_places_and_their_order(tmp_path, files, expected):
    template = ChatTemplate.from_folder(write(tmp_path, **files))
    assert template is not None
    assert template.render(USER) == expected


def test_no_template_at_all(tmp_path):
    assert ChatTemplate.from_folder(tmp_path) is None


def test_tools_choose_the_template_for_them(tmp_path):
    folder = write(tmp_path, [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}])
    template = ChatTemplate.from_folder(folder)
    assert template is not None
    assert template.render(USER) == "d"
    assert template.render(USER, tools=[]) == "d"
    assert template.render(USER, tools=[{"name": "f"}]) == "t"


def test_several_templates_without_a_default(tmp_path):
    template = ChatTemplate.from_folder(write(tmp_path, rag="r", tool_use="t"))
    assert template is not None
    with pytest.raises(TextError, match="chat templates must include one named 'default'; got rag, tool_use"):
        template.render(USER)


@pytest.mark.parametrize("value", [7, ["x"], [{"name": "default"}], {"default": "x"}])
def test_a_field_that_holds_no_template(tmp_path, value):
    with pytest.raises(TextError) as info:
        ChatTemplate.from_folder(write(tmp_path, value))
    where = tmp_path / "tokenizer_config.json"
    assert str(info.value).startswith(
        f'{where}: chat_template must be a string or a list of {{"name", "template"}}; got '
    )


def test_a_template_file_that_is_a_git_lfs_pointer(tmp_path):
    write(tmp_path, chat_template="version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(TextError, match=r"chat_template\.jinja: must be the file itself; got a Git-LFS pointer"):
        ChatTemplate.from_folder(tmp_path)


def test_a_template_file_that_is_not_utf8(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"ab\xff")
    with pytest.raises(TextError, match=r"chat_template\.jinja: must be UTF-8; got byte 0xff at 2"):
        ChatTemplate.from_folder(tmp_path)


# Failures


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{% if %}", ", line 2: Expected an expression"),
        (
            "\n\n{{ raise_exception('roles must alternate') }}",
            ", line 3: the template refuses these messages: roles must",
        ),
        ("{% macro f(x) %}\n{{ x.y.z }}{% endmacro %}\n{{ f(1) }}", ", line 2: 'int object' has no attribute 'y'"),
        ("\n{{ nowhere.field }}", ", line 2: 'nowhere' is undefined"),
        ("{{ nowhere | tojson }}", ", line 1: Object of type Undefined is not JSON serializable"),
        ("\n{{ ''.__class__ }}{{ ''.__class__.__mro__ }}", ", line 2: access to attribute '__class__' of 'str' object"),
        ("{% set _ = messages.append(1) %}", ", line 1: access to attribute 'append' of 'list' object is unsafe"),
        ("{{ messages[0].update(a=1) }}", ", line 1: access to attribute 'update' of 'dict' object is unsafe"),
        ("{% include '/etc/passwd' %}", ", line 1: no loader for this environment specified"),
        ("{{ 1 // 0 }}", ", line 1: integer division or modulo by zero"),
        ("{{ 'x' | urlize }}", ", line 1: No filter named 'urlize'"),
        ("{{ 'x' | nothing }}", ", line 1: No filter named 'nothing'"),
    ],
)
def test_errors_name_file_and_line(tmp_path, template, said):
    folder = write(tmp_path, chat_template=template)
    found = ChatTemplate.from_folder(folder)
    assert found is not None
    with pytest.raises(TextError) as info:
        found.render(USER)
    assert str(info.value).startswith(f"{folder / 'chat_template.jinja'}{said}")


def test_errors_name_the_field_of_an_embedded_template(tmp_path):
    found = ChatTemplate.from_folder(write(tmp_path, [{"name": "default", "template": "{{ a.b }}"}]))
    assert found is not None
    with pytest.raises(TextError, match=r"tokenizer_config\.json: chat_template 'default', line 1: 'a' is undefined"):
        found.render(USER)


def test_a_message_s_own_fields_win_over_methods_only_by_subscript():
    """As in jinja2: m.items is the method, m['items'] the field."""
    assert render("{{ messages[0]['items'] }}", [{"role": "user", "items": "x"}]) == "x"
