"""Text from files, made harmless."""

from __future__ import annotations

import html


def printable(text: str) -> str:
    """On one line, with nothing that steers a terminal or turns the direction of text: such characters as escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(ord(character)) for character in text)


def markup(text: object) -> str:
    """The same for HTML, in text and in attributes between quotes."""
    return html.escape(printable(str(text)), quote=True)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
