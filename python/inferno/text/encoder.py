"""Encoding with a say in which special tokens count: all of them, none, or those found in a masked copy of the text."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inferno.errors import TextError
from inferno.text.library import library_errors

if TYPE_CHECKING:
    import tokenizers


class Span(NamedTuple):
    """A special token and the characters that it covers."""

    token_id: int
    start: int
    end: int


class Encoder:
    """Text to ids, without the post-processor. Safe to share between threads.

    The library can treat special tokens as ordinary text, but only all of them at once. Where some must count and
    others not, each that counts gives its place to a guard: an ordinary added token with the same flags, whose id is
    replaced afterwards. A guard's text holds a random number, so that no text can contain one.
    """

    def __init__(self, library: tokenizers.Tokenizer, source: Path) -> None:
        self.library = library
        self.source = source
        self.added = library.get_added_tokens_decoder()
        self.special = {token_id: token.content for token_id, token in self.added.items() if token.special}
        self.guard_ids: set[int] = set()
        self._guards: dict[tuple[bool, ...], tuple[int, str]] = {}
        self._nonce = secrets.token_hex(8)
        self._lock = threading.Lock()

    def parsed(self, text: str) -> list[int]:
        """Special tokens are recognised wherever their text stands. Raises TextError."""
        return list(self._encode(text).ids)

    def literal(self, text: str) -> list[int]:
        """No special token is recognised: their text becomes ordinary tokens. Raises TextError."""
        plain = self._encode(text)
        return self.guarded(text, []) if self._spans(text, plain) else list(plain.ids)

    def mixed(self, text: str, probe: str) -> list[int]:
        """Special tokens are recognised in `text` where they are recognised in `probe`. Raises TextError.

        `probe` has the length of `text` and differs from it in single characters that were masked.
        """
        plain = self._encode(text)
        if probe == text:
            return list(plain.ids)
        wanted = self._spans(text, self._encode(probe))
        return list(plain.ids) if self._spans(text, plain) == wanted else self.guarded(text, wanted)

    def guarded(self, text: str, wanted: Sequence[Span]) -> list[int]:
        """Ids of `text` with the special tokens `wanted`, in order of their place, and no other. Raises TextError."""
        for span in reversed(wanted):
            text = self._with_guard(text, span)
        encoding = self._encode(text, literal=True)
        # A Unigram model, or a BPE model that ignores merges, finds a special token's text in its own vocabulary too.
        while leaks := self._spans(text, encoding):
            for span in reversed(leaks):
                text = self._with_cut(text, span)
            encoding = self._encode(text, literal=True)
        return self._without_guards(encoding.ids, wanted)

    def _encode(self, text: str, literal: bool = False) -> tokenizers.Encoding:
        check_unicode(text)
        with self._lock, library_errors(f"{self.source}: the text must be encodable"):
            self.library.encode_special_tokens = literal
            return self.library.encode(text, add_special_tokens=False)

    def _spans(self, text: str, encoding: tokenizers.Encoding) -> list[Span]:
        """The special tokens of an encoding. An unknown-token id that stands for other text is not one of them."""
        if self.special.keys().isdisjoint(encoding.ids):
            return []
        return [
            Span(token_id, start, end)
            for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token_id in self.special
            and (token_id not in self._unknown_ids or self.special[token_id] in text[start:end])
        ]

    @cached_property
    def _unknown_ids(self) -> frozenset[int]:
        """Ids that a character outside every vocabulary becomes."""
        ids = self._encode("\U0010f5a0", literal=True).ids
        return frozenset(ids).intersection(self.special)

    def _with_guard(self, text: str, span: Span) -> str:
        """`text` with a guard in place of the token's own text, or of the whole span if normalization changed that."""
        token = self.added[span.token_id]
        start = text.find(token.content, span.start, span.end)
        if start < 0:
            return text[: span.start] + self._guard(False, False, False)[1] + text[span.end :]
        guard = self._guard(token.lstrip, token.rstrip, token.normalized)[1]
        return text[:start] + guard + text[start + len(token.content) :]

    def _with_cut(self, text: str, span: Span) -> str:
        """`text` with a guard after the first character of the token's own text, so that it is no longer whole."""
        content = self.special[span.token_id]
        start = max(text.find(content, span.start, span.end), span.start) + 1
        if start >= span.end:
            raise TextError(
                f"{self.source}: text must not hold {content!r}, a special token of one character "
                "that this vocabulary cannot write otherwise"
            )
        return text[:start] + self._guard(True)[1] + text[start:]

    def _guard(self, *kind: bool) -> tuple[int, str]:
        """Id and text of the guard with the flags `kind` (lstrip, rstrip, normalized); a kind of one is the cut."""
        if kind not in self._guards:
            from tokenizers import AddedToken

            text = f"\U0010f5a1{self._nonce}{len(self._guards)}\U0010f5a2"
            lstrip, rstrip, normalized = kind if len(kind) == 3 else (False, False, False)
            token = AddedToken(text, lstrip=lstrip, rstrip=rstrip, normalized=normalized, special=False)
            with self._lock:
                self.library.add_tokens([token])
                guard_id = self.library.token_to_id(text)
            assert guard_id is not None
            self.guard_ids.add(guard_id)
            self._guards[kind] = guard_id, text
        return self._guards[kind]

    def _without_guards(self, ids: Sequence[int], wanted: Sequence[Span]) -> list[int]:
        """`ids` with the wanted special tokens in place of their guards, and without cuts."""
        cut = self._guards.get((True,), (None, ""))[0]
        kept = [token_id for token_id in ids if token_id != cut]
        places = [index for index, token_id in enumerate(kept) if token_id in self.guard_ids]
        if len(places) != len(wanted):
            raise TextError(
                f"{self.source}: the template's special tokens must be separable from the messages; "
                f"got {len(places)} of {len(wanted)}"
            )
        for index, span in zip(places, wanted, strict=True):
            kept[index] = span.token_id
        return kept


def check_unicode(text: str) -> None:
    """Raises TextError if `text` holds a lone surrogate, which UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"text: must be valid Unicode; got a lone surrogate U+{ord(text[error.start]):04X} "
            f"at character {error.start}"
        ) from error
