"""The forms in which prompts and chats may be given, brought into one."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from inferno.errors import UsageError

# A text, token ids, {"prompt": text} or {"prompt_token_ids": ids}.
PromptLike: TypeAlias = "str | Sequence[int] | Mapping[str, Any]"
Messages: TypeAlias = "Sequence[Mapping[str, Any]]"

_FORMS = 'a text, a list of token ids, {"prompt": text} or {"prompt_token_ids": ids}'


@dataclass(frozen=True)
class Prompt:
    """A prompt in one of its two forms; the other is None."""

    text: str | None = None
    token_ids: tuple[int, ...] | None = None


def one_prompt(prompt: PromptLike, where: str = "prompt") -> Prompt:
    """`prompt` in any of its forms. UsageError names `where` if it is none of them."""
    if isinstance(prompt, str):
        return Prompt(text=prompt)
    if isinstance(prompt, Mapping):
        return _from_mapping(prompt, where)
    if _is_list(prompt):
        return Prompt(token_ids=token_list(prompt, where))
    raise UsageError(f"{where}: must be {_FORMS}; got {_short(prompt)}")


def many_prompts(prompts: PromptLike | Sequence[PromptLike]) -> list[Prompt]:
    """One prompt or a list of them as a list. A list of integers is one prompt; an empty list holds none."""
    if isinstance(prompts, str | Mapping) or not _is_list(prompts):
        return [one_prompt(prompts, "prompts")]  # type: ignore[arg-type]  # what it is no form of is refused there
    items: list[Any] = list(prompts)
    if items and all(_is_integer(item) for item in items):
        return [one_prompt(items)]
    return [one_prompt(item, f"prompts[{index}]") for index, item in enumerate(items)]


def many_chats(messages: Messages | Sequence[Messages]) -> list[Messages]:
    """One chat or a list of chats as a list of chats; what a message must be is the chat template's business."""
    chats: list[Any] = list(messages) if _is_list(messages) and messages and _is_list(messages[0]) else [messages]
    for chat in chats:
        if _is_list(chat) and not len(chat):
            raise UsageError("messages: must hold at least one message; got an empty list")
    return chats


def token_list(ids: Iterable[Any], where: str) -> tuple[int, ...]:
    """`ids` as plain integers. UsageError if one is no integer."""
    values = tuple(ids)
    for index, value in enumerate(values):
        if not _is_integer(value):
            raise UsageError(f"{where}[{index}]: a token id must be an integer; got {_short(value)}")
    return tuple(operator.index(value) for value in values)


def _from_mapping(prompt: Mapping[str, Any], where: str) -> Prompt:
    text, ids = prompt.get("prompt"), prompt.get("prompt_token_ids")
    if ids is not None and text is None and _is_list(ids):
        return Prompt(token_ids=token_list(ids, f"{where}.prompt_token_ids"))
    if isinstance(text, str) and ids is None:
        return Prompt(text=text)
    raise UsageError(f"{where}: must be {_FORMS}; got {_short(dict(prompt))}")


def _is_list(value: object) -> bool:
    """Sequences and arrays, but no texts."""
    return not isinstance(value, str | bytes | Mapping) and hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
