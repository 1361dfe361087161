"""The `tokenizers` library at arm's length: its panics become TextError, and its files are read with clear errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inferno.errors import TextError
from inferno.text.files import read_bytes, refuse_broken_json

if TYPE_CHECKING:
    import tokenizers

_stderr_lock = threading.Lock()


def is_panic(error: BaseException) -> bool:
    """Whether `error` is a Rust panic. Its class derives from BaseException and cannot be imported, only recognised."""
    kind = type(error)
    return kind.__name__ == "PanicException" and kind.__module__ == "pyo3_runtime"


@contextmanager
def library_errors(where: str) -> Iterator[None]:
    """Turns what the library raises, panics included, into a TextError that starts with `where`."""
    try:
        yield
    except TextError:
        raise
    except Exception as error:
        raise TextError(f"{where}: {error}") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise TextError(f"{where}: the tokenizers library failed inside ({error})") from None


def load_library_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """`path` (a tokenizer.json) as the library's tokenizer, without the truncation and padding stored in it.

    Raises TextError: missing, a Git-LFS pointer, truncated, not JSON, or not a tokenizer that the library can read.
    """
    if not os.path.lexists(path):
        raise TextError(_missing(path))
    data = read_bytes(path)
    import tokenizers

    try:
        with library_errors(f"{path}: must be a tokenizer that the tokenizers library can read"), quiet_panics():
            library = tokenizers.Tokenizer.from_buffer(data)
    except TextError as error:
        refuse_broken_json(path, data)
        hint = f"Read with tokenizers {tokenizers.__version__}; a newer one may know more, or the file is damaged"
        raise TextError(f"{error}. {hint}") from error
    library.no_truncation()
    library.no_padding()
    return library


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path}: must exist; got no folder {folder}"
    return (
        f"{path}: must exist; got a folder without it or tokenizer.model. "
        "Download the model's tokenizer.json next to its weights"
    )


@contextmanager
def quiet_panics() -> Iterator[None]:
    """Keeps a panic's report, which Rust writes to file descriptor 2, away from the user.

    What anybody else wrote meanwhile is passed on, unless there was a panic. Works where Linux's memory files are.
    """
    with _stderr_lock, ExitStack() as opened:
        try:
            real = os.dup(2)
        except OSError:  # standard error is closed
            yield
            return
        opened.callback(os.close, real)
        if not hasattr(os, "memfd_create"):
            yield
            return
        held = os.memfd_create("stderr")
        opened.callback(os.close, held)
        os.dup2(held, 2)
        panicked = False
        try:
            yield
        except BaseException as error:
            panicked = is_panic(error)
            raise
        finally:
            os.dup2(real, 2)
            if not panicked:
                _copy(held, real)


def _copy(source: int, target: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    while block := os.read(source, 65536):
        os.write(target, block)
