"""The forms in which prompts and chats may be given."""

from __future__ import annotations

import numpy as np
import pytest

from inferno.engine.prompts import Prompt, many_chats, many_prompts, one_prompt
from inferno.errors import UsageError

MESSAGE = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hi", Prompt(text="Hi")),
        ("", Prompt(text="")),
        ([1, 2], Prompt(token_ids=(1, 2))),
        ((1,), Prompt(token_ids=(1,))),
        (np.array([1, 2], np.int32), Prompt(token_ids=(1, 2))),
        ({"prompt": "Hi"}, Prompt(text="Hi")),
        ({"prompt_token_ids": [3]}, Prompt(token_ids=(3,))),
    ],
)
def test_one(prompt, expected):
    assert one_prompt(prompt) == expected
    assert many_prompts(prompt) == [expected]
    assert many_prompts([prompt, "x"]) == [expected, Prompt(text="x")]


def test_lists_of_lists_and_of_nothing():
    assert many_prompts([[1], [2, 3]]) == [Prompt(token_ids=(1,)), Prompt(token_ids=(2, 3))]
    assert many_prompts([]) == []


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (3, "prompts: must be a text, a list of token ids"),
        (None, "prompts: must be a text.*got None"),
        (b"x", "prompts: must be a text"),
        (["a", 3], r"prompts\[1\]: must be a text.*got 3"),
        ([1, "a"], r"prompts\[0\]: must be a text.*got 1"),
        ([[1, True]], r"prompts\[0\]\[1\]: a token id must be an integer; got True"),
        ([[1.0]], r"prompts\[0\]\[0\]: a token id must be an integer; got 1.0"),
        ({"prompt_token_ids": ["a"]}, r"prompts.prompt_token_ids\[0\]: a token id must be an integer; got 'a'"),
        ({"text": "x"}, "prompts: must be a text.*got {'text': 'x'}"),
        ({"prompt": "x", "prompt_token_ids": [1]}, "prompts: must be a text"),
        ({"prompt": None}, "prompts: must be a text"),
    ],
)
def test_refusals(prompts, message):
    with pytest.raises(UsageError, match=message):
        many_prompts(prompts)


def test_chats():
    assert many_chats([MESSAGE]) == [[MESSAGE]]
    assert many_chats([[MESSAGE], [MESSAGE, MESSAGE]]) == [[MESSAGE], [MESSAGE, MESSAGE]]
    for empty in ([], [[MESSAGE], []]):
        with pytest.raises(UsageError, match="messages: must hold at least one message; got an empty list"):
            many_chats(empty)
