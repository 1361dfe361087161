"""One animal of the zoo: how a good model becomes it, and what must be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inferno.findings import Severity

# Of the good model that every case begins with (a tiny one with a tokenizer): few bytes.
GOOD: dict[str, Any] = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 40}

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A model and its finding.

    `make` is given a folder that holds a copy of the good model, and changes it; if it returns a path, that is the
    model. `severity`, `code`, `where` (with {folder}) and a piece of the message are those of the finding that must be
    there, the first error if it is one. Without a severity nothing may be found but notes. `options` is what the model
    is loaded with, `scheme` the scheme that must be recognised. `fatal`: something else keeps the model from running.
    `speaks`: whether a text can be a prompt, if the model runs.
    """

    name: str
    make: Make
    severity: Severity | None = None
    code: str = ""
    where: str = ""
    message: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    scheme: str | None = None
    fatal: bool = False
    speaks: bool = True
    not_for_root: bool = False

    @property
    def runs(self) -> bool:
        """Whether the model can be loaded."""
        return self.severity != "error" and not self.fatal


def refused(name: str, make: Make, code: str, where: str, message: str, **more: Any) -> Case:
    """A model that cannot run."""
    return Case(name, make, "error", code, where, message, **more)


def warned(name: str, make: Make, code: str, where: str, message: str, **more: Any) -> Case:
    """A model that runs, with a warning."""
    return Case(name, make, "warning", code, where, message, **more)


def noted(name: str, make: Make, code: str, where: str, message: str, **more: Any) -> Case:
    """A model that runs, with something worth knowing."""
    return Case(name, make, "note", code, where, message, **more)


def runs(name: str, make: Make, **more: Any) -> Case:
    """An odd model that is quite right."""
    return Case(name, make, **more)
