"""Broken tokenizers and chat templates. The weights run, from token ids; a text does not become a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_edits import Edit, edit_bytes, edit_json, fifo, link, replace, write
from zoo.case import Case, Make, runs, warned
from zoo.containers import POINTER
from zoo.lint import TOKENIZER, TOKENIZER_CONFIG

JINJA = "chat_template.jinja"


def broken(name: str, file: str, make: Make, message: str) -> Case:
    return warned(name, make, "text-file-broken", "{folder}/" + file, message, speaks=False)


def tokenizer(name: str, make: Make, message: str) -> Case:
    return broken(name, TOKENIZER, make, message)


def edited(change: Callable[[dict[str, Any]], object]) -> Edit:
    return edit_json(TOKENIZER, change=change)


def as_text(old: str, new: str) -> Edit:
    """A piece of tokenizer.json's text in place of another: for what Python's json would not write."""

    def edit(folder: Path) -> None:
        text = json.dumps(json.loads((folder / TOKENIZER).read_text()))
        assert old in text
        (folder / TOKENIZER).write_text(text.replace(old, new, 1))

    return edit


DEEP = '{"type": "Sequence", "processors": [' * 50_000 + "]}" * 50_000


def sequence(depth: int) -> dict[str, Any]:
    processor: dict[str, Any] = {"type": "Sequence", "processors": []}
    for _ in range(depth):
        processor = {"type": "Sequence", "processors": [processor]}
    return processor


FORM = "must be a tokenizer as the tokenizers library writes it; got"
PLACES = [
    tokenizer(
        "tokenizer empty", write(TOKENIZER, b""), "must hold a JSON object; got an empty file; download it again"
    ),
    tokenizer("tokenizer cut short", edit_bytes(lambda raw: raw[:-9], TOKENIZER), "must be whole; got"),
    tokenizer("tokenizer a list", write(TOKENIZER, b"[]"), "must be whole; got 2 bytes that do not end with a brace"),
    tokenizer("tokenizer not JSON", write(TOKENIZER, b"{oops}"), FORM),
    tokenizer("tokenizer an empty object", write(TOKENIZER, b"{}"), f"{FORM} no model"),
    tokenizer("tokenizer a pointer", write(TOKENIZER, POINTER), "got a Git-LFS pointer to it"),
    tokenizer("tokenizer a pipe", fifo(TOKENIZER), "must be a regular file; got a pipe"),
    tokenizer("tokenizer a folder", replace(TOKENIZER, Path.mkdir), "must be a regular file; got a folder"),
    tokenizer("tokenizer a link to nothing", link(TOKENIZER, "blob"), "is a link to blob, which does not exist"),
    tokenizer("tokenizer nested without end", write(TOKENIZER, b'{"a":' * 100_000 + b"}"), FORM),
    broken(
        "settings of the tokenizer cut short", TOKENIZER_CONFIG, write(TOKENIZER_CONFIG, b"{"), "must be JSON; line 1"
    ),
    broken("settings a list", TOKENIZER_CONFIG, write(TOKENIZER_CONFIG, b"[]"), "must hold a JSON object; got []"),
    broken("settings a pipe", TOKENIZER_CONFIG, fifo(TOKENIZER_CONFIG), "must be a regular file; got a pipe"),
    broken(
        "a special map cut short", "special_tokens_map.json", write("special_tokens_map.json", b"{"), "must be JSON"
    ),
    broken("a special map in a pipe", "special_tokens_map.json", fifo("special_tokens_map.json"), "got a pipe"),
]
FORMS = [
    tokenizer("no vocabulary", edited(lambda t: t["model"].pop("vocab")), f"{FORM} no vocabulary"),
    tokenizer("a vocabulary of texts", edited(lambda t: t["model"].update(vocab={"a": "b"})), FORM),
    tokenizer("a vocabulary of negatives", edited(lambda t: t["model"].update(vocab={"a": -1})), FORM),
    tokenizer("added tokens of another form", edited(lambda t: t.update(added_tokens={"a": 1})), FORM),
    tokenizer("an added token without an id", edited(lambda t: t["added_tokens"][0].pop("id")), FORM),
    tokenizer("an added token of no number", edited(lambda t: t["added_tokens"][0].update(id="x")), FORM),
    tokenizer("an added token of NaN", edited(lambda t: t["added_tokens"][0].update(id=float("nan"))), FORM),
    tokenizer("an added token of infinity", as_text('"id": 0', '"id": 1e999'), FORM),
    tokenizer("a processor of another form", edited(lambda t: t.update(post_processor=[])), FORM),
    tokenizer(
        "a processor that is cut short",
        edited(lambda t: t.update(post_processor={"type": "BertProcessing", "cls": ["a"]})),
        FORM,
    ),
    tokenizer(
        "a processor of no number",
        edited(lambda t: t.update(post_processor={"type": "BertProcessing", "cls": ["a", "b"]})),
        FORM,
    ),
    tokenizer("processors without end", as_text('"post_processor": null', f'"post_processor": {DEEP}'), FORM),
]
TEMPLATES = [
    broken("a template not UTF-8", JINJA, write(JINJA, b"\xff\xfe"), "must be UTF-8"),
    broken("a template in a pipe", JINJA, fifo(JINJA), "must be a regular file; got a pipe"),
]
# Found by the engine of templates, which is not loaded for a look.
LATER = [
    runs("a template that does not close", write(JINJA, "{% if messages %}"), speaks=False),
    runs("comments without end", write(JINJA, "{#" * 400_000), speaks=False),
    runs("processors too deep for the library", edited(lambda t: t.update(post_processor=sequence(100))), speaks=False),
    runs("an empty vocabulary", edited(lambda t: t["model"].update(vocab={}, merges=[]))),
]
CASES = [*PLACES, *FORMS, *TEMPLATES, *LATER]
