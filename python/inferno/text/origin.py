"""Which special tokens of a rendered chat the template printed, and which stood in the messages.

The text alone cannot tell: a message may quote a special token, and a template may trim, split and join what it is
given. So the template is rendered twice, the second time with the messages' first characters of special tokens masked
by private-use characters. Where both renderings agree otherwise, the second shows the origin of every such character:
a special token that is still whole in it begins in the template's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from inferno.errors import TextError

Render = Callable[[Any], str]

# Masks come from the last private-use plane.
_FIRST_MASK, _LAST_MASK = 0x100000, 0x10FFFD


def separate(
    render: Render, values: Any, special: Collection[str], variants: Callable[[str], str] | None = None
) -> tuple[str, str]:
    """The rendered text, and its masked copy of the same length, in which only the template's special tokens are whole.

    `values` is what callers supply (messages, tools, documents); `variants(c)` gives what the tokenizer's normalizer
    makes of the character c, where special tokens are looked up in normalized text. Raises what `render` raises.
    """
    text = render(values)
    characters = {character for string in _strings(values) for character in string}
    present = [token for token in special if token in text] if variants is None else list(special)
    # A template that looks for "<" in a message renders the masked copy differently; the next character then serves.
    for place in range(2):
        table = _masks({token[min(place, len(token) - 1)] for token in present}, characters, text, variants)
        if not table:
            return text, text
        try:
            probe = render(_masked(values, table))
        except TextError:
            continue
        if _unmasked(probe, table) == text:
            return text, probe
    # No copy agrees: what the template makes of the masked messages is the text, which is safe.
    table = _masks({token[0] for token in special}, characters, text, variants)
    probe = render(_masked(values, table))
    return _unmasked(probe, table), probe


def _masks(targets: set[str], characters: set[str], text: str, variants: Callable[[str], str] | None) -> dict[int, int]:
    """For each of the messages' characters that is or becomes a target, a mask that occurs nowhere."""
    risky = sorted(c for c in characters if c in targets or (variants and not targets.isdisjoint(variants(c))))
    taken = characters.union(text)
    free = (code for code in range(_FIRST_MASK, _LAST_MASK) if chr(code) not in taken)
    return {ord(character): code for character, code in zip(risky, free, strict=False)}


def _unmasked(text: str, table: Mapping[int, int]) -> str:
    return text.translate({mask: character for character, mask in table.items()})


def _masked(value: Any, table: Mapping[int, int]) -> Any:
    """A copy of `value` with its strings masked; names of fields stay, since templates look them up."""
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, Mapping):
        return {
            key.translate(table) if isinstance(key, str) and not key.isidentifier() else key: _masked(item, table)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, table) for item in value]
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (key for key in value if isinstance(key, str))
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
