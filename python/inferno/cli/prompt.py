"""Where the prompt of a command comes from."""

from __future__ import annotations

import sys

from inferno.errors import TextError, UsageError

# Far beyond every context; a device that never ends shall not fill the memory.
MAX_PROMPT_BYTES = 64 << 20
_STDIN = "standard input"


def read_prompt(positional: str | None, flag: str | None) -> str:
    """The prompt: the argument or -p; "-", or no prompt and a pipe, reads stdin, less one newline at its end.

    Raises UsageError if there is none, or two; TextError if it is not UTF-8 or without end.
    """
    if positional is not None and flag is not None:
        raise UsageError("prompt: must be given once; got it both as an argument and with -p")
    given = positional if positional is not None else flag
    if given is not None and given != "-":
        return _checked_argument(given)
    if given is None and is_terminal():
        raise UsageError('prompt: must be given: inferno generate "What is gravity?", or -p, or through a pipe')
    text = _read_stdin()
    if not text:
        raise UsageError(f"{_STDIN}: must hold a prompt; got nothing; give one: inferno generate PROMPT")
    return text


def is_terminal() -> bool:
    """Whether nothing is piped into stdin."""
    return sys.stdin is None or sys.stdin.isatty()


def _checked_argument(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00  # how Python passes on a byte that it could not decode
        got = f"byte 0x{byte:02x}" if 0x80 <= byte <= 0xFF else "a lone surrogate"
        raise TextError(f"prompt: must be valid text in UTF-8; got {got} at character {error.start}") from None
    return text


def stdin_bytes(what: str) -> bytes:
    """All of stdin. UsageError if it is closed or unreadable, TextError if it is too long to be `what`."""
    if sys.stdin is None:
        raise UsageError(f"{_STDIN}: must be open to read {what} from it; got a closed one")
    try:
        data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{_STDIN}: must be readable; got {error.strerror or error}") from None
    if len(data) > MAX_PROMPT_BYTES:
        raise TextError(f"{_STDIN}: must be {what} of at most {MAX_PROMPT_BYTES >> 20} MB; got more")
    return data


def _read_stdin() -> str:
    data = stdin_bytes("a prompt")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{_STDIN}: must be UTF-8; got byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert it first, for instance with iconv -t UTF-8"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
