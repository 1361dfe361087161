"""Walking through JSON in bytes: where values end, what a vocabulary holds, and what cannot be followed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferno.text.json_walk import MAX_PARSED, MAX_STEPS, Walk, WalkError, id_of

# Texts that look like what surrounds them.
TEXTS = st.one_of(
    st.text(max_size=8),
    st.lists(
        st.sampled_from(
            ['"', "\\", ":", ",", "{", "}", "[", "]", " ", "7", '": 9', '", "', "\u4f60", "\U00010348", "\n"]
        ),
        max_size=8,
    ).map("".join),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
STYLES = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 2, "\t"]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", "\t: ")]),
    }
)


def written(value: Any, style: dict[str, Any]) -> bytes:
    return json.dumps(value, **style).encode(errors="surrogatepass")


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=6), STYLES, st.randoms(use_true_random=False))
def test_members_are_those_of_json(value: dict[str, Any], style: dict[str, Any], choice: random.Random) -> None:
    walk = Walk(b" \n" + written(value, style) + b"\n ")
    built = {}
    keys = []
    for key in walk.members():
        keys.append(key)
        if choice.random() < 0.5:
            built[key] = walk.value()
    assert keys == list(value)
    assert built == {key: value[key] for key in built}
    assert walk.position == len(walk.data)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=70, unique=True), STYLES, st.randoms(use_true_random=False))
def test_a_vocabulary_object(texts: list[str], style: dict[str, Any], choice: random.Random) -> None:
    vocabulary = {text: choice.randrange(2**31) for text in texts}
    data = written({"vocab": vocabulary, "after": 1}, style)
    walk = Walk(data)
    seen = {}
    for key in walk.members():
        start = walk.position
        seen[key] = walk.vocabulary() if key == "vocab" else walk.value()
        if key == "vocab":
            extent = start, walk.position
    assert seen == {"vocab": (len(texts), max(vocabulary.values(), default=-1)), "after": 1}
    for text in texts:
        assert id_of(data, *extent, text) in vocabulary.values()


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.floats(-1e9, 1e9)), max_size=70), STYLES)
def test_a_vocabulary_list(pieces: list[tuple[str, float]], style: dict[str, Any]) -> None:
    walk = Walk(written([list(piece) for piece in pieces], style))
    assert walk.vocabulary() == (len(pieces), len(pieces) - 1)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 31, 32, 33, 40_000])
@pytest.mark.parametrize("kind", ["object", "list"])
def test_sizes_around_what_is_matched_at_once(kind: str, count: int) -> None:
    value: Any = {f"t{i}": i for i in range(count)} if kind == "object" else [[f"t{i}", -i] for i in range(count)]
    walk = Walk(json.dumps(value).encode())
    assert walk.vocabulary() == (count, count - 1)
    walk.position = 0
    assert walk.vocabulary(frozenset({count - 1, count - 2})) == (count, max(count - 3, -1))


def test_a_gap_of_ids_set_apart() -> None:
    walk = Walk(b'{"a": 0, "b": 1, "c": 9, "d": 8}')
    assert walk.vocabulary({9}) == (4, 8)


def test_an_id_is_not_taken_from_inside_another_key() -> None:
    vocabulary = {'x"a': 1, '"a"': 2, "a:": 3, "a": 4, "b": 5}
    for ascii_only in (True, False):
        data = json.dumps(vocabulary, ensure_ascii=ascii_only).encode()
        for text, token_id in vocabulary.items():
            assert id_of(data, 0, len(data), text) == token_id
    assert id_of(data, 0, len(data), "c") is None
    assert id_of(data, 0, len(data), "\ud800") is None


@pytest.mark.parametrize("text", ["<s>", "caf\u00e9", "\u4f60", "\U00010348", '"', "\\", "\n"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_ids_in_both_spellings(text: str, ascii_only: bool) -> None:
    data = json.dumps({"x": 1, text: 7}, ensure_ascii=ascii_only).encode()
    assert id_of(data, 0, len(data), text) == 7


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no { at byte 0"),
        (b"[1]", "no { at byte 0"),
        (b"{", "no key at byte 1"),
        (b'{"a"', "no key at byte 1"),
        (b"{1: 2}", "no key at byte 1"),
        (b'{"\xff": 2}', "no JSON at byte 1"),
        (b'{"a": }', "no value at byte 6"),
        (b'{"a": "b}', "no value at byte 6"),
        (b'{"a": [1, "b]}', "no end of the value at byte 6"),
        (b'{"a": {"b": 1', "no end of the value at byte 6"),
        (b'{"a": 1 "b": 2}', "no , at byte 7"),
        (b'{"a": 1', "no , at byte 7"),
        (b'{"a": 1,}', "no key at byte 8"),
        (b'{"a": ' + b"[{" * MAX_STEPS, "too many brackets in the value at byte 6"),
        (b'{"a": "' + b"\\n" * 5000 + b'"}', "no value at byte 6"),
    ],
    ids=repr,
)
def test_what_cannot_be_followed(data: bytes, what: str) -> None:
    with pytest.raises(WalkError, match=f"^{what}$"):
        list(Walk(data).members())


@pytest.mark.parametrize(
    "data",
    [
        *(
            b'{"a": 1,}',
            b'{"a": -1}',
            b'{"a": 1.5}',
            b'{"a": "1"}',
            b'{"a": 1 "b": 2}',
            b'{"a": 1',
            b'{"a": 12345678901}',
        ),
        *(b'[["a", 1],]', b'["a", "b"]', b'[["a"]]', b'[["a", 1]', b'[["a", "1"]]', b"7"),
    ],
)
def test_what_is_no_vocabulary(data: bytes) -> None:
    with pytest.raises(WalkError, match="at byte"):
        Walk(data).vocabulary()


def test_a_value_that_is_too_large_or_too_deep_is_not_built() -> None:
    walk = Walk(b'{"a": "' + b"x" * MAX_PARSED + b'"}')
    with pytest.raises(WalkError, match=rf"^{MAX_PARSED + 2} bytes for the value at byte 6$"):
        [walk.value() for _ in walk.members()]
    walk = Walk(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(WalkError, match=r"^no JSON at byte 0$"):
        walk.value()
