"""The models on this machine: found by the names of files, judged by what a load would say.

`walk` looks through folders, `cached` through the hub's cache; `find` puts them together and judges each. Nothing is
opened but small files and headers.
"""

from __future__ import annotations

from inferno.catalog.entry import ModelEntry
from inferno.catalog.find import find_models

__all__ = ["ModelEntry", "find_models"]
