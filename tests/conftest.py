"""Fixtures that every test may use; helpers for tests lie in tests/helpers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
