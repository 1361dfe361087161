"""The tokenizer of a model folder on trial: built as a run builds it, and given a text and a chat of one message."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inferno.errors import TextError, UnsupportedError
from inferno.findings import Finding
from inferno.text.tokenizer import Tokenizer

_MESSAGES = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Trial:
    """What came of it: tokens of the vocabulary and of the chat (None without a template), or why it failed."""

    vocab_size: int | None = None
    chat_tokens: int | None = None
    finding: Finding | None = None

    def __str__(self) -> str:
        if self.finding is not None:
            return str(self.finding)
        chat = "no chat template" if self.chat_tokens is None else f"a chat of one message has {self.chat_tokens}"
        return f"the tokenizer works: {self.vocab_size} tokens; {chat}"


def try_tokenizer(folder: Path) -> Trial:
    """Builds the tokenizer of `folder`, encodes a text, and a chat if there is a template, and decodes them.

    The survey follows these files without building anything, so it cannot tell what only their use shows: a template
    that does not compile, a value that the library does not take, two entries with one id. What is wrong becomes a
    warning: from token ids the model runs all the same.
    """
    try:
        tokenizer = Tokenizer.from_folder(folder)
        tokenizer.check_ids()
        tokenizer.decode(tokenizer.encode("Hello"))
        if tokenizer.chat_template is None:
            return Trial(tokenizer.vocab_size)
        chat = tokenizer.encode_chat(_MESSAGES)
        tokenizer.decode(chat)
        return Trial(tokenizer.vocab_size, len(chat))
    except (TextError, UnsupportedError) as error:
        told = Finding.from_error(error, folder)
        return Trial(finding=Finding("warning", "tokenizer-broken", told.where, told.message, told.repair))
