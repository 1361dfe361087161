"""Progress goes to stderr alone, and only as much as fits it."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inferno.progress import (
    BarProgress,
    LineProgress,
    Progress,
    SilentProgress,
    folder_size,
    stderr_progress,
    watch_folder,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(progress: Progress) -> None:
    progress.start("Fetching [it]", 100)
    for _ in range(10):
        progress.advance(10)
    progress.finish()
    progress.finish()


def test_one_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = stderr_progress()
    assert isinstance(progress, LineProgress)
    work(progress)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Fetching [it]\n")


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    progress = stderr_progress(quiet=True)
    assert isinstance(progress, SilentProgress)
    work(progress)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    progress = stderr_progress()
    assert isinstance(progress, BarProgress)
    work(progress)
    assert "Fetching [it]" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_bar_that_never_started_can_be_moved_and_finished() -> None:
    progress = BarProgress(Terminal())
    progress.advance(1)
    progress.finish()


def test_rich_is_loaded_for_a_bar_alone() -> None:
    code = (
        "import sys; from inferno.progress import stderr_progress; p = stderr_progress();"
        "p.start('x', 1); p.advance(1); p.finish(); print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "x\n")


class Counter(SilentProgress):
    def __init__(self) -> None:
        self.total = 0
        self.finished = 0

    def advance(self, amount: int) -> None:
        self.total += amount

    def finish(self) -> None:
        self.finished += 1


def test_a_growing_folder_is_watched(tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(b"0" * 1000)
    counter = Counter()
    with watch_folder(counter, tmp_path, "x", 5000):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").write_bytes(b"1" * 5000)
        deadline = time.monotonic() + 10
        while counter.total < 5000 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert (counter.total, counter.finished) == (5000, 1)
    assert folder_size(tmp_path) == 6000


def test_a_watched_failure_still_finishes(tmp_path: Path) -> None:
    counter = Counter()
    with pytest.raises(RuntimeError), watch_folder(counter, tmp_path / "absent", "x", None):
        raise RuntimeError
    assert counter.finished == 1
