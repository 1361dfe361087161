"""tokenizer.json's decoders as stages of a stream: what one call over all tokens gives, piece by piece.

A decoder maps a list of tokens to a list of strings, whose join is the text. A stage takes that list one element at a
time. Behind Fuse and ByteLevel, which join everything, there is one element, and it arrives in fragments: decoders that
can work on fragments do, others wait for the end. The rules are those of the `tokenizers` library
(tokenizers/src/decoders), against which the tests compare every stage.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from typing import Any

from inferno.errors import TextError

_BYTE = re.compile(r"<0x(\+[0-9A-Fa-f]|[0-9A-Fa-f]{2})>")
_REPLACEMENT = "\ufffd"

# Repairs of English punctuation by the WordPiece and CTC decoders, in their order.
_CLEANUP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class Stage:
    """One decoder. `feed` takes an element and returns the elements that are settled; `finish` returns the rest."""

    def feed(self, element: str) -> list[str]:
        raise NotImplementedError

    def finish(self) -> list[str]:
        return []


class Chain:
    """Stages one after another, from tokens to text."""

    def __init__(self, stages: list[Stage]) -> None:
        self._stages = stages

    def feed(self, token: str) -> str:
        return self._through(0, [token])

    def finish(self) -> str:
        text = ""
        for index, stage in enumerate(self._stages):
            text += self._through(index + 1, stage.finish())
        return text

    def _through(self, start: int, elements: list[str]) -> str:
        for stage in self._stages[start:]:
            elements = [out for element in elements for out in stage.feed(element)]
        return "".join(elements)


class Each(Stage):
    """A decoder that looks at one element at a time; the function is also told whether it is the first."""

    def __init__(self, function: Callable[[str, bool], str]) -> None:
        self._function = function
        self._first = True

    def feed(self, element: str) -> list[str]:
        first, self._first = self._first, False
        return [self._function(element, first)]


class AtEnd(Stage):
    """A decoder that needs its element whole, behind one that gives fragments."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._fragments: list[str] = []

    def feed(self, element: str) -> list[str]:
        self._fragments.append(element)
        return []

    def finish(self) -> list[str]:
        return [*self._stage.feed("".join(self._fragments)), *self._stage.finish()]


class Joined(Stage):
    """No decoder: tokens with spaces between them."""

    def __init__(self) -> None:
        self._first = True

    def feed(self, element: str) -> list[str]:
        first, self._first = self._first, False
        return [element if first else " " + element]


class ByteLevel(Stage):
    """Tokens written in GPT-2's alphabet of visible characters for bytes; invalid UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def feed(self, element: str) -> list[str]:
        try:
            data = bytes([_BYTE_OF[character] for character in element])
        except KeyError:  # an added token outside the alphabet stands for itself
            data = element.encode()
        return [self._decode(data)]

    def finish(self) -> list[str]:
        return [self._decode(b"", True)]


class ByteFallback(Stage):
    """Runs of tokens like <0xE2>. A run that is no valid UTF-8 as a whole becomes one U+FFFD per byte."""

    def __init__(self) -> None:
        self._run = bytearray()

    def feed(self, element: str) -> list[str]:
        if match := _BYTE.fullmatch(element):
            self._run.append(int(match[1], 16))
            return []
        return [*self.finish(), element]

    def finish(self) -> list[str]:
        run, self._run = self._run, bytearray()
        if not run:
            return []
        try:
            return [run.decode()]
        except UnicodeDecodeError:
            return [_REPLACEMENT] * len(run)


class Strip(Stage):
    """Up to `start` leading and `stop` trailing characters `content` of an element in fragments fall away."""

    def __init__(self, content: str, start: int, stop: int) -> None:
        self._content = content
        self._start = start
        self._stop = stop
        self._held = 0  # trailing characters that fall away if nothing follows

    def feed(self, element: str) -> list[str]:
        if self._start:
            stripped = element[: self._start].lstrip(self._content)
            cut = min(len(element), self._start) - len(stripped)
            element = element[cut:]
            self._start = self._start - cut if not element else 0
        if not self._stop or not element:
            return [element]
        text = self._content * self._held + element
        self._held = min(len(text) - len(text.rstrip(self._content)), self._stop)
        return [text[: len(text) - self._held]]


class WordEnd(Stage):
    """The suffix that closes a word becomes a space, and nothing at the very end."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._last: str | None = None

    def feed(self, element: str) -> list[str]:
        last, self._last = self._last, element
        return [] if last is None else [last.replace(self._suffix, " ")]

    def finish(self) -> list[str]:
        return [] if self._last is None else [self._last.replace(self._suffix, "")]


