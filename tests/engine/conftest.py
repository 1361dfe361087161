"""Models for the engine's tests, loaded once: one that says a text, and one of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferno import LLM
from speaker import write_speaker
from tiny import write_tiny

SPOKEN = "Hey, wörd!😀"


@pytest.fixture(scope="session")
def speaker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaker(tmp_path_factory.mktemp("speaker"), SPOKEN)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"), tokenizer=True)


@pytest.fixture(scope="session")
def speaker(speaker_folder: Path) -> LLM:
    """Greedy, since its generation_config.json says do_sample false. After ">" it says SPOKEN, then ends."""
    return LLM(speaker_folder, threads=1)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> LLM:
    return LLM(tiny_folder, threads=2)
