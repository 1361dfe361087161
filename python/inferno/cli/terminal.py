"""The streams of a command: text on stdout, everything else on stderr. Neither must be able to break the way out."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from inferno.errors import InfernoError

# What a model writes, or a file's name, shall not steer the user's terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def say(message: str) -> None:
    """A line on stderr, if it can be written: what matters is on stdout and in the exit code."""
    with suppress(OSError):
        print(message.translate(_CONTROLS), file=sys.stderr, flush=True)


def open_stderr() -> None:
    """Gives a process that was started without stderr one that leads nowhere."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives


def write(text: str, *, clean: bool = False) -> None:
    """Text on stdout, at once; on a terminal without control codes. InfernoError if it cannot be written.

    `clean`: whoever made the text has escaped what may not reach a terminal; its own codes (colours) are let through.
    """
    if sys.stdout is None:
        raise InfernoError("standard output: must be open; got a closed one; use > /dev/null to throw the text away")
    if sys.stdout.isatty() and not clean:
        text = text.translate(_CONTROLS)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InfernoError(f"standard output: cannot be written: {error.strerror or error}") from None


def stdout_look() -> dict[str, Any]:
    """`width` and `color` of stdout; in a pipe neither: lines stay whole, for other programs."""
    if sys.stdout is None or not sys.stdout.isatty():
        return {"width": None, "color": False}
    from rich.console import Console

    console = Console(file=sys.stdout)
    return {"width": console.width, "color": console.color_system is not None and not console.no_color}


def use_utf8() -> None:
    """Makes stdout take every character, whatever the locale says."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")


def flush() -> None:
    """Writes what is still buffered for stdout; BrokenPipeError if nobody reads it."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Lets go of what cannot be written, so that the interpreter does not try again on its way out."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not _flushes(stream):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _flushes(stream: TextIO) -> bool:
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