class Ctc(Stage):
    """Repetitions and padding fall away; the word delimiter becomes a space."""

    def __init__(self, pad: str, delimiter: str, cleanup: bool) -> None:
        self._pad = pad
        self._delimiter = delimiter
        self._cleanup = cleanup
        self._last: str | None = None

    def feed(self, element: str) -> list[str]:
        if element == self._last:
            return []
        self._last = element
        text = element.replace(self._pad, "")
        if self._cleanup:
            text = _clean(text).replace(self._delimiter, " ")
        return [text] if text else []


def decoding_stages(decoder: Mapping[str, Any] | None, where: str) -> Chain:
    """The stages of a decoder as tokenizer.json writes it, or of no decoder. Raises TextError: unknown type."""
    if decoder is None:
        return Chain([Joined()])
    stages: list[Stage] = []
    fused = False
    for part in _flat(decoder):
        kind = part["type"]
        if kind == "Fuse":
            fused = True
            continue
        stages.append(_stage(part, fused, where))
        fused = fused or kind == "ByteLevel"
    return Chain(stages)


def _flat(decoder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if decoder["type"] == "Sequence":
        return [part for inner in decoder["decoders"] for part in _flat(inner)]
    return [decoder]


def _stage(part: Mapping[str, Any], fused: bool, where: str) -> Stage:
    kind = part["type"]
    if kind not in _STAGES:
        known = ", ".join(["Fuse", "Sequence", *_STAGES])
        raise TextError(f"{where}: decoder must be made of {known}; got {kind!r}")
    if kind == "Strip" and fused:
        return Strip(part["content"], part["start"], part["stop"])
    stage = _STAGES[kind](part)
    return AtEnd(stage) if fused and not _takes_fragments(part) else stage


def _takes_fragments(part: Mapping[str, Any]) -> bool:
    """Whether a decoder gives the same for an element in fragments as for the whole, character by character."""
    return part["type"] == "Replace" and len(part["pattern"].get("String", "")) == 1


def _replace(part: Mapping[str, Any]) -> Stage:
    content = part["content"]
    if "String" in part["pattern"]:
        pattern = part["pattern"]["String"]
        return Each(lambda element, _: element.replace(pattern, content))
    from tokenizers import Regex, decoders

    # The library's regular expressions are not Python's, so it does the replacing itself.
    decoder = decoders.Replace(Regex(part["pattern"]["Regex"]), content)
    return Each(lambda element, _: decoder.decode([element]))


def _metaspace(part: Mapping[str, Any]) -> Stage:
    mark = part["replacement"]
    drops_first = part.get("prepend_scheme", "always") != "never"
    return Each(lambda element, first: element.replace(mark, "" if first and drops_first else " "))


def _wordpiece(part: Mapping[str, Any]) -> Stage:
    prefix, cleanup = part["prefix"], part["cleanup"]

    def piece(element: str, first: bool) -> str:
        if not first:
            element = element[len(prefix) :] if element.startswith(prefix) else " " + element
        return _clean(element) if cleanup else element

    return Each(piece)


def _strip(part: Mapping[str, Any]) -> Stage:
    content, start, stop = part["content"], part["start"], part["stop"]

    def strip(element: str, _: bool) -> str:
        stage = Strip(content, start, stop)
        return "".join([*stage.feed(element), *stage.finish()])

    return Each(strip)


def _clean(text: str) -> str:
    for before, after in _CLEANUP:
        text = text.replace(before, after)
    return text


_STAGES: dict[str, Callable[[Mapping[str, Any]], Stage]] = {
    "BPEDecoder": lambda part: WordEnd(part["suffix"]),
    "ByteFallback": lambda part: ByteFallback(),
    "ByteLevel": lambda part: ByteLevel(),
    "CTC": lambda part: Ctc(part["pad_token"], part["word_delimiter_token"], part["cleanup"]),
    "Metaspace": _metaspace,
    "Replace": _replace,
    "Strip": _strip,
    "WordPiece": _wordpiece,
}


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters are themselves, the other bytes follow from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + index): byte for index, byte in enumerate(hidden)}


_BYTE_OF = _byte_alphabet()
