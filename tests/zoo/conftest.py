"""The keeper: makes each folder once, and sees that nothing hangs."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from tiny import write_tiny
from zoo.case import GOOD, Case

# Far above what any case takes on a busy machine.
_PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the user's changes a test, and no test touches the user's caches."""
    for name in list(os.environ):
        if name.startswith(("INFERNO_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "inferno-cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    """Whatever waits, for a pipe say, is told off."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"took longer than {_PATIENCE_SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that every case begins with."""
    return write_tiny(tmp_path_factory.mktemp("zoo") / "good", GOOD, tokenizer=True)


@pytest.fixture(scope="session")
def model_of(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """A case's model, made once; no test changes it."""
    made: dict[str, Path] = {}

    def path_of(case: Case) -> Path:
        if case.not_for_root and os.geteuid() == 0:
            pytest.skip("root may read everything")
        if case.name not in made:
            folder = shutil.copytree(good, tmp_path_factory.mktemp("zoo") / "m")
            path = case.make(folder)
            made[case.name] = path if isinstance(path, Path) else folder
        return made[case.name]

    return path_of
