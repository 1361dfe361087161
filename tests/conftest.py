"""Fixtures that every test may use; helpers for tests lie in tests/helpers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The demo model in the user's cache, fetched if it is not there: about 93 MB, once."""
    from inferno.demo import ensure_demo

    return ensure_demo()
