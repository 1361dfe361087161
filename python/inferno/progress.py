"""Progress of long work, on stderr only: a bar on a terminal, one plain line elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """What long work tells of itself. One piece of work at a time: start, any number of advance and note, finish."""

    def start(self, label: str, total: int | None) -> None:
        """Begins a piece of work of `total` units (bytes, values, tokens), or of unknown length."""

    def advance(self, amount: int) -> None:
        """`amount` more units are done."""

    def note(self, text: str) -> None:
        """What the work has found so far, in a few words; the last one counts."""

    def finish(self) -> None:
        """The work is over, done or not; harmless if none was begun."""


class SilentProgress:
    """Says nothing."""

    def start(self, label: str, total: int | None) -> None:
        """Says nothing."""

    def advance(self, amount: int) -> None:
        """Says nothing."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def finish(self) -> None:
        """Says nothing."""


class LineProgress:
    """One line when a piece of work begins: for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def start(self, label: str, total: int | None) -> None:
        """Writes the label."""
        print(label, file=self._stream, flush=True)

    def advance(self, amount: int) -> None:
        """Says nothing: a log needs no bar."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def finish(self) -> None:
        """Says nothing."""


class BarProgress:
    """A bar that disappears when the work is over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Any = None
        self._task: Any = None
        self._label = ""

    def start(self, label: str, total: int | None) -> None:
        """Shows the bar; a total of None pulses."""
        # Imported here: a run that shows no bar should not pay for one.
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.finish()
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._label = label
        self._task = self._bar.add_task(label, total=total)
        self._bar.start()

    def advance(self, amount: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.advance(self._task, amount)

    def note(self, text: str) -> None:
        """Puts the text behind the label."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._label}: {text}")

    def finish(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def stderr_progress(quiet: bool = False) -> Progress:
    """The progress that fits stderr as it is now."""
    if quiet:
        return SilentProgress()
    return BarProgress(sys.stderr) if sys.stderr.isatty() else LineProgress(sys.stderr)


@contextmanager
def watch_folder(progress: Progress, folder: Path, label: str, total: int | None) -> Iterator[None]:
    """Reports how `folder` grows while the body runs: for downloads by programs that report in no common way."""
    stop = threading.Event()
    before = folder_size(folder)

    def watch() -> None:
        seen = before
        while not stop.wait(0.2):
            size = folder_size(folder)
            if size > seen:
                progress.advance(size - seen)
                seen = size

    progress.start(label, total)
    watcher = threading.Thread(target=watch, name="inferno-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        progress.finish()


def folder_size(folder: Path) -> int:
    """Bytes of all regular files under `folder`; what vanishes meanwhile counts as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(parent, name))
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
