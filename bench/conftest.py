"""Fixtures of the benches, and the table of shares that they print at the end."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_shares: list[str] = []


@pytest.fixture(scope="session")
def tinyllama() -> Path:
    """A random BF16 checkpoint of TinyLlama's shape, 2.2 GB, kept in INFERNO_BENCH_DIR or else a temporary folder."""
    from shapes import TINYLLAMA, write_random

    return write_random(_base() / "tinyllama-bf16", TINYLLAMA)


@pytest.fixture(scope="session")
def tinyllama_w8a8() -> Path:
    """The same shape in W8A8, 1.2 GB."""
    from shapes import TINYLLAMA_W8A8, write_random

    return write_random(_base() / "tinyllama-w8a8", TINYLLAMA_W8A8)


def _base() -> Path:
    return Path(os.environ.get("INFERNO_BENCH_DIR", Path(tempfile.gettempdir()) / "inferno-bench"))


@pytest.fixture(scope="session")
def demo() -> Path:
    from inferno.demo import ensure_demo

    return ensure_demo()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines for the table at the end."""
    lines: list[str] = []
    yield lines
    _shares.extend(f"{request.node.name}: {line}" for line in lines)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "isa" in metafunc.fixturenames:
        from inferno import _core

        metafunc.parametrize("isa", [name for name, available in _core.tiers().items() if available])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _shares:
        terminalreporter.section("against the limit")
        for line in _shares:
            terminalreporter.line(line)
