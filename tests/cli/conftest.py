"""Runs of the command line in this process; models that are made once."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from command import Cli, Result
from inferno.cli import run as run_cli
from speaker import write_speaker
from tiny import write_tiny


@pytest.fixture(autouse=True)
def nothing_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the user's changes a test, and no test touches the user's caches."""
    for name in list(os.environ):
        if name.startswith(("INFERNO_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INFERNO_CACHE", str(tmp_path / "inferno-cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """cli("generate", ..., stdin=bytes) -> Result. Without stdin, it is a terminal."""

    def run(*arguments: object, stdin: bytes | None = None) -> Result:
        stream = io.TextIOWrapper(io.BytesIO(stdin or b""))
        monkeypatch.setattr(stream, "isatty", lambda: stdin is None)
        monkeypatch.setattr(sys, "stdin", stream)
        code = run_cli([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says a text with wide characters to every chat, and to a raw prompt that ends with ">"; asks for greedy."""
    return write_speaker(tmp_path_factory.mktemp("models") / "speaker", "Hey, wörd!\U0001f600")


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says abcabc... until the context is full."""
    return write_speaker(tmp_path_factory.mktemp("models") / "endless", "abc", ends=False)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has no chat template; says abc to a prompt that ends with ">"."""
    return write_speaker(tmp_path_factory.mktemp("models") / "plain", "abc", chat_template=None)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, to be copied and broken."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny", tokenizer=True)
