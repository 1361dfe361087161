"""Ids to text one at a time: whole characters only, and together exactly what decoding all ids gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from inferno.errors import UsageError
from inferno.text.decoding import decoding_stages

if TYPE_CHECKING:
    from inferno.text.tokenizer import Tokenizer


class Detokenizer:
    """Turns a growing sequence of ids into growing text, in constant time per id.

    The pieces that `add` and `finish` return, joined, equal `tokenizer.decode(ids, skip_special_tokens)`. Text whose
    end is open is held back: an unfinished character, and, where the tokenizer falls back to bytes, a run of byte
    tokens until it ends, because one wrong byte turns the whole run into U+FFFD.

    Raises TextError if tokenizer.json has a decoder that Inferno does not know.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._stages = decoding_stages(json.loads(tokenizer.decoder_json), str(tokenizer.source))
        self._pieces: list[str] = []
        self._finished = False

    @property
    def text(self) -> str:
        """All text returned so far."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def add(self, token_id: int) -> str:
        """The text that became complete with this id, often "". Raises TextError: an id that is no natural number."""
        if self._finished:
            raise UsageError("Detokenizer.add: must come before finish(); make a new Detokenizer for another text")
        token = self._tokenizer.id_to_token(token_id)
        if token is None or (self._skip_special_tokens and self._tokenizer.is_special(token_id)):
            return ""
        return self._keep(self._stages.feed(token))

    def finish(self) -> str:
        """The text held back so far. No id may follow."""
        if self._finished:
            return ""
        self._finished = True
        return self._keep(self._stages.finish())

    def _keep(self, piece: str) -> str:
        if piece:
            self._pieces.append(piece)
        return piece
