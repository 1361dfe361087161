"""Fixtures that every test may use; helpers for tests lie in tests/helpers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `isa` runs once for each tier that this CPU can run."""
    if "isa" in metafunc.fixturenames:
        from inferno import _core

        metafunc.parametrize("isa", [name for name, available in _core.tiers().items() if available])


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The demo model in the user's cache, fetched if it is not there: about 93 MB, once."""
    from inferno.demo import ensure_demo

    return ensure_demo()
